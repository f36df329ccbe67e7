"""The HTTP service."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from xraygen.service.options import Options

_NAMES = {"origins": "cors-origin"}  # of options that are not called like their field
_MEBIBYTE = 2**20


class Mebibytes(click.IntRange):
    """A size in MiB, given to the command in bytes."""

    name = "MiB"

    def convert(self, value, param, context) -> int:
        return _MEBIBYTE * super().convert(value, param, context)


class ServeCommand(click.Command):
    """Its options are those below and one for each field of Options, which is imported only when
    they are needed.
    """

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        from xraygen.service.options import Options

        fields = [_option(name, field) for name, field in Options.model_fields.items()]
        *stated, help = super().get_params(context)
        return [*stated, *fields, help]


def _flag(field: str) -> str:
    return "--" + _NAMES.get(field, field).replace("_", "-")


def _option(name: str, field: "FieldInfo") -> click.Option:
    default = field.default
    kind: click.ParamType = click.IntRange(min=1)
    if isinstance(default, tuple):
        kind = click.STRING
    elif "MiB" in str(field.description):
        kind = Mebibytes(min=1)
        default = default // _MEBIBYTE
    elif isinstance(default, float):
        kind = click.FloatRange(min=0)
    return click.Option(
        [_flag(name), name],
        type=kind,
        default=default,
        multiple=isinstance(default, tuple),
        show_default=default is not None and default != (),
        help=field.description,
    )


@click.command(cls=ServeCommand)
@click.option(
    "--approach",
    "names",
    multiple=True,
    help="A name under `approaches:` in params.yaml; several times for more. By default the "
    "released one.",
)
@click.option(
    "--judge",
    "judge_name",
    help="A judge, or none for no judgements. By default the one of params.yaml.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--insecure-no-auth",
    "insecure",
    is_flag=True,
    help="Serve anyone who reaches the service, without API keys.",
)
def serve(
    names: tuple[str, ...],
    judge_name: str | None,
    host: str,
    port: int,
    insecure: bool,
    **fields: object,
) -> None:
    """Serve annotations and judgements over HTTP, by what the pipeline left.

    Research only, not for clinical use. The keys that clients need are made by `xraygen api-key`;
    without any, only programs on this machine are served.
    """
    options = _options(fields)
    try:
        import fastapi  # noqa: F401
        import httptools  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
        import uvloop  # noqa: F401
    except ImportError as error:
        from xraygen.core.errors import UserError

        raise UserError(
            f"serving needs more packages ({error}): pip install -c constraints.txt -e '.[serve]'"
        ) from None
    _serve(names, judge_name, host, port, insecure, options)


def _options(fields: Mapping[str, object]) -> "Options":
    from pydantic import ValidationError

    from xraygen.core.errors import UserError
    from xraygen.core.json_lines import first_problem
    from xraygen.service.options import Options

    try:
        return Options.model_validate(fields)
    except ValidationError as error:
        where, _, what = first_problem(error).partition(": ")
        field = where.partition(".")[0]  # without the place in a list
        raise UserError(f"{_flag(field)}: {what}") from None


def _serve(
    names: tuple[str, ...],
    judge_name: str | None,
    host: str,
    port: int,
    insecure: bool,
    options: "Options",
) -> None:
    from xraygen import judges, params
    from xraygen.annotators.base import Project
    from xraygen.core.errors import UserError
    from xraygen.service import access, annotating, images, judging, keys, loaded
    from xraygen.service.intake_process import Intake
    from xraygen.service.model import Model
    from xraygen.service.server import serve

    settings = params.load()
    root = Path.cwd()
    results = loaded.Results(root)
    if not names and results.released is None:
        raise UserError(
            f"{loaded.RELEASE}: missing, so that no approach is released; name one with --approach"
        )
    names = tuple(dict.fromkeys(names)) or (str(results.released),)
    loaded.check(names, settings.approaches)
    judge_name = judge_name or settings.evaluate.judge
    if judge_name != "none":
        judges.kind(judge_name, "--judge")
    allowed = access.decide(host, keys.load(), insecure)
    with images.private_folder() as folder:
        project = Project(root, folder, settings.regions, settings.llm)
        models = {}
        for name in names:
            build = annotating.build(settings.approaches, name, project, results.threshold(name))
            models[name] = Model(name, build, options)
        judge = None
        if judge_name != "none":
            build = judging.build(judge_name, settings.evaluate.settings)
            judge = Model(judge_name, build, options)
        judged_by = None if judge is None else judge.name
        about = results.about(names, settings.approaches, judged_by, options)
        pictures = {one.name: "image" in one.inputs for one in about.approaches}
        intake = Intake(options, pictures, folder)
        service = loaded.Loaded(models, judge, intake, allowed, options, about)
        serve(service, allowed.addresses, port)
