"""Types of options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from xraygen.engines.cluster.run import Cluster

FILE = click.Path(path_type=Path)


class Output(click.Path):
    """A file to write. If it is a link, its target is written, because the user named it;
    everywhere else the pipeline replaces links.
    """

    def convert(self, value, param, context) -> Path:
        path = Path(str(super().convert(value, param, context)))
        return path.resolve() if path.is_symlink() else path


OUTPUT = Output(path_type=Path)


class OutputOrUrl(Output):
    """The same, or the URL of a folder, which only some commands take."""

    def convert(self, value, param, context) -> str:  # type: ignore[override]
        return value if "://" in value else str(super().convert(value, param, context))


OUTPUT_OR_URL = OutputOrUrl()


_RAY = (
    click.option(
        "--ray",
        "address",
        metavar="[ADDRESS]",
        is_flag=False,
        flag_value="",
        help="Work on the Ray cluster at ADDRESS (host:port, or auto), by default on one of this "
        "machine alone, for which --ray comes last or before another option. --out is a folder "
        "then, and what is finished there is not done again.",
    ),
    click.option(
        "--actors",
        type=click.IntRange(min=1),
        help="With --ray: how many processes hold the model. Default: one a core, or all that "
        "the GPUs have room for.",
    ),
    click.option(
        "--gpus",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SHARE",
        help="With --ray: GPUs of each actor, such as 1 or 0.25. Default: none, the model runs on "
        "the CPU.",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(["jsonl", "parquet"]),
        help="With --ray: of the results.  [default: jsonl]",
    ),
)


def ray_options(command: Callable) -> Callable:
    """--ray and what goes with it: `address`, `actors`, `gpus` and `form`; see `cluster`."""
    for option in reversed(_RAY):
        command = option(command)
    return command


def cluster(
    address: str | None,
    actors: int | None,
    gpus: float | None,
    form: str | None,
    *paths: str | None,
) -> "Cluster | None":
    """Where to run, None = without Ray. `paths`: of input and output, which may be URLs with Ray.
    UsageError: options that contradict each other.
    """
    if address is None:
        if any(path and "://" in path for path in paths):
            raise click.UsageError("URLs are for --ray, which is not given.")
        for name, value in (("--actors", actors), ("--gpus", gpus), ("--format", form)):
            if value is not None:
                raise click.UsageError(f"{name} is for --ray, which is not given.")
        return None
    from xraygen.engines.cluster.run import Cluster

    return Cluster(address, actors, gpus or 0)
