"""The command line: `xraygen --help`. The pipeline itself is run by `dvc repro`."""

import click

from xraygen import __version__
from xraygen.commands import adjudicate, annotate, api_key, data, diff, judge, review, serve
from xraygen.core.errors import UserError, one_line


class OneLineErrors(click.Group):
    def invoke(self, context: click.Context) -> None:
        with one_line():
            try:
                super().invoke(context)
            except click.UsageError as error:
                command = error.ctx.command_path if error.ctx else "xraygen"
                raise UserError(f"{error.format_message()} See: {command} --help") from None


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Annotate chest X-ray studies by region, judge annotations, fetch data. Research only; not for
    clinical use.
    """


for command in (
    data.fetch,
    data.convert,
    data.init,
    annotate.annotate,
    judge.judge,
    judge.examine,
    judge.completions,
    annotate.merge,
    review.review,
    adjudicate.adjudicate,
    diff.diff,
    serve.serve,
    api_key.api_key,
):
    main.add_command(command)
