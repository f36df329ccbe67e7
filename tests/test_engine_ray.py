"""annotate.engine: ray: what the stages write is the same as in their own process. One real cluster
for all tests, which RAY_ADDRESS names.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from PIL import Image as Picture

pytest.importorskip("ray")

from xraygen import params
from xraygen.annotators.base import Annotator, Project
from xraygen.annotators.engine import FOLDER, annotator
from xraygen.core.errors import UserError
from xraygen.core.json_lines import write_jsonl
from xraygen.core.study import Case, Image, Study

# Ray uses what it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

# It says what it sees, writes down how often it is started, and has no answer to one case.
SEEING = """
from xraygen.annotators.base import Annotator
from xraygen.core.pictures import open_picture
from xraygen.core.study import AnnotationRecord

class Seeing(Annotator):
    shows_pictures = True

    def __call__(self, cases):
        with open(self.project.root / "started", "a") as file:
            print("started", file=file)
        for case in cases:
            sizes = [open_picture(self.project.images / one.path).size for one in case.images]
            usage = {"tokens_in": len(case.report), "views": len(sizes)}
            if "no answer" in case.report:
                yield AnnotationRecord(id=case.id, annotation=None, error="none", usage=usage)
            else:
                said = {"lung": case.report, "heart": f"Sizes {sizes}."}
                yield AnnotationRecord(id=case.id, annotation=said, usage=usage)
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    size = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=size)
    yield cluster.address
    cluster.shutdown()
    patch.undo()


@pytest.fixture
def project(address, tmp_path, monkeypatch) -> Path:
    """Three studies in dev and test, whose pictures differ in size; approaches `seeing` and
    `asking`.
    """
    (tmp_path / "seeing.py").write_text(SEEING)
    (tmp_path / "models").mkdir()
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["approaches"] = {
        "seeing": {"annotator": "seeing:Seeing", "reads": "models"},
        "asking": {
            "annotator": "llm",
            "reads": "models/none",
            "system": "S",
            "user": "Report: {report}",
        },
    }
    content["audit"]["sample"] = 2
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for number in (1, 2, 3):
        path = tmp_path / f"data/prepared/images/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.new("L", (28 * number, 28)).save(path)
    for split in ("dev", "test"):
        write_jsonl(tmp_path / f"data/prepared/{split}.jsonl", studies(split))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", address)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-planted\n")
    return tmp_path


def studies(split: str) -> Iterator[Study]:
    reports = ("Lungs are clear.\nNo effusion.", "There is no answer.", 'Café, ½ \u2028 "quoted"')
    for number, report in enumerate(reports, 1):
        path = f"data/prepared/images/{number}.png"
        image = Image(path=path, projection="lateral", sha256=f"{number}" * 64)
        reference = {"lung": f"Reference {number}."}
        yield Study(
            id=f"{split} {number}", uid="", split=split, report=report, images=(image,),
            reference=reference,
        )  # fmt: skip


def with_engine(engine: str, **llm: object) -> None:
    path = Path("params.yaml")
    content = yaml.safe_load(path.read_text())
    content["annotate"] = {"engine": engine, "gpus": 0}
    content["llm"] |= llm
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def load(name: str) -> Annotator:
    settings = params.load()
    project = Project(Path.cwd(), Path.cwd(), settings.regions, settings.llm)
    return annotator(settings.annotate, settings.approaches, name, project)


def outs() -> dict[str, bytes]:
    files = [*Path("data/annotations").rglob("*"), *Path("metrics").rglob("*")]
    return {str(path): path.read_bytes() for path in files if path.is_file()}


def test_a_stage_writes_the_same_bytes_and_goes_on_where_one_was_killed(project):
    """The picture audit included."""
    from stages import annotate

    with_engine("local", max_failed=0.5)
    annotate.main("seeing")
    wanted = outs()
    assert {Path(name).name for name in wanted} == {
        "dev.jsonl", "test.jsonl", "audit.jsonl", "seeing.json"
    }  # fmt: skip
    assert json.loads(wanted["metrics/usage/seeing.json"])["failed"] == 2
    assert b"(84, 28)" in wanted["data/annotations/seeing/audit.jsonl"]
    for path in wanted:
        Path(path).unlink()
    Path("started").unlink()

    with_engine("ray", max_failed=0.5)
    killed = load("seeing")(study.case() for study in studies("dev"))
    assert next(killed).id == "dev 1"
    killed.close()
    annotate.main("seeing")
    assert outs() == wanted
    assert Path("started").read_text().split() == ["started"] * 3  # dev, test, audit
    assert list((project / FOLDER / "seeing").iterdir()) == []


def test_a_case_that_a_file_would_change_is_refused(project):
    with_engine("ray")
    changed = ("12.0", "Clear."), ("a", "nan"), ("nan", "Clear."), ("a", "Clear. " * 10_000)
    for case in (Case(id=id, report=report) for id, report in changed):
        with pytest.raises(UserError, match=rf"engine: ray: study {case.id}: .*; use local"):
            list(load("seeing")([case]))


def test_what_was_asked_of_a_server_and_its_cost_are_counted(project, chat_server):
    prices = {"m": {"tokens_in": 1000.0, "tokens_out": 1000.0}}
    found = {}
    for engine in ("local", "ray"):
        server = chat_server()
        with_engine(engine, provider="openai", base_url=server.url, model="m", prices=prices)
        if engine == "ray":  # first by a stage that is killed while it reads the results
            next(load("asking")(study.case() for study in studies("dev")))
        asking = load("asking")
        records = list(asking(study.case() for study in studies("dev")))
        assert list(asking([])) == []
        usage = asking.usage()
        seconds = usage.pop("seconds")
        assert seconds >= 0 and len(server.asked) == 3
        found[engine] = records, usage
    assert found["ray"] == found["local"]
    assert found["ray"][1]["requests"] == 3 and found["ray"][1]["cost_usd"] > 0
