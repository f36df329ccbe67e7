"""The HTTP service."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--approach",
    "names",
    multiple=True,
    help="A name under `approaches:` in params.yaml; several times for more. By default the "
    "released one.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
def serve(names: tuple[str, ...], host: str, port: int) -> None:
    """Serve annotations and judgements over HTTP, by what the pipeline left."""
    from xraygen import params
    from xraygen.annotators.base import Project
    from xraygen.core.errors import UserError
    from xraygen.service import annotating, judging, loaded
    from xraygen.service.model import Model
    from xraygen.service.options import Options
    from xraygen.service.server import serve

    settings = params.load()
    results = loaded.Results(Path.cwd())
    if not names and results.released is None:
        raise UserError(
            f"{loaded.RELEASE}: missing, so there is no released approach; name one with --approach"
        )
    names = tuple(dict.fromkeys(names)) or (str(results.released),)
    loaded.check(names, settings.approaches)
    project = Project(Path.cwd(), Path.cwd(), settings.regions, settings.llm)
    options = Options()
    models = {
        name: Model(
            name,
            annotating.build(settings.approaches, name, project, results.threshold(name)),
            options,
        )
        for name in names
    }
    chosen = settings.evaluate
    judge = Model(chosen.judge, judging.build(chosen.judge, chosen.settings), options)
    about = results.about(names, settings.approaches, judge.name, options)
    serve(loaded.Loaded(models, judge, options, about), host, port)
