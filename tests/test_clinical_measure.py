"""The measure `clinical` from a judgement to the release: abnormal findings alone decide, and what
they say is shown for abnormal and normal references apart.
"""

import copy
import csv
import re
import subprocess
import sys
from collections.abc import Sequence
from statistics import mean

import numpy as np
import pytest
import yaml
from conftest import REGIONS, annotation

from xraygen import judges, params
from xraygen.annotators import release
from xraygen.annotators.router.annotator import RouterSettings
from xraygen.core.errors import UserError
from xraygen.core.json_lines import write_metrics
from xraygen.core.study import AnnotationRecord, Clinical, Judgement, Study
from xraygen.evaluation import abnormal, abnormal_table, evaluate, overview, report
from xraygen.evaluation.compare import report_of
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.resampling import bootstrap, intervals
from xraygen.evaluation.scores import by_study, scores_of, summarise
from xraygen.judges import Judge, Opinion
from xraygen.judges.constant import fit
from xraygen.judges.proxy.proxy import Proxy

PROXY = judges.load("proxy")
PARAMS = CompareParams(resamples=300, alpha=0.05, power=0.8, seed=0)
BONE, HEART, LUNG, MEDIASTINAL = REGIONS.scored
NORMAL = "No pneumothorax. No pleural effusion. Clear lung bases."
NODULE = "Nodule of the left upper lobe."
ELSEWHERE = {"bone": "No fracture.", "heart": "Normal heart size.", "mediastinal": "No widening."}


class Mute(Judge):
    """Scores as the proxy does, and says no more."""

    name = "mute"

    def judge(self, pairs):
        return Proxy().judge(pairs)


def judgement(
    id: str, region: str, score: float | None, clinical: Clinical | None = None
) -> Judgement:
    return Judgement(
        id=id,
        region=region,
        reference="a",
        candidate="b",
        score=score,
        verdict="judged",
        clinical=clinical,
        judge="proxy",
    )


def cells(clinical: dict[str, Sequence[Clinical | None]], score: float = 0.5) -> list[Judgement]:
    """A judgement for each study and region."""
    return [
        judgement(id, region, score, one)
        for id, row in clinical.items()
        for region, one in zip(REGIONS.scored, row, strict=True)
    ]


CLEAR = Clinical(score=1.0, present=0.0)
FOUND = Clinical(score=1.0, present=0.5, matched=("nodule",))
MISSED = Clinical(score=0.0, present=0.5, missed=("nodule",))
INVENTED = Clinical(score=-0.25, present=0.0, invented=("pulmonary edema",))
BENIGN = Clinical(score=1.0, present=0.0, missed=("degenerative change",))


def studies(split: str, texts: Sequence[str]) -> list[Study]:
    return [
        Study(
            id=f"{split}{number:03d}",
            uid=str(number),
            split=split,
            report="a report",
            reference=annotation(lung=text, **ELSEWHERE),
            novel=True,
        )
        for number, text in enumerate(texts)
    ]


def planted(judge: Judge, count: int = 40) -> dict:
    """The comparison of `bland`, which repeats all that is normal and nothing else, and `terse`,
    which says of the lungs nothing but what is abnormal. Every other reference has a nodule.
    """
    texts = [f"{NORMAL} {NODULE}" if number % 2 else NORMAL for number in range(count)]
    members = {"dev": studies("dev", texts), "test": studies("test", texts)}
    bland = annotation(lung=NORMAL, **ELSEWHERE)
    summaries, scores = {}, {}
    for name in ("bland", "terse"):
        said = {
            split: [
                AnnotationRecord(
                    id=study.id,
                    annotation=bland
                    if name == "bland"
                    else annotation(
                        lung=NODULE if NODULE in study.reference["lung"] else "", **ELSEWHERE
                    ),
                )
                for study in group
            ]
            for split, group in members.items()
        }
        judged = evaluate.judge_splits(members, said, judge, REGIONS)
        summaries[name] = evaluate.details(judged, members, judge, REGIONS, 300, 0)
        scores[name] = scores_of(judged, members, REGIONS.scored)
    return report_of(scores, summaries, [], PARAMS)


@pytest.fixture(scope="module")
def comparison() -> dict:
    return planted(PROXY)


@pytest.fixture(scope="module")
def silent() -> dict:
    return planted(Mute())


def markdown(comparison: dict, complete: bool = False) -> str:
    table = overview.table(comparison, {"bland": {}, "terse": {}}, "bland")
    return report.comparison_markdown(comparison, table, "planted", PARAMS, complete)


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text as rows of cells, headers first."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.M)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for block in blocks
    ]


def test_a_cell_is_the_clinical_score_and_is_unknown_where_the_judge_does_not_tell():
    scores = by_study(cells({"s": (FOUND, MISSED, INVENTED, None)}), REGIONS.scored)
    assert scores.clinical[0, :3].tolist() == [1, 0, -0.25] and np.isnan(scores.clinical[0, 3])
    assert scores.abnormal[0, :3].tolist() == [1, 1, 0] and np.isnan(scores.abnormal[0, 3])
    assert "clinical" in scores.measures() and scores.only({"s"}).clinical[0, 0] == 1


def test_a_reference_with_benign_findings_alone_is_normal():
    """A text that calls it normal has a clinical score of 1 there."""
    unweighed = BENIGN.model_copy(update={"present": None})
    scores = by_study(cells({"s": (BENIGN, unweighed, CLEAR, FOUND)}), REGIONS.scored)
    assert scores.abnormal[0].tolist() == [0, 1, 0, 1]


def test_a_summary_has_clinical_with_its_own_interval_and_the_score_keeps_its_names():
    rows = {f"s{number}": ((FOUND, MISSED)[number % 2], *[CLEAR] * 3) for number in range(20)}
    scores = by_study(cells(rows), REGIONS.scored)
    found = summarise(scores, 500, 3)
    assert found["bone"]["clinical"] == 0.5 and found["macro"]["clinical"] == 0.875
    low, high, _ = intervals(bootstrap(scores.clinical[None], 500, 3)[:, 0])
    assert (found["bone"]["clinical_ci_low"], found["bone"]["clinical_ci_high"]) == (
        round(low[1], 6),
        round(high[1], 6),
    )
    assert low[1] < 0.5 < high[1]
    assert (found["macro"]["score"], found["macro"]["ci_low"], found["macro"]["ci_high"]) == (
        0.5,
        0.5,
        0.5,
    )


def test_abnormal_and_normal_references_are_told_apart():
    rows = {"a": (FOUND, CLEAR, CLEAR, INVENTED), "b": (MISSED, MISSED, CLEAR, CLEAR)}
    judged = cells(rows)
    judged[0] = judgement("a", BONE, 0.9, FOUND)
    found = abnormal.by_reference(by_study(judged, REGIONS.scored), 50, 0)
    # over pairs, of which bone has two and heart one: not the mean of the regions' means, 1/4
    assert (found["abnormal"]["n"], found["abnormal"]["clinical"]) == (3, round(1 / 3, 6))
    assert found["abnormal"]["score"] == round((0.9 + 0.5 + 0.5) / 3, 6)
    assert (found["normal"]["n"], found["normal"]["clinical"]) == (5, (4 - 0.25) / 5)
    assert found["abnormal"]["regions"][BONE] == {"n": 2, "score": 0.7, "clinical": 0.5}
    assert found["abnormal"]["regions"][LUNG] == {"n": 0, "score": None, "clinical": None}


def test_its_interval_is_over_studies_not_over_pairs():
    """Four equal regions are no more evidence than one."""
    one = {f"s{n:02d}": ((FOUND, MISSED)[n % 3 == 0], *[None] * 3) for n in range(30)}
    four = {id: [row[0]] * 4 for id, row in one.items()}
    found = [
        abnormal.by_reference(by_study(cells(rows), REGIONS.scored), 500, 0)["abnormal"]
        for rows in (one, four)
    ]
    ends = [(cell["clinical_ci_low"], cell["clinical_ci_high"]) for cell in found]
    assert ends[0] == ends[1] and ends[0][0] < ends[0][1] and found[1]["n"] == 4 * found[0]["n"]


def test_recall_precision_and_the_most_frequent_names_by_hand():
    several = Clinical(score=0.1, matched=("edema",), missed=("nodule", "mass"), invented=("mass",))
    found = abnormal.findings(
        cells({"a": (several, FOUND, CLEAR, None), "b": (several, MISSED, INVENTED, CLEAR)}),
        REGIONS.scored,
    )
    assert (found["matched"], found["missed"], found["invented"]) == (3, 5, 3)
    assert (found["recall"], found["precision"]) == (3 / 8, 3 / 6)
    assert list(found["misses"].items()) == [("nodule", 3), ("mass", 2)]
    assert list(found["inventions"].items()) == [("mass", 2), ("pulmonary edema", 1)]
    assert found["regions"][HEART]["recall"] == 0.5 and found["regions"][HEART]["precision"] == 1
    assert found["regions"][MEDIASTINAL] == {
        "recall": None,
        "precision": None,
        "matched": 0,
        "missed": 0,
        "invented": 0,
        "misses": {},
        "inventions": {},
    }


def test_the_score_prefers_one_approach_and_clinical_the_other_and_both_hold(comparison):
    for name in ("dev", "test"):
        pair = comparison["pairs"][name]["bland vs terse"]
        assert pair["score"]["macro"]["difference"] > 0.05 and pair["score"]["macro"]["holds"]
        assert pair["clinical"]["macro"]["difference"] == -0.125  # half of one region of four
        assert pair["clinical"]["macro"]["holds"] and pair["clinical"]["lung"]["holds"]
        assert not pair["clinical"]["heart"]["holds"]
    cells = {name: comparison["approaches"][name]["test"] for name in ("bland", "terse")}
    kinds = {name: cell["by_reference"] for name, cell in cells.items()}
    # what calls everything normal gets 0 where something is abnormal, and 1 elsewhere
    assert (kinds["bland"]["abnormal"]["clinical"], kinds["bland"]["normal"]["clinical"]) == (0, 1)
    assert kinds["terse"]["abnormal"]["clinical"] == 1 and kinds["terse"]["abnormal"]["n"] == 20
    assert kinds["bland"]["abnormal"]["score"] > 0.5 > kinds["terse"]["abnormal"]["score"]
    found = cells["bland"]["abnormal_findings"]
    assert (found["recall"], found["precision"]) == (0, None)
    assert list(found["misses"].values()) == [20] and found["regions"]["lung"]["missed"] == 20


def test_the_reports_show_the_reversal_at_once(comparison):
    text = markdown(comparison)
    first, *others = tables(text)
    rows = {row[0]: dict(zip(first[0], row, strict=True)) for row in first}
    assert rows["terse"]["above the floor"].startswith("**-")
    assert rows["terse"]["clinical above the floor"] == "**+0.125**"
    assert rows["bland"]["clinical above the floor"] == "–"
    assert rows["bland"]["clinical on abnormal"] == "0.000 [0.000, 0.000]"
    assert rows["terse"]["clinical on abnormal"] == "1.000 [1.000, 1.000]"
    assert "arXiv 2603.06183" in " ".join(text.split()) and "over the 20 pairs" in text
    by_header = {tuple(rows[0]): rows for rows in others}
    (differences,) = (rows for header, rows in by_header.items() if "against" in header)
    shown = dict(zip(differences[0], differences[2], strict=True))
    assert (shown["approach"], shown["against"]) == ("bland", "terse")
    assert shown["clinical score, macro"].startswith("**-0.125**")
    (apart,) = (rows for header, rows in by_header.items() if "abnormal: pairs" in header)
    assert apart[2][:3] == ["bland", "20", "0.000 [0.000, 0.000]"] and apart[2][4] == "140"
    (named,) = (rows for header, rows in by_header.items() if "recall" in header)
    assert named[2][1:3] == ["0.000 (0 of 20)", "– (0 of 0)"] and named[2][3].endswith("nodule 20")
    assert named[3][1:] == ["1.000 (20 of 20)", "1.000 (20 of 20)", "–", "–"]
    (clinical,) = (rows for header, rows in by_header.items() if header[1] == "clinical, macro")
    assert clinical[2][1].startswith("0.875 [") and clinical[3][1:3] == [
        "1.000 [1.000, 1.000]",
        "1.000",
    ]
    assert " in macro clinical score" in " ".join(text.split())


def test_the_page_has_the_findings_of_each_region(comparison):
    of_regions = [rows for rows in tables(markdown(comparison, True)) if "region" in rows[0]]
    assert [row[:3] for row in of_regions[0] if row[:2] == ["bland", "lung"]] == [
        ["bland", "lung", "0.000 (0 of 20)"]
    ]


def test_the_figure_and_the_plotted_table_have_clinical(comparison):
    assert "clinical score on abnormal references" in overview.figure(comparison, "bland")
    rows = report.scores_rows(comparison["approaches"])
    assert list(rows[0])[:5] == ["approach", "score", "ci_low", "ci_high", "token_f1"]
    assert [(row["clinical"], row["clinical_on_abnormal"]) for row in rows] == [(0.875, 0), (1, 1)]


def test_the_metrics_have_three_numbers_on_disease_and_a_study_set_is_still_a_line(
    comparison, tmp_path
):
    shown = evaluate.metrics(comparison["approaches"]["bland"])
    write_metrics(tmp_path / "scores.json", evaluate.metrics(comparison["approaches"]["terse"]))
    assert len((tmp_path / "scores.json").read_text().splitlines()) == 6
    assert shown["test"]["macro"]["clinical"] == 0.875
    assert shown["test"]["abnormal"] == {"clinical": 0, "recall": 0, "precision": None}
    assert all(shown["test"][region].keys() == {"score"} for region in REGIONS.scored)


def test_of_a_judge_that_does_not_tell_there_is_no_column(silent):
    assert silent["pairs"]["test"]["bland vs terse"].keys() == {"score", "token_f1"}
    for complete in (False, True):
        text = markdown(silent, complete).lower()
        assert "clinical" not in text and "abnormal" not in text and "in macro token f1" in text
    assert "clinical" not in overview.figure(silent, "bland")
    assert "clinical" not in report.scores_rows(silent["approaches"])[0]
    shown = evaluate.metrics(silent["approaches"]["bland"])["test"]
    assert shown["macro"].keys() == {"score", "token_f1"} and "abnormal" not in shown


def test_a_name_that_a_judge_gives_cannot_break_the_table():
    named = Clinical(score=0.0, missed=("a | b\nc",))
    judged = [judgement(id, BONE, 0.1, named) for id in "stu"]
    found = abnormal.findings(judged, REGIONS.scored)
    assert abnormal_table._finding_cells(found)[2] == "a / b c 3"


def test_the_floor_is_the_best_text_by_the_chosen_measure():
    """Three in five have a pneumothorax: to say so of everyone repeats more words, but
    what is invented weighs more than what is found.
    """
    normal = "No pleural effusion. Clear bases. No nodule."
    sick = f"{normal} Large left pneumothorax."
    train = studies("train", [*[sick] * 13, *[normal] * 7, "Clear bases.", "No nodule."])
    chosen = {
        measure: fit(train, PROXY, REGIONS, measure)[LUNG] for measure in ("score", "clinical")
    }
    assert chosen["score"] == sick and "pneumothorax" not in chosen["clinical"]

    texts = [study.reference[LUNG] for study in train]

    def clinical(candidate: str) -> float:
        opinions = judges.opinions([(text, candidate) for text in texts], PROXY)
        return mean(opinion.clinical.score for opinion in opinions)

    best = max(map(clinical, {*texts, ""}))
    assert clinical(chosen["clinical"]) == best > clinical(chosen["score"])


def test_of_texts_that_are_clinically_equal_the_floor_is_the_one_with_the_best_score():
    train = studies("train", [NORMAL] * 3 + ["Clear."] * 4 + [f"{NORMAL} Stable."] * 3)
    assert fit(train, PROXY, REGIONS, "clinical")[LUNG] == fit(train, PROXY, REGIONS)[LUNG] != ""


def test_a_floor_by_what_the_judge_does_not_tell_is_refused():
    with pytest.raises(UserError, match="evaluate.measure: clinical: the judge mute does not tell"):
        fit(studies("train", [NORMAL, NODULE]), Mute(), REGIONS, "clinical")


@pytest.mark.parametrize(
    ("told", "refused"), [("pass", True), ("def clinical(self, pairs): ...", False)]
)
def test_a_measure_that_the_judge_does_not_tell_is_one_line_before_anything_runs(
    root, tmp_path, monkeypatch, told, refused
):
    name = "silent_judge" if refused else "telling_judge"
    (tmp_path / f"{name}.py").write_text(
        "from xraygen.judges import Judge\n\n\nclass Mine(Judge):\n"
        f"    def judge(self, pairs): ...\n\n    {told}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["evaluate"] |= {"judge": f"{name}:Mine", "measure": "clinical"}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    if not refused:
        assert params.load(path).evaluate.measure == "clinical"
        return
    said = f"{path}: evaluate.measure: clinical: the judge silent_judge:Mine does not tell"
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        params.load(path)
    assert "\n" not in str(caught.value)


def test_a_measure_of_another_name_is_refused(root, tmp_path):
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["evaluate"]["measure"] = "accuracy"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="evaluate.measure: .*'score', 'clinical' or 'token_f1'"):
        params.load(tmp_path / "params.yaml")


def test_a_changed_measure_reruns_the_release_and_no_annotation(root):
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert "evaluate.measure" in stages["release"]["params"]
    assert not any(name.startswith("evaluate") for name in stages["annotate"]["do"]["params"])


def test_the_release_goes_by_the_measure(comparison):
    router = RouterSettings(annotator="router", reads="models/router", wording="learned")
    approaches = {"bland": router, "terse": router}
    facts = {
        measure: release.choose(
            approaches, comparison["approaches"], comparison["pairs"]["dev"], measure
        )
        for measure in ("score", "clinical", "token_f1")
    }
    assert [facts[measure]["approach"] for measure in facts] == ["bland", "terse", "bland"]
    chosen = facts["clinical"]
    assert (chosen["clinical"], chosen["margin"], chosen["holds"]) == (1, 0.125, True)
    text = release.readme(chosen | {"studies": 2, "failed": 0})
    assert "best of 2 by macro clinical score on dev" in text
    assert "Macro clinical score on dev: 1.000 [1.000, 1.000]" in text and "GREEN" not in text
    kept = release.metrics(chosen)
    assert (kept["measure"], kept["clinical"]) == ("clinical", 1) and "score" not in kept
    assert facts["token_f1"]["ci_low"] < facts["token_f1"]["token_f1"]
    assert "by macro token F1 on dev" in release.readme(
        facts["token_f1"] | {"studies": 2, "failed": 0}
    )


def test_of_approaches_that_are_clinically_equal_the_best_score_is_released(comparison):
    router = RouterSettings(annotator="router", reads="models/router", wording="learned")
    scores = copy.deepcopy(comparison["approaches"])
    scores["bland"]["dev"]["macro"]["clinical"] = scores["terse"]["dev"]["macro"]["clinical"]
    scores["a"] = copy.deepcopy(scores["terse"])
    approaches = dict.fromkeys(scores, router)
    pairs = comparison["pairs"]["dev"] | {
        "a vs bland": comparison["pairs"]["dev"]["bland vs terse"]
    }
    chosen = release.choose(approaches, scores, pairs, "clinical")
    assert (chosen["approach"], chosen["runner_up"]) == ("bland", "a")


def test_a_release_by_what_no_judgement_has_is_refused(silent):
    router = RouterSettings(annotator="router", reads="models/router", wording="learned")
    with pytest.raises(UserError, match="has a macro clinical score on dev"):
        release.choose({"bland": router}, silent["approaches"], silent["pairs"]["dev"], "clinical")


def test_the_command_shows_what_is_missed_and_invented(tmp_path):
    rows = [
        (f"{NORMAL} {NODULE}", NORMAL),
        (NORMAL, f"{NORMAL} {NODULE} Large pneumothorax."),
        ("", ""),
    ]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("reference", "candidate"), *rows])
    command = [sys.executable, "-m", "xraygen", "judge", "pairs.csv", "--out", "out.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        missing, inventing, silent = csv.DictReader(file)
    assert float(missing["clinical"]) == 0 and missing["missed"].endswith("nodule")
    assert missing["invented"] == "" and float(inventing["clinical"]) < 0
    assert inventing["invented"].count("; ") == 1 and "pneumothorax" in inventing["invented"]
    assert (silent["clinical"], silent["missed"], silent["invented"]) == ("1.0", "", "")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "clinical: 0 answers for 1 pairs"),
        ([0.5], "clinical: returned float, not a Clinical or None"),
        ([Clinical(score=1.5)], "clinical: score 1.5 is not between -1 and 1"),
        ([Clinical(score=float("nan"))], "clinical: score nan is not"),
    ],
)
def test_a_judge_that_tells_nonsense_is_one_line(given, said):
    class Wrong(Judge):
        name = "wrong"

        def judge(self, pairs):
            return [Opinion(0.5) for _ in pairs]

        def clinical(self, pairs):
            return given

    with pytest.raises(UserError, match=f"judge wrong: {re.escape(said)}"):
        judges.opinions([("a", "b")], Wrong())
