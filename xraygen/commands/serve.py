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
    from xraygen.core.json_lines import read_json
    from xraygen.service import annotating, judging
    from xraygen.service.app import Loaded
    from xraygen.service.model import Model
    from xraygen.service.options import Options
    from xraygen.service.server import serve

    settings = params.load()
    names = names or (read_json("metrics/release.json")["approach"],)
    confidence = read_json("reports/comparison.json").get("confidence", {})
    project = Project(Path.cwd(), Path.cwd(), settings.regions, settings.llm)
    options = Options()
    models = {}
    for name in names:
        threshold = confidence.get(name, {}).get("review", {}).get("threshold")
        build = annotating.build(settings.approaches, name, project, threshold)
        models[name] = Model(name, build, options)
    chosen = settings.evaluate
    judge = Model(chosen.judge, judging.build(chosen.judge, chosen.settings), options)
    serve(Loaded(models, judge, options), host, port)
