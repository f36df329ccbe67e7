"""The picture audit: what it shows, what it says of annotators that ignore pictures or use them,
and what it leaves alone.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REGIONS, ROOT, project_of
from PIL import Image as Pictures
from test_graph import ENVIRONMENT

from xraygen import judges
from xraygen.annotators.base import Annotator, Project, Settings
from xraygen.annotators.load import Checked
from xraygen.annotators.picture_audit import AuditParams, altered, answers
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, read_jsonl, write_jsonl
from xraygen.core.study import AnnotationRecord, AuditRecord, Case, Image, Study
from xraygen.evaluation import picture_audit
from xraygen.evaluation.picture_audit_table import section, verdict
from xraygen.sources.phantom import phantom

PROXY = judges.load("proxy")
SETTINGS = Settings(annotator="plugins.mine:Any", reads="plugins")


def picture(folder: Path, name: str, shade: int, size: tuple[int, int] = (8, 6)) -> Image:
    """A distinct picture: no two shades have the same bytes."""
    path = folder / f"data/{name}.png"
    path.parent.mkdir(exist_ok=True)
    Pictures.new("RGB", size, (shade % 256, shade // 256, 7)).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Image(path=f"data/{name}.png", projection="frontal", sha256=sha256)


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> tuple[Path, list[Study]]:
    """A project's folder, and its 60 test studies."""
    folder = tmp_path_factory.mktemp("project")
    studies = []
    for k in range(60):
        made = phantom(0, k)
        studies.append(
            Study(
                id=made.id,
                uid=made.uid,
                split="test",
                report=f"{made.report} Note {k}.",
                images=[picture(folder, made.id, k)],
                reference=REGIONS.annotation(made.reference),
                novel=True,
            )
        )
    return folder, studies


class Showing(Annotator):
    """Answers what `truth` says of what it goes by; {} where that is unknown."""

    shows_pictures = True

    def __init__(self, project: Project, truth: dict[str, dict[str, str]]) -> None:
        super().__init__(SETTINGS, project)
        self.truth = truth

    def __call__(self, cases):
        for case in cases:
            assert type(case) is Case
            yield AnnotationRecord(id=case.id, annotation=self.annotation(case))

    def seen(self, case: Case) -> dict[str, str]:
        bytes = [(self.project.images / image.path).read_bytes() for image in case.images]
        return self.truth.get(hashlib.sha256(b"".join(bytes)).hexdigest(), {})


class IgnoresPictures(Showing):
    """Of the kind that says image+report, and reads the report."""

    def annotation(self, case: Case) -> dict[str, str]:
        return self.truth[case.report]


class UsesOnlyPictures(Showing):
    def annotation(self, case: Case) -> dict[str, str] | None:
        return self.seen(case) if case.images else None


class TakesTheHeartFromThePicture(Showing):
    def annotation(self, case: Case) -> dict[str, str]:
        seen = {"heart": self.seen(case).get("heart", "")} if case.images else {}
        return self.truth[case.report] | seen


def truth(studies: list[Study]) -> dict[str, dict[str, str]]:
    by_report = {study.report: study.reference for study in studies}
    by_picture = {study.images[0].sha256: study.reference for study in studies}
    return by_report | by_picture


def audited(kind: type[Showing], members, sample: int = 40, judge=PROXY) -> dict:
    folder, studies = members
    annotate = Checked(kind(project_of(folder), truth(studies)), share=0.1)
    records = list(annotate(study.case() for study in studies))
    cases = altered(studies, AuditParams(sample=sample, seed=0), folder)
    said = list(answers(annotate, cases, "audit"))
    return picture_audit.judged(studies, records, said, judge, REGIONS, 200, 0)


# What it says of an approach


def test_an_approach_that_ignores_pictures_earns_everything_without_them(members):
    audit = audited(IgnoresPictures, members)
    for pictures in ("swapped", "blank", "none"):
        for measure in ("score", "token_f1", "clinical"):
            assert audit[pictures][measure]["share"]["value"] == 1
            assert audit[pictures][measure]["lost"] == {"value": 0, "ci_low": 0, "ci_high": 0}
    for kind in ("texts", "findings"):
        assert audit["followed"][kind]["n"] > 30
        assert audit["followed"][kind]["possible"]["value"] > 0.95
        assert audit["followed"][kind]["follows"]["value"] < 0.05
        assert audit["followed"][kind]["stays"]["value"] > 0.95
    assert verdict(audit).startswith("**the picture is not used**")
    assert "stay with the rest of the case" in verdict(audit)


def test_an_approach_that_uses_only_pictures_follows_the_swapped_one(members):
    audit = audited(UsesOnlyPictures, members)
    for kind in ("texts", "findings"):
        assert audit["followed"][kind]["follows"]["value"] > 0.95
        assert audit["followed"][kind]["follows"] == audit["followed"][kind]["possible"]
        assert audit["followed"][kind]["stays"]["value"] < 0.05
    assert audit["own"]["score"]["value"]["value"] == 1
    assert audit["swapped"]["score"]["share"]["ci_high"] < 0.6
    for measure in ("score", "token_f1", "clinical"):
        own, swapped = (audit[shown][measure]["value"]["value"] for shown in ("own", "swapped"))
        lost = audit["swapped"][measure]["lost"]
        assert lost["value"] == pytest.approx(own - swapped, abs=2e-6)
        assert 0.3 < lost["ci_low"] < lost["value"] < lost["ci_high"]
    # Silence is right in some regions, and that is all that a grey picture earns.
    assert audit["blank"]["score"]["value"]["value"] < 0.4
    assert audit["blank"]["answered"] == 40
    assert verdict(audit).startswith("**the picture is used**: ")
    assert "follow the picture" in verdict(audit)


def test_where_nothing_is_answered_there_is_no_score_rather_than_that_of_silence(members):
    audit = audited(UsesOnlyPictures, members)
    assert audit["none"] == {"cases": 40, "answered": 0}
    assert picture_audit.metrics(audit)["pictures"]["share_none"] is None
    row = next(line for line in section({"mine": audit}).splitlines() if "| none" in line)
    assert "0 of 40" in row and "0." not in row


def test_an_approach_that_uses_the_picture_for_one_region_is_in_between(members):
    audit = audited(TakesTheHeartFromThePicture, members)
    texts = audit["followed"]["texts"]
    assert 0.1 < texts["follows"]["value"] < 0.4 < texts["stays"]["value"] < 0.9
    assert 0.7 < audit["swapped"]["score"]["share"]["value"] < 0.95
    assert audit["followed"]["by_finding"]["cardiomegaly"]["n"] > 3
    # A wrong picture misleads it, and the right one says no more than the report.
    assert "is used**, but the answers are as good with none: " in verdict(audit)
    by_name = audit["followed"]["by_finding"]
    assert {name for name, one in by_name.items() if one["follows"]} == {"cardiomegaly"}
    assert by_name["cardiomegaly"]["follows"] == by_name["cardiomegaly"]["n"]
    assert by_name["cardiomegaly"]["stays"] == 0 < by_name["cardiomegaly"]["n_own"]


def test_regions_on_which_the_references_agree_count_for_neither_side(members):
    folder, studies = members
    same = [
        study.model_copy(update={"reference": study.reference | {"bone": "No fracture."}})
        for study in studies
    ]
    audit = audited(UsesOnlyPictures, (folder, same))
    everything = audited(UsesOnlyPictures, members)
    assert audit["followed"]["texts"]["n"] < everything["followed"]["texts"]["n"]
    assert audit["followed"]["texts"]["n"] <= 3 * 40


class Silent(judges.Judge):
    """Tells nothing of findings, and cannot score a pair of which one side is long."""

    name = "silent"

    def judge(self, pairs):
        lengths = [max(map(len, pair)) for pair in pairs]
        return [judges.Opinion(None if length > 60 else 0.5) for length in lengths]


def test_a_judge_that_tells_no_findings_leaves_them_open(members):
    audit = audited(UsesOnlyPictures, members, judge=Silent())
    assert audit["followed"]["findings"]["follows"] is None
    assert audit["own"]["clinical"]["value"]["value"] is None
    assert audit["followed"]["texts"]["n"] > 0
    assert "| mine" in section({"mine": audit}) and "picture is used" in verdict(audit)


def test_two_studies_whose_answers_do_not_change_prove_little(members):
    said = verdict(audited(IgnoresPictures, members, sample=2))
    assert said.startswith("**the picture is not used**, as far as 2 studies tell: none of 6 ")


class FailsWithSwapped(Showing):
    """Says nothing of a study but with its own pictures, or with none."""

    def annotation(self, case: Case) -> dict[str, str] | None:
        right = self.truth[case.report]
        return right if not case.images or self.seen(case) == right else None


def test_an_answer_that_failed_neither_follows_nor_stays(members):
    """Counted as empty, it would be nearer to a reference that is silent."""
    audit = audited(FailsWithSwapped, members)
    assert audit["swapped"]["answered"] == 0 < audit["none"]["answered"]
    assert audit["followed"]["texts"]["n"] == audit["followed"]["findings"]["n"] == 0
    assert picture_audit.metrics(audit)["pictures"]["follows_texts"] is None
    assert verdict(audit) == (
        "**the picture is not used**, as far as 40 studies tell: none of 40 answers changed."
    )
    assert section({"mine": audit}).count("| 0 regions ") == 1


def test_a_swap_counts_only_if_both_studies_were_answered(members):
    folder, studies = members
    cases = altered(studies, AuditParams(sample=40, seed=0), folder)
    lenders = {one.pictures_of for one in cases}
    failing = next(study.report for study in studies if study.id in lenders)

    class FailsForOne(IgnoresPictures):
        def annotation(self, case: Case) -> dict[str, str] | None:
            return None if case.report == failing else super().annotation(case)

    whole = audited(IgnoresPictures, members)["followed"]["texts"]
    rest = audited(FailsForOne, members)["followed"]["texts"]
    assert rest["n"] < whole["n"]
    for share in ("possible", "stays"):
        assert rest[share]["value"] == whole[share]["value"] == 1


def test_one_study_has_nobody_to_swap_with_and_no_interval(members):
    audit = audited(IgnoresPictures, members, sample=1)
    assert audit["studies"] == 1 and audit["swapped"] == {"cases": 0, "answered": 0}
    assert verdict(audit) == "too few studies were answered to tell whether the picture is used."
    assert section({"mine": audit}).count("| mine") == 6


# What is shown


def test_the_sample_is_the_same_whatever_the_order_and_grows_with_its_size(members):
    folder, studies = members
    cases = altered(studies, AuditParams(sample=20, seed=0), folder)
    assert altered(studies[::-1], AuditParams(sample=20, seed=0), folder) == cases
    more = altered(studies, AuditParams(sample=40, seed=0), folder)
    assert {one.case.id for one in cases} < {one.case.id for one in more}
    other = altered(studies, AuditParams(sample=20, seed=1), folder)
    assert {one.case.id for one in cases} != {one.case.id for one in other}
    assert [one.pictures for one in cases] == ["swapped"] * 20 + ["blank"] * 20 + ["none"] * 20


def test_only_the_pictures_of_a_case_differ(members):
    folder, studies = members
    known = {study.id: study for study in studies}
    for case, pictures, lender in altered(studies, AuditParams(sample=20, seed=0), folder):
        own = known[case.id]
        assert case.model_copy(update={"images": own.images}) == own.case()
        if pictures == "none":
            assert case.images == () and lender is None
        elif pictures == "swapped":
            assert lender != case.id and case.images == known[lender].images
            assert known[lender].reference != own.reference
        else:
            (blank,) = case.images
            data = (folder / blank.path).read_bytes()
            with Pictures.open(folder / blank.path) as shown:
                assert shown.size == (8, 6) and shown.getextrema() == (128, 128)
            assert blank.sha256 == hashlib.sha256(data).hexdigest() and lender is None
            assert blank.path.startswith(".cache/") and blank.projection == "frontal"


def test_studies_without_reference_picture_or_a_readable_one_are_not_drawn(members):
    folder, studies = members
    (folder / "data/broken.png").write_bytes(b"\x89PNG, and then nothing")
    bad = {
        "reference": studies[0].model_copy(update={"reference": None}),
        "images": studies[1].model_copy(update={"images": ()}),
        "absent": studies[2].model_copy(update={"images": (Image(path="data/absent.png"),)}),
        "broken": studies[3].model_copy(update={"images": (Image(path="data/broken.png"),)}),
    }
    cases = altered([*bad.values(), *studies[4:10]], AuditParams(sample=60, seed=0), folder)
    ids = {study.id for study in studies[4:10]}
    assert {one.case.id for one in cases} == ids
    assert {one.pictures_of for one in cases} <= ids | {None}


def test_a_partner_differs_in_its_reference_where_there_is_one_that_does(members):
    folder, studies = members
    alike = [study.model_copy(update={"reference": studies[0].reference}) for study in studies[:6]]
    one_sick = [*alike, studies[6].model_copy(update={"reference": {"lung": "A large nodule."}})]
    cases = altered(alike, AuditParams(sample=9, seed=0), folder)
    assert "swapped" not in {one.pictures for one in cases}
    swapped = [
        one
        for one in altered(one_sick, AuditParams(sample=9, seed=0), folder)
        if one.pictures == "swapped"
    ]
    assert {one.pictures_of for one in swapped if one.case.id != studies[6].id} == {studies[6].id}


def test_answers_that_fail_do_not_end_the_audit(members):
    """Without a picture all cases of this one fail, far more than llm.max_failed."""

    class Strict(UsesOnlyPictures):
        def counts_as_failed(self, record):
            return True

    assert audited(Strict, members)["none"]["answered"] == 0


def test_an_audit_of_other_studies_is_one_line(members):
    _, studies = members
    stray = AuditRecord(id="elsewhere", annotation=None, error="x", pictures="none")
    with pytest.raises(UserError, match="other studies than test: elsewhere; run `dvc repro"):
        picture_audit.judged(studies, [], [stray], PROXY, REGIONS, 10, 0)


# The stages


MINE = """
import hashlib
import json
from xraygen.annotators.base import Annotator
from xraygen.core.study import AnnotationRecord

class Plain(Annotator):
    def __call__(self, cases):
        for case in cases:
            with open("asked.jsonl", "a") as file:
                file.write(case.model_dump_json() + "\\n")
            yield AnnotationRecord(id=case.id, annotation={"lung": case.report})

class Sees(Plain):
    shows_pictures = True
"""


@pytest.fixture
def project(members, root, tmp_path) -> Path:
    """With 12 test studies, and approaches that do and do not see pictures."""
    folder, studies = members
    shutil.copytree(root / "stages", tmp_path / "stages")
    shutil.copytree(folder / "data", tmp_path / "data")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/mine.py").write_text(MINE)
    (tmp_path / "plugins/__init__.py").touch()
    write_jsonl(tmp_path / "data/prepared/test.jsonl", studies[:12])
    dev = [study.model_copy(update={"split": "dev", "novel": True}) for study in studies[12:14]]
    write_jsonl(tmp_path / "data/prepared/dev.jsonl", dev)
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["approaches"] = {
        kind.lower(): {"annotator": f"plugins.mine:{kind}", "reads": "plugins"}
        for kind in ("Plain", "Sees")
    } | {"server": content["approaches"]["brief"] | {"inputs": "image+report"}}
    content["audit"]["sample"] = 5
    content["evaluate"]["resamples"] = 50
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def stage(folder: Path, name: str, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{name}", *arguments],
        cwd=folder,
        env=ENVIRONMENT | {"PYTHONPATH": f"{folder}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_approach_without_pictures_is_asked_nothing_more(project):
    stage(project, "annotate", "plain")
    assert len((project / "asked.jsonl").read_text().splitlines()) == 14
    assert (project / "data/annotations/plain/audit.jsonl").read_text() == ""
    assert not (project / ".cache").exists()
    stage(project, "evaluate", "plain")
    assert read_json(project / "data/judgements/plain/audit.json") == {"studies": 0}
    assert "pictures" not in read_json(project / "metrics/scores/plain.json")
    assert section({"plain": {"studies": 0}}) == ""


def test_the_stages_ask_and_judge_and_no_reference_is_shown(project):
    stage(project, "annotate", "sees")
    asked = [json.loads(line) for line in (project / "asked.jsonl").read_text().splitlines()]
    assert len(asked) == 14 + 3 * 5
    assert {tuple(case) for case in asked} == {("id", "report", "images")}
    out = project / "data/annotations/sees/audit.jsonl"
    records = list(read_jsonl(out, AuditRecord))
    assert [record.pictures for record in records].count("swapped") == 5
    assert read_json(project / "metrics/usage/sees.json") == {"cases": 14, "failed": 0}
    stage(project, "evaluate", "sees")
    audit = read_json(project / "data/judgements/sees/audit.json")
    assert audit["studies"] == 5 and audit["swapped"]["changed"] == 0
    metrics = read_json(project / "metrics/scores/sees.json")["pictures"]
    assert metrics["share_swapped"] == metrics["share_none"] == 1
    written = out.read_bytes()
    shutil.rmtree(project / ".cache")
    stage(project, "annotate", "sees")
    assert out.read_bytes() == written


def test_a_limit_of_cost_holds_for_the_audit_and_what_was_paid_is_not_asked_again(
    project, chat_server, monkeypatch, capsys
):
    """14 answers for dev and test, and 15 for the audit; the limit ends it among the latter."""
    from stages import annotate

    server = chat_server(tokens=lambda body: (1000, 20))
    monkeypatch.chdir(project)
    monkeypatch.setenv("SOME_KEY", "x")
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["approaches"] = {"server": content["approaches"]["server"]}
    content["llm"] |= {"provider": "openai", "base_url": server.url, "api_key_env": "SOME_KEY"}
    cost = (1000 * 0.15 + 20 * 0.6) / 1e6

    def run(*arguments: str, limit: float | None) -> None:
        content["llm"] |= {"concurrency": 1, "max_cost_usd": limit}
        Path("params.yaml").write_text(yaml.safe_dump(content))
        annotate.main("server", *arguments)

    run("--dry-run", limit=22 * cost)
    plan = capsys.readouterr().out
    assert plan.startswith("29 cases") and "29 requests" in plan and not server.asked
    with pytest.raises(UserError, match="stopped before llm.max_cost_usd"):
        run(limit=22 * cost)
    assert 14 < len(server.asked) <= 22
    assert Path("data/annotations/server/test.jsonl").exists()
    assert not Path("data/annotations/server/audit.jsonl").exists()
    run(limit=None)
    assert len(server.answered) == len(set(server.answered)) == 29
    usage = read_json("metrics/usage/server.json")
    assert usage["cases"] == 14 and usage["cost_usd"] == pytest.approx(14 * cost, abs=1e-4)
    assert usage["audit_cost_usd"] == pytest.approx(15 * cost, abs=1e-4)
