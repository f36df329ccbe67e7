"""The release: chosen on dev alone, with the margin the right way round, and every row names who
said it and who judged.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REGIONS, annotation, annotator_of

from xraygen import judges, params
from xraygen.annotators import release
from xraygen.annotators.cascade import CascadeSettings
from xraygen.annotators.recorded import RecordedSettings
from xraygen.annotators.router import router
from xraygen.annotators.router.annotator import RouterSettings
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_json, read_jsonl, write_json, write_jsonl
from xraygen.core.origin import Prepared
from xraygen.core.study import Study
from xraygen.evaluation import evaluate
from xraygen.evaluation.compare import report_of
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.scores import scores_of
from xraygen.sources.phantom import phantom

LEARNED = RouterSettings(annotator="router", reads="models/router", wording="learned")
VERBATIM = LEARNED.model_copy(update={"wording": "verbatim"})
RECORDED = RecordedSettings(annotator="recorded", reads="a.csv", answer="a")


def scores(dev: float | None, test: float = 0.5) -> dict:
    def cells(score):
        return {
            "macro": {
                "score": score,
                "ci_low": score and score - 0.1,
                "ci_high": score and score + 0.05,
            }
        }

    return {"judge": "proxy", "dev": cells(dev), "test": cells(test)}


def pair(
    difference: float | None, low: float | None, high: float | None, holds: bool = True
) -> dict:
    macro = {
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "p_holm": 0.01,
        "holds": holds,
    }
    return {"score": {"macro": macro}, "token_f1": {"macro": {"difference": 9.0}}}


def test_dev_decides_and_test_does_not():
    by_name = {"a": scores(0.7, test=0.9), "b": scores(0.8, test=0.1), "c": scores(0.6)}
    pairs = {
        "a vs b": pair(-0.1, -0.3, -0.05),
        "a vs c": pair(0.1, 0, 1),
        "b vs c": pair(0.2, 0, 1),
    }
    chosen = release.choose(dict.fromkeys(by_name, LEARNED), by_name, pairs)
    assert (chosen["approach"], chosen["runner_up"], chosen["candidates"], chosen["judge"]) == (
        "b",
        "a",
        3,
        "proxy",
    )
    assert (chosen["score"], chosen["ci_low"], chosen["ci_high"]) == (0.8, 0.8 - 0.1, 0.8 + 0.05)
    # "a vs b" is a minus b: turned round with its interval, whose ends change places
    assert (
        chosen["margin"],
        chosen["margin_ci_low"],
        chosen["margin_ci_high"],
        chosen["holds"],
    ) == (0.1, 0.05, 0.3, True)


def test_among_equals_the_first_by_name_and_the_margin_of_nothing_does_not_hold():
    by_name = {"b": scores(0.8), "a": scores(0.8)}
    chosen = release.choose(
        dict.fromkeys(by_name, LEARNED), by_name, {"b vs a": pair(0.0, -0.1, 0.2)}
    )
    assert (
        chosen["approach"],
        chosen["runner_up"],
        chosen["margin_ci_low"],
        chosen["margin_ci_high"],
    ) == ("a", "b", -0.2, 0.1)
    assert chosen["margin"] == 0 and not chosen["holds"]
    assert "on dev, tied with b." in release.readme(chosen | {"studies": 2, "failed": 0})


def test_among_equals_a_cascade_comes_after_approaches_that_are_made_of_no_others():
    cascade = CascadeSettings(
        annotator="cascade", reads="models", first="router", then="rules", below=0.8
    )
    approaches = {"cascade": cascade, "router": LEARNED, "rules": VERBATIM}
    by_name = {"cascade": scores(0.8), "router": scores(0.8), "rules": scores(0.5)}
    pairs = {"cascade vs router": pair(0.0, -0.1, 0.1)}
    chosen = release.choose(approaches, by_name, pairs)
    assert (chosen["approach"], chosen["runner_up"]) == ("router", "cascade")


def test_a_difference_that_holds_the_other_way_round_is_no_lead():
    """Possible where the judge left pairs unscored, which count in the scores' means but in no
    comparison.
    """
    by_name = {"a": scores(0.8), "b": scores(0.79)}
    chosen = release.choose(
        dict.fromkeys(by_name, LEARNED), by_name, {"a vs b": pair(-0.02, -0.03, -0.01, holds=True)}
    )
    assert chosen["approach"] == "a" and chosen["margin"] == -0.02 and chosen["holds"] is False


def test_recorded_approaches_are_left_out_and_named_and_one_that_is_left_has_no_margin():
    by_name = {"gpt": scores(0.99), "a": scores(0.5), "none": scores(None)}
    approaches = {"gpt": RECORDED, "a": LEARNED, "none": LEARNED}
    chosen = release.choose(approaches, by_name, {"gpt vs a": pair(0.49, 0.4, 0.5)})
    assert (chosen["approach"], chosen["candidates"], chosen["left_out"]) == ("a", 1, ["gpt"])
    assert not {"runner_up", "margin", "margin_ci_low", "holds"} & chosen.keys()
    text = release.readme(chosen | {"studies": 2, "failed": 0})
    assert "Excluded from the choice: gpt." in text and "Margin" not in text
    with pytest.raises(UserError, match="no approach that can annotate"):
        release.choose({"gpt": RECORDED, "none": LEARNED}, by_name, {})


def test_a_comparison_that_could_not_be_made_has_no_margin_in_numbers():
    by_name = {"a": scores(0.8), "b": scores(0.7)}
    chosen = release.choose(
        dict.fromkeys(by_name, LEARNED), by_name, {"b vs a": pair(None, None, None, holds=False)}
    )
    assert (chosen["margin"], chosen["margin_ci_low"], chosen["holds"]) == (None, None, False)
    text = release.readme(chosen | {"studies": 2, "failed": 0})
    assert (
        "over the next, b: too few studies" in text
        and "significant" not in text
        and "None" not in text
    )


def test_a_comparison_of_other_approaches_is_refused():
    by_name = {"a": scores(0.8), "b": scores(0.7), "c": scores(0.1)}
    with pytest.raises(
        UserError, match="no comparison of a with b on dev; run `dvc repro compare`"
    ):
        release.choose(dict.fromkeys(by_name, LEARNED), by_name, {"a vs c": pair(0.1, 0, 1)})


def test_dev_was_used_for_what_the_approaches_take(root):
    """Checkpoints are selected for a fine-tuned model alone, prompts for a language model."""
    shipped = params.load(root / "params.yaml").approaches
    whole = ["checkpoint selection in fine-tuning", "prompt selection"]

    def said(*names: str) -> tuple[list[str], str]:
        by_name = {name: scores(0.5 + 0.1 * place) for place, name in enumerate(names)}
        pairs = {f"{names[-1]} vs {names[-2]}": pair(0.1, 0.0, 0.2)} if len(names) > 1 else {}
        facts = release.choose({name: shipped[name] for name in names}, by_name, pairs)
        text = release.readme(facts | {"studies": 2, "failed": 0})
        assert ("fine-tuned approach more" in text) == ("checkpoint" in text)
        (line,) = [line for line in text.splitlines() if line.startswith("- Dev was used for ")]
        return facts["dev_used_for"][:-1], line

    assert said("router")[0] == []
    assert said("router")[1] == (
        "- Dev was used for the final choice of the approach, so scores on dev are optimistic."
    )
    assert said("router", "vlm-base")[0] == []
    assert said("brief", "router")[0] == whole[1:]
    assert said("vlm-finetuned", "router")[0] == whole[:1]
    assert said("vlm-finetuned", "rules")[0] == whole
    assert " selection and the final choice" in said("rules", "router")[1]


def made(split: str, first: int, count: int) -> list[Study]:
    reports = [phantom(0, first + k) for k in range(count)]
    return [
        Study(
            id=m.id,
            uid=m.uid,
            split=split,
            report=m.report,
            reference=None if split == "val" else m.reference,
            novel=True,
        )
        for m in reports
    ]


def judged_project(folder: Path, defaults: Path, approaches: dict) -> None:
    """A project as it stands when everything up to compare has run: prepared studies, a router,
    scores, the comparison.
    """
    content = yaml.safe_load(defaults.read_text())
    content["approaches"] = {name: approach.model_dump() for name, approach in approaches.items()}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    router.fit(made("train", 1000, 80), router.RouterParams(), REGIONS).save(
        folder / "models/router"
    )
    val = made("val", 3000, 8)
    val[3] = val[3].model_copy(update={"report": " "})
    write_jsonl(folder / "data/prepared/val.jsonl", val)
    source = Prepared(source="plugins.mine:Tutorial", seeds={"data.seed": 7})
    write_json(folder / "data/prepared/source.json", source.model_dump())
    settings = params.load(folder / "params.yaml")
    studies, judge, of_all = (
        {"dev": made("dev", 2000, 30), "test": made("test", 4000, 10)},
        judges.load("proxy"),
        {},
    )
    summaries: dict = {}
    for name in approaches:
        annotate = annotator_of(settings, name, folder)
        said = {
            split: list(annotate(study.case() for study in members))
            for split, members in studies.items()
        }
        judged = evaluate.judge_splits(studies, said, judge, REGIONS)
        summaries[name] = evaluate.details(judged, studies, judge, REGIONS, 200, 0)
        of_all[name] = scores_of(judged, studies, REGIONS.scored)
    comparison = report_of(
        of_all, summaries, [], CompareParams(resamples=200, alpha=0.05, power=0.8, seed=0)
    )
    write_json(folder / "reports/comparison.json", comparison)


def run(root: Path, folder: Path) -> subprocess.CompletedProcess:
    stage = [sys.executable, "-m", "stages.release"]
    return subprocess.run(
        stage,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )


FILES = (
    "data/release/val.jsonl",
    "data/release/val.csv",
    "data/release/README.md",
    "metrics/release.json",
)


@pytest.fixture(
    scope="module", params=[("learned", "verbatim"), ("verbatim", "learned")], ids="-".join
)
def project(request, root, tmp_path_factory) -> Path:
    """Both orders in params.yaml, so that the comparison is written either way round."""
    folder = tmp_path_factory.mktemp("project")
    approaches = {"learned": LEARNED, "verbatim": VERBATIM}
    judged_project(folder, root / "params.yaml", {name: approaches[name] for name in request.param})
    done = run(root, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_stage_annotates_every_study_of_val_in_order_and_names_approach_and_judge(project):
    studies = list(read_jsonl(project / "data/prepared/val.jsonl", Study))
    members = list(read_jsonl(project / FILES[0], release.Released))
    said = list(
        annotator_of(params.load(project / "params.yaml"), "learned", project)(
            study.case() for study in studies
        )
    )
    assert [(m.id, m.annotation, m.error) for m in members] == [
        (s.id, s.annotation, s.error) for s in said
    ]
    assert {(m.approach, m.judge) for m in members} == {("learned", "proxy")}
    assert [m.id for m in members if m.annotation is None] == [studies[3].id]

    with (project / FILES[1]).open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["id", *REGIONS, "review", "error", "approach", "judge", "evidence"]
    assert len(table) == len(studies)
    for row, member in zip(table, members, strict=True):
        assert (row["id"], row["error"], row["approach"], row["judge"]) == (
            member.id,
            member.error or "",
            "learned",
            "proxy",
        )
        assert {region: row[region] for region in REGIONS} == (member.annotation or annotation())
        assert json.loads(row["evidence"] or "{}") == member.model_dump(mode="json")["evidence"]
        assert list(member.evidence) == (list(REGIONS) if member.annotation else [])


def test_its_metrics_say_by_how_much_in_either_order_of_the_approaches(project):
    facts = read_json(project / FILES[3])
    comparison = read_json(project / "reports/comparison.json")
    macro = {name: content["dev"]["macro"] for name, content in comparison["approaches"].items()}
    assert (facts["approach"], facts["runner_up"], facts["studies"], facts["failed"]) == (
        "learned",
        "verbatim",
        8,
        1,
    )
    assert facts["score"] == round(macro["learned"]["score"], 4)
    assert facts["margin"] == pytest.approx(
        macro["learned"]["score"] - macro["verbatim"]["score"], abs=1e-4
    )
    assert facts["margin"] > 0
    ((name, pair),) = comparison["pairs"]["dev"].items()
    sign = 1 if name.startswith("learned") else -1
    low, high = sorted(sign * pair["score"]["macro"][end] for end in ("ci_low", "ci_high"))
    assert low < facts["margin"] < high
    text = (project / FILES[2]).read_text()
    assert f"Margin over the next, verbatim: {facts['margin']:.3f} [{low:.3f}, {high:.3f}]" in text
    for use in facts["dev_used_for"]:
        assert use in text
    assert facts["dev_used_for"] == ["the final choice of the approach"]
    assert (
        "**learned**" in text
        and "proxy, the embedded approximation" in text
        and "Failed: 1;" in text
    )


def test_the_readme_is_a_dataset_card_that_says_what_is_known_of_the_source(project):
    """The source of this project states no licence."""
    cards = pytest.importorskip("huggingface_hub")
    card = cards.DatasetCard.load(project / FILES[2])
    assert (card.data.license, card.data.license_name) == ("other", "not-stated")
    assert card.data.size_categories == ["n<1K"] and card.data.get("language") is None
    assert card.data.configs[0]["data_files"] == [{"split": "validation", "path": "val.jsonl"}]
    before_sections = card.text.split("\n## ")[0]
    assert "`plugins.mine:Tutorial`, whose licence is not stated" in before_sections
    assert "not for clinical use" in before_sections
    assert "Studies: val 8. Seeds in params.yaml: `data.seed` 7." in card.text
    assert ", ".join(REGIONS) in card.text


def test_a_second_run_gives_the_same_bytes(project, root):
    before = [(project / name).read_bytes() for name in FILES]
    assert run(root, project).returncode == 0
    assert [(project / name).read_bytes() for name in FILES] == before


def test_what_is_missing_is_one_line_and_leaves_the_last_release_whole(project, root):
    before = [(project / name).read_bytes() for name in FILES]
    (project / "data/prepared/val.jsonl").rename(project / "val.jsonl")
    done = run(root, project)
    (project / "val.jsonl").rename(project / "data/prepared/val.jsonl")
    assert (
        done.returncode == 2
        and done.stderr.startswith("error: data/prepared/val.jsonl: ")
        and done.stderr.count("\n") == 1
    )
    assert [(project / name).read_bytes() for name in FILES] == before
