"""docs/results.md, run as it is printed, on the files that the stages write: its tables have what
the records say.
"""

import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import REGIONS

from xraygen import judges
from xraygen.core.json_lines import read_jsonl, write_json, write_jsonl, write_metrics
from xraygen.core.study import AnnotationRecord, Evidence, Judgement, Study
from xraygen.evaluation import evaluate
from xraygen.evaluation.compare import report_of
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.scores import scores_of
from xraygen.sources.phantom import phantom

pytest.importorskip("duckdb")

APPROACHES = ("copies", "silent")
FAILED = "0007"  # no annotation of `silent`


def studies(split: str, first: int) -> list[Study]:
    """Their ids look like numbers, and begin with zeros."""
    made = [(k, phantom(0, k)) for k in range(first, first + 12)]
    return [
        Study(
            id=f"{k:04d}",
            uid=str(k),
            split=split,
            report=one.report,
            reference=one.reference,
            novel=True,
        )
        for k, one in made
    ]


def answer(approach: str, study: Study) -> AnnotationRecord:
    if approach == "copies":
        sure = {region: Evidence(support="reworded", confidence=0.75) for region in REGIONS}
        sure["heart"] = Evidence(support="unsupported", spans=((0, 1), (2, 3)), confidence=None)
        return AnnotationRecord(id=study.id, annotation=study.reference, evidence=sure)
    if study.id == FAILED:
        return AnnotationRecord(id=study.id, annotation=None, error="no answer")
    return AnnotationRecord(id=study.id, annotation=REGIONS.annotation({}))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The results of two approaches, written as the stages write them."""
    folder = tmp_path_factory.mktemp("project")
    splits = {"dev": studies("dev", 20), "test": studies("test", 0)}
    judge = judges.load("proxy")
    summaries, scores = {}, {}
    for name in APPROACHES:
        given = {split: [answer(name, one) for one in of] for split, of in splits.items()}
        judged = evaluate.judge_splits(splits, given, judge, REGIONS)
        for split in splits:
            write_jsonl(folder / f"data/annotations/{name}/{split}.jsonl", given[split])
            write_jsonl(folder / f"data/judgements/{name}/{split}.jsonl", judged[split])
        summaries[name] = evaluate.details(judged, splits, judge, REGIONS, 50, 0)
        write_metrics(folder / f"metrics/scores/{name}.json", evaluate.metrics(summaries[name]))
        scores[name] = scores_of(judged, splits, REGIONS.scored)
    settings = CompareParams(resamples=100, alpha=0.05, power=0.8, seed=0)
    write_json(folder / "reports/comparison.json", report_of(scores, summaries, [], settings))
    return folder


@pytest.fixture(scope="module")
def tables(root, project) -> dict:
    """The variables that the page leaves, by library."""
    page = (root / "docs/results.md").read_text(encoding="utf-8")
    found: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        for library in ("pandas", "DuckDB"):
            section = page.split(f"\n## {library}\n")[1].split("\n## ")[0]
            blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
            assert len(blocks) == 4
            variables = found[library] = {}
            for block in blocks:
                exec(block, variables)
        for name in ("judgements", "missed", "annotations", "unsupported"):
            found["DuckDB"][name] = found["DuckDB"][name].df()
    return found


def judged(project: Path, approach: str) -> list[Judgement]:
    return list(read_jsonl(project / f"data/judgements/{approach}/test.jsonl", Judgement))


def test_pandas_has_the_scores_of_every_approach(project, tables):
    scores = tables["pandas"]["scores"].set_index("approach")
    assert list(scores.index) == sorted(APPROACHES)
    assert scores.loc["copies", "test.macro.score"] == 1
    assert scores.loc["silent", "test.macro.score"] < 0.5
    assert {"dev.heart.score", "test_novel.macro.token_f1"} < set(scores.columns)


def test_both_libraries_have_every_judgement_and_ids_stay_text(project, tables):
    records = {
        (name, one.id, one.region): one for name in APPROACHES for one in judged(project, name)
    }
    assert len(records) == 2 * 12 * len(REGIONS.scored)
    for library in ("pandas", "DuckDB"):
        rows = tables[library]["judgements"].to_dict("records")
        found = {(row["approach"], row["id"], row["region"]): row for row in rows}
        assert found.keys() == records.keys()
        for key, row in found.items():
            assert row["score"] == records[key].score and row["verdict"] == records[key].verdict
    heart = [one.score for one in judged(project, "silent") if one.region == "heart"]
    mean = tables["pandas"]["means"].loc["heart", "silent"]
    assert mean == pytest.approx(sum(heart) / len(heart))


def test_pandas_has_the_annotations_with_their_evidence(tables):
    rows = tables["pandas"]["annotations"].set_index(["approach", "id"])
    assert len(rows) == 2 * 12
    assert rows.loc[("copies", "0003"), "evidence.heart.support"] == "unsupported"
    assert rows.loc[("copies", "0003"), "evidence.lung.confidence"] == 0.75
    assert (
        rows.loc[("copies", "0003"), "annotation.lung"] == studies("test", 0)[3].reference["lung"]
    )
    assert rows.loc[("silent", FAILED), "error"] == "no answer"
    assert not isinstance(rows.loc[("silent", FAILED), "annotation.lung"], str)


def test_pandas_has_the_pairs_and_whether_they_hold(tables):
    pairs = tables["pandas"]["pairs"]
    assert list(pairs.index) == ["copies vs silent"]
    (pair,) = pairs.to_dict("records")
    assert pair["holds"] is True and pair["ci_low"] < pair["difference"] < pair["ci_high"]
    scores = tables["pandas"]["scores"].set_index("approach")["test.macro.score"]
    assert pair["difference"] == pytest.approx(scores["copies"] - scores["silent"], abs=1e-3)


def test_duckdb_counts_missed_findings(project, tables):
    counts = Counter(
        name
        for one in judged(project, "silent")
        for name in (one.clinical.missed if one.clinical else ())
    )
    rows = tables["DuckDB"]["missed"].to_dict("records")
    assert len(counts) > 2 and {row["approach"] for row in rows} == {"silent"}
    assert {row["finding"]: row["times"] for row in rows} == dict(counts.most_common(20))
    assert [row["times"] for row in rows] == sorted(counts.values(), reverse=True)[:20]


def test_duckdb_has_a_row_for_each_region_of_each_annotation(tables):
    rows = tables["DuckDB"]["annotations"]
    assert len(rows) == (2 * 12 - 1) * len(REGIONS) and FAILED in set(rows["id"])
    assert FAILED not in set(rows[rows["approach"] == "silent"]["id"])
    copied = rows[rows["approach"] == "copies"].set_index(["id", "region"])
    for study in studies("test", 0):
        for region, text in study.reference.items():
            row = copied.loc[(study.id, region)]
            assert row["text"] == text
            assert row["support"] == ("unsupported" if region == "heart" else "reworded")
    assert set(copied.loc[("0000", "lung"), ["confidence"]]) == {0.75}


def test_duckdb_joins_annotations_with_judgements(tables):
    (row,) = tables["DuckDB"]["unsupported"].to_dict("records")
    assert row == {"approach": "copies", "region": "heart", "texts": 12, "score": 1.0}
