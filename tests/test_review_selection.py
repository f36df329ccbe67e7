"""`xraygen review`: which regions it chooses, and what the page holds of them."""

import json
import re

import pytest
import yaml
from click.testing import CliRunner
from conftest import REGIONS, ROOT, annotation
from PIL import Image

from xraygen.annotators.release import Released
from xraygen.cli import main
from xraygen.core.json_lines import write_jsonl
from xraygen.core.study import AnnotationRecord, Evidence, Study
from xraygen.core.study import Image as View

TEXTS = {"bone": "Ribs whole.", "heart": "Heart of usual size.", "lung": "Lungs open."}
SECRET = "Curators wrote this of the heart."


def record(id: str, confidence: dict[str, float] | None = None, **texts: str) -> AnnotationRecord:
    evidence = {
        region: Evidence(confidence=value, spans=((0, 5),))
        for region, value in (confidence or {}).items()
    }
    return AnnotationRecord(id=id, annotation=annotation(**TEXTS | texts), evidence=evidence)


def failed(id: str) -> AnnotationRecord:
    return AnnotationRecord(id=id, annotation=None, error="no answer")


def sure(**others: float) -> dict[str, float]:
    return dict.fromkeys(REGIONS, 0.95) | others


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with params.yaml, four studies, and what three approaches say of them."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    kept = ("constant", "router", "router-verbatim", "brief")
    settings["approaches"] = {name: settings["approaches"][name] for name in kept}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name in ("a.png", "b.png"):
        Image.new("L", (1200, 600), 90).save(tmp_path / name)
    studies = [
        Study(
            id=f"S{number}",
            uid=str(number),
            split="test",
            report=f"Report {number}: all is well.",
            images=(View(path="a.png"), View(path="b.png", projection="lateral")),
            reference=annotation(heart=SECRET),
        )
        for number in range(4)
    ]
    monkeypatch.chdir(tmp_path)
    for split in ("test", "val"):
        write_jsonl(f"data/prepared/{split}.jsonl", studies)
    router = [
        record("S0", sure(lung=0.123456, others=0.01)),
        record("S1", sure(heart=0.5, lung=0.3)),
        failed("S2"),
        record("S3", sure()),
    ]
    write_jsonl("data/annotations/router/test.jsonl", router)
    write_jsonl(
        "data/annotations/router-verbatim/test.jsonl",
        [
            record("S0"),
            record("S1", bone="Spine bent."),
            record("S2"),
            record("S3", bone="Rib broken."),
        ],
    )
    write_jsonl(
        "data/annotations/brief/test.jsonl",
        [record("S0"), failed("S1"), record("S2"), record("S3", bone="Rib broken.")],
    )
    write_jsonl(
        "data/annotations/constant/test.jsonl",
        [record(f"S{number}", lung="Something else altogether.") for number in range(4)],
    )
    released = [
        Released(
            id=one.id,
            annotation=one.annotation,
            evidence=one.evidence,
            review=(),
            error=one.error,
            approach="router",
            judge="proxy",
        )
        for one in router
    ]
    write_jsonl("data/release/val.jsonl", released)
    return tmp_path


def review(*options: str):
    """By uncertainty, if the options do not say otherwise."""
    given = ["--approach", "router", "--by", "uncertainty", "--out", "review.html", *options]
    return CliRunner().invoke(main, ["review", *given])


def written() -> str:
    with open("review.html", encoding="utf-8") as file:
        return file.read()


def data() -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', written())[1])


def chosen() -> list[tuple[str, str]]:
    return [(study["id"], one["region"]) for study in data()["studies"] for one in study["regions"]]


def test_the_least_confident_scored_regions_are_shown_by_study_most_doubtful_first(project):
    done = review("--n", "3")
    assert done.exit_code == 0, done.output
    assert done.output == "3 regions of 2 studies: review.html\n"
    assert chosen() == [("S0", "lung"), ("S1", "heart"), ("S1", "lung")]
    study = data()["studies"][0]
    assert study["report"] == "Report 0: all is well."
    assert study["regions"] == [{"region": "lung", "text": "Lungs open.", "spans": [[0, 5]]}]
    assert [one["projection"] for one in study["pictures"]] == ["unknown", "lateral"]
    assert [(one["width"], one["height"]) for one in study["pictures"]] == [(768, 384)] * 2
    assert study["pictures"][0]["src"].startswith("data:image/webp;base64,")


def test_regions_without_a_confidence_come_first(project):
    partly = [record("S0", {"bone": 0.1, "heart": 0.2, "lung": 0.3}), record("S1", sure())]
    write_jsonl("data/annotations/router/test.jsonl", partly)
    assert review("--n", "2").exit_code == 0
    assert chosen() == [("S0", "bone"), ("S0", "mediastinal")]


def test_disagreement_is_with_most_other_approaches_not_with_one_that_differs_everywhere(project):
    """The constant approach says something else of every lung; of the bones in S3 two approaches
    of three do, and in S1 one of the two that have an annotation.
    """
    assert review("--by", "disagreement", "--n", "2").exit_code == 0
    assert chosen() == [("S3", "bone"), ("S1", "bone")]


def annotate_dev(wrong: set[int], doubted: set[int], differing: set[int]) -> None:
    """Forty studies of dev. In those with these numbers the router's text of the lungs is wrong,
    its confidence in them is low, and the approach brief says something else of them.
    """
    numbers = range(40)
    studies = [
        Study(
            id=f"D{number}",
            uid=str(number),
            split="dev",
            report="All is well.",
            reference=annotation(
                **TEXTS | {"lung": "Collapsed." if number in wrong else "Lungs open."}
            ),
        )
        for number in numbers
    ]
    router = [
        record(f"D{number}", sure(lung=0.3 if number in doubted else 0.9)) for number in numbers
    ]
    same = [record(f"D{number}") for number in numbers]
    brief = [
        record(f"D{number}", lung="Something else." if number in differing else "Lungs open.")
        for number in numbers
    ]
    write_jsonl("data/prepared/dev.jsonl", studies)
    write_jsonl("data/annotations/router/dev.jsonl", router)
    for name, theirs in (("constant", same), ("router-verbatim", same), ("brief", brief)):
        write_jsonl(f"data/annotations/{name}/dev.jsonl", theirs)


def by_default(*options: str):
    return CliRunner().invoke(
        main, ["review", "--approach", "router", "--out", "review.html", "--n", "1", *options]
    )


WRONG = set(range(10))
OTHERS = set(range(10, 20))


@pytest.mark.parametrize(
    "doubted, differing, expected",
    [(WRONG, OTHERS, ("S0", "lung")), (OTHERS, WRONG, ("S3", "bone"))],
    ids=["confidence tells", "another approach tells"],
)
def test_by_default_regions_come_first_that_are_like_wrong_ones_on_dev(
    project, doubted, differing, expected
):
    """On test the router doubts the lungs of S0, and brief differs in the bones of S3."""
    annotate_dev(WRONG, doubted, differing)
    assert by_default().exit_code == 0
    assert chosen() == [expected]


def test_the_risk_in_a_release_is_that_of_the_confidence_alone(project):
    """Nobody else has texts of val, and an approach that tells on dev does not help there."""
    annotate_dev(WRONG, WRONG, WRONG)
    assert by_default("--split", "val").exit_code == 0
    assert chosen() == [("S0", "lung")]


def test_without_a_wrong_region_on_dev_no_risk_can_be_learned(project):
    annotate_dev(set(), OTHERS, OTHERS)
    done = by_default()
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert "choose with --by uncertainty, disagreement or random" in done.output


def test_a_random_choice_depends_on_the_seed_alone(project):
    choices = set()
    for seed in range(5):
        assert review("--by", "random", "--n", "4", "--seed", str(seed)).exit_code == 0
        choices.add(tuple(chosen()))
    assert len(choices) > 3
    before = chosen()
    write_jsonl(
        "data/annotations/router/test.jsonl",
        [record("S3", sure()), record("S1"), record("S0", sure(bone=0.0))],
    )
    assert review("--by", "random", "--n", "4", "--seed", "4").exit_code == 0
    assert chosen() == before


def test_a_blind_page_holds_no_name_of_the_approach_and_an_order_that_tells_nothing(project):
    orders = set()
    for seed in range(5):
        assert review("--blind", "--n", "9", "--seed", str(seed)).exit_code == 0
        orders.add(tuple(study["id"] for study in data()["studies"]))
        assert "router" not in written() and "uncertain" not in written()
        assert data()["approach"] is None
    assert len(orders) > 1


def test_blind_or_not_the_sample_is_the_same_and_other_texts_are_another(project):
    samples = []
    for options in (["--blind"], [], ["--n", "3"]):
        review("--n", "9", *options)
        samples.append(data()["sample"])
    assert samples[0] == samples[1] != samples[2]
    write_jsonl(
        "data/annotations/router/test.jsonl", [record("S0", sure(lung=0.1), lung="Lungs shut.")]
    )
    review("--n", "1")
    assert data()["sample"] not in samples


def test_no_reference_and_no_confidence_is_on_the_page(project):
    """Not even of a region that is shown: the page has nothing but the report and the texts."""
    review("--n", "99")
    assert "Report 1" in written() and "Heart of usual size." in written()
    assert SECRET not in written()
    assert "0.123456" not in written() and "confidence" not in written()


def test_the_same_bytes_and_an_old_page_is_replaced(project):
    (project / "review.html").write_text("old")
    review("--by", "random")
    first = written()
    review("--by", "random")
    assert written() == first and first.startswith("<!doctype html>")


def test_a_larger_number_than_there_are_takes_all_and_says_so(project):
    done = review("--n", "500")
    assert done.output == "12 regions of 3 studies, all that test has: review.html\n"


def test_of_val_the_release_is_reviewed(project):
    assert review("--split", "val", "--n", "1").exit_code == 0
    assert chosen() == [("S0", "lung")]


def test_a_picture_that_cannot_be_read_is_said_here_and_there(project):
    (project / "b.png").write_bytes(b"damaged")
    done = review("--n", "3")
    assert done.exit_code == 0
    assert "2 pictures cannot be read: " in done.output and "b.png" in done.output
    assert [list(one) for one in data()["studies"][0]["pictures"]] == [
        ["projection", "width", "height", "src"],
        ["projection"],
    ]


def remove_pictures(project):
    for name in ("a.png", "b.png"):
        (project / name).unlink()


def shorten_others(project):
    write_jsonl("data/annotations/brief/test.jsonl", [record("S0"), record("S2")])


def forget_a_study(project):
    lines = (project / "data/prepared/test.jsonl").read_text().splitlines(keepends=True)
    (project / "data/prepared/test.jsonl").write_text("".join(lines[1:]))


def fail_everything(project):
    write_jsonl("data/annotations/router/test.jsonl", [failed("S0"), failed("S1")])


@pytest.mark.parametrize(
    "options, spoil, said",
    [
        (["--approach", "rooter"], None, "no approach 'rooter'; there are: brief, constant"),
        (
            ["--approach", "constant"],
            None,
            "constant gives no confidence; choose with --by risk, dis",
        ),
        (
            ["--split", "dev"],
            None,
            "router/dev.jsonl: No such file or directory; get it with `dvc pull`",
        ),
        (
            ["--split", "val", "--by", "disagreement"],
            None,
            "approaches to disagree with; choose with --by risk,",
        ),
        (["--split", "val", "--approach", "brief"], None, "is by router; give --approach router"),
        (["--by", "disagreement"], shorten_others, "data/annotations/brief: not of the same"),
        ([], remove_pictures, "none of 6 pictures can be read: "),
        ([], forget_a_study, "has no study S0; run `dvc repro`"),
        ([], fail_everything, "router has not annotated a study of test"),
        (["--n", "0"], None, "x>=1"),
    ],
)
def test_mistakes_are_one_line_and_leave_the_old_page(project, options, spoil, said):
    (project / "review.html").write_text("old")
    if spoil:
        spoil(project)
    done = review(*options)
    assert done.exit_code == 2
    assert done.output.startswith("error: ") and done.output.count("\n") == 1
    assert said in done.output
    assert written() == "old"
