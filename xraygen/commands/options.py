"""Types of options that several commands have."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


class Output(click.Path):
    """A file to write. If it is a link, its target is written, because the user named it;
    everywhere else the pipeline replaces links.
    """

    def convert(self, value, param, context) -> Path:
        path = Path(str(super().convert(value, param, context)))
        return path.resolve() if path.is_symlink() else path


OUTPUT = Output(path_type=Path)
