"""`xraygen examine`: what a judge is examined with, and what the figures are."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from random import Random

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import ROOT
from scipy.stats import kendalltau

from xraygen.cli import main
from xraygen.core.errors import UserError
from xraygen.core.study import Clinical
from xraygen.evaluation.examination import examine, radpref
from xraygen.evaluation.examination.orders import OrderCase, own_cases, read_radjudge
from xraygen.evaluation.examination.perturbations import (
    damaged,
    read_references,
    reworded,
)
from xraygen.evaluation.examination.report import content, notes, table
from xraygen.judges import Judge, Opinion
from xraygen.judges.proxy.proxy import EXAMINED, Proxy
from xraygen.language.text import token_f1, tokens

CASES = own_cases()
TEXTS = (
    "Moderate left pleural effusion. No pneumothorax.",
    "Small right nodule. The heart size is normal. There is no evidence of consolidation.",
    "Mild pulmonary edema. Large left effusion. Cardiac silhouette within normal limits.",
)


class Oracle(Judge):
    """Knows the project's cases: gives what their orders want."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.known = {}
        for case in CASES:
            equal = any(order.sign == "=" for order in case.expected)
            for rank, name in enumerate(sorted(case.pairs)):
                score = 0.9 if equal else (0.9, 0.2, 0.1)[rank]
                self.known[case.pairs[name]] = score

    def judge(self, pairs):
        self.asked.append(list(pairs))
        return [Opinion(self.known.get(pair, 0.5)) for pair in pairs]


class Constant(Judge):
    """Always says the same."""

    def judge(self, pairs):
        return [Opinion(0.5) for _ in pairs]


class Overlap(Judge):
    """Token F1, as a judge."""

    def judge(self, pairs):
        return [Opinion(token_f1(*pair) or 0.0) for pair in pairs]

    def clinical(self, pairs):
        return [Clinical(score=0.0) for _ in pairs]


class Speechless(Judge):
    """Scores nothing."""

    def judge(self, pairs):
        return [Opinion(None) for _ in pairs]


def rows(judge, material=None):
    material = material or examine.Material(CASES)
    measures = examine.examine(judge, material)
    return {(row.part, row.check): row for row in examine.rows_of(material, measures)}


def all_orders(judge, measure="score"):
    return rows(judge)["own cases", "all orders"].figures[measure]


def test_the_cases_are_well_formed():
    categories = Counter(case.category for case in CASES)
    assert len(CASES) >= 60 and len(categories) == 10 and min(categories.values()) >= 5
    assert list(categories) == [
        "false finding",
        "missed finding",
        "normal phrasing",
        "paraphrase",
        "negation",
        "side",
        "severity",
        "location",
        "partial credit",
        "unreadable",
    ]
    for case in CASES:
        assert case.reference.strip() and case.because.endswith("."), case
        assert len(set(case.candidates.values())) == len(case.candidates) >= 2, case
        named = {name for order in case.expected for name in order if name in case.candidates}
        assert named == set(case.candidates), case
        assert case.reference not in case.candidates.values(), case
    assert len({case.reference for case in CASES}) > 60
    assert len({tuple(case.pairs.values()) for case in CASES}) == len(CASES)


# Cases that hold for any judge that scores everything alike, and those that a rule decides.
EQUAL = sum(all(order.sign == "=" for order in case.expected) for case in CASES)
EMPTY = sum("" in case.candidates.values() for case in CASES)


def test_who_knows_the_cases_passes_all_and_a_constant_none_that_orders():
    assert all_orders(Oracle()).value == 1
    assert all_orders(Constant()).right == EQUAL + EMPTY


def test_token_f1_fails_most_cases_as_a_judge_and_as_the_yardstick():
    found = rows(Overlap())["own cases", "all orders"].figures
    assert found["score"].right == found[examine.TOKEN_F1].right < len(CASES) / 5


def test_the_reverse_of_every_order_fails():
    oracle = Oracle()
    oracle.known = {pair: 1 - score for pair, score in oracle.known.items()}
    assert all_orders(oracle).right == EQUAL + EMPTY


@pytest.mark.parametrize(
    "expected, values, holds",
    [
        ("A > B", (0.51, 0.5), True),
        ("A > B", (0.5, 0.5), False),
        ("A = B", (0.52, 0.5), True),
        ("A = B", (0.5, 0.53), False),
        ("B < 0.25", (0.0, 0.24), True),
        ("B < 0.25", (0.0, 0.25), False),
        (["A > B", "B < 0.25"], (0.6, 0.5), False),
        ("A > B", (0.5, math.nan), False),
        ("A = B", (math.nan, math.nan), False),
        ("B < 0.25", (0.5, math.nan), True),
    ],
)
def test_orders(expected, values, holds):
    case = OrderCase(
        category="c", reference="r", candidates={"A": "a", "B": "b"}, expected=expected
    )
    assert case.holds(dict(zip(case.pairs.values(), values, strict=True))) is holds


def test_the_judge_is_asked_once_about_each_pair_that_no_rule_decides():
    oracle = Oracle()
    material = examine.Material(CASES, versions=examine.versions_of([*TEXTS, "Clear."]))
    examine.examine(oracle, material)
    (asked,) = oracle.asked
    assert len(asked) == len(set(asked))
    assert set(asked) == {pair for pair in material.pairs() if pair[0] != pair[1] and pair[1]}


def test_a_pair_without_a_score_is_not_in_order_and_is_told():
    material = examine.Material(CASES, versions=examine.versions_of(TEXTS))
    measures = examine.examine(Speechless(), material)
    found = {(row.part, row.check): row for row in examine.rows_of(material, measures)}
    assert found["own cases", "all orders"].figures["score"].right == 0
    assert found["damage", "a finding invented: falls"].figures["score"].right == 0
    told = " ".join(notes(material, measures))
    assert "have no score" in told and "no clinical score" in told and "RadPref" in told


# Agreement with radiologists


def rated(ratings, errors=None) -> list[radpref.Rated]:
    """Rows of two candidates a case. `ratings`, `errors`: (rows, raters)."""
    errors = errors or [[0] * len(row) for row in ratings]
    return [
        radpref.Rated.model_validate(
            {
                "case": f"case {at // 2}",
                "reference": "Cardiomegaly.",
                "candidate": f"Candidate {at}.",
                "reference_findings": ["cardiomegaly", "edema"],
                "candidate_findings": [],
                "raters": [
                    {
                        "rating": rating,
                        "errors": {
                            "false": {"urgent": count},
                            "missing": {"benign_expected": 3},
                            "attribute": {},
                        },
                    }
                    for rating, count in zip(row, counts, strict=True)
                ],
            }
        )
        for at, (row, counts) in enumerate(zip(ratings, errors, strict=True))
    ]


def drawn_rows(seed: int, cases: int = 30):
    draw = Random(seed)
    ratings = [[draw.randint(1, 5) for _ in range(3)] for _ in range(2 * cases)]
    errors = [[draw.randint(0, 3) for _ in range(3)] for _ in range(2 * cases)]
    scores = [round(draw.random(), 1) for _ in range(2 * cases)]  # with ties
    return ratings, errors, scores


@pytest.mark.parametrize("seed", range(4))
def test_tau_is_that_of_scipy(seed):
    ratings, errors, scores = drawn_rows(seed)
    scores[3] = math.nan
    found = radpref.agreement(rated(ratings, errors), scores, resamples=10)
    known = [at for at in range(len(scores)) if at != 3]

    def tau(target):
        chosen = [(scores[at], np.mean(target[at])) for at in known]
        return kendalltau(*zip(*chosen, strict=True)).statistic

    assert found["rating"].value == pytest.approx(tau(ratings), abs=1e-12)
    assert found["errors"].value == pytest.approx(-tau(errors), abs=1e-12)
    assert found["rating"].n == len(known)


def test_a_resample_is_the_same_as_rows_that_occur_several_times():
    """Whole cases are drawn; a case that is drawn twice counts twice."""
    ratings, _, scores = drawn_rows(7, cases=6)
    times = np.array([[2, 2, 0, 0, 1, 1, 3, 3, 0, 0, 1, 1]])
    mean = np.mean(ratings, axis=1)
    repeated = np.repeat(np.arange(12), times[0])
    expected = kendalltau(np.array(scores)[repeated], mean[repeated]).statistic
    assert radpref.tau_b(np.array(scores), mean, times)[0] == pytest.approx(expected)


def test_intervals_are_seeded_and_cover_the_value():
    ratings, errors, scores = drawn_rows(1)
    material = rated(ratings, errors)
    first = radpref.agreement(material, scores, 500, seed=3)
    assert first == radpref.agreement(material, scores, 500, seed=3)
    assert first != radpref.agreement(material, scores, 500, seed=4)
    for figure in first.values():
        assert figure.low < figure.value < figure.high
    few = radpref.agreement(rated(ratings[:20], errors[:20]), scores[:20], 500)
    assert few["rating"].high - few["rating"].low > first["rating"].high - first["rating"].low


def test_whole_cases_are_drawn():
    """Of two cases there are three samples, and the interval has the extremes of their figures."""
    ratings = [[5, 5], [4, 4], [2, 2], [1, 1]]
    scores = [0.5, 0.4, 0.9, 0.8]  # right within each case, wrong between the two
    mean = np.mean(ratings, axis=1)
    samples = np.array([[2, 2, 0, 0], [1, 1, 1, 1], [0, 0, 2, 2]])
    possible = radpref.tau_b(np.array(scores), mean, samples)
    found = radpref.agreement(rated(ratings), scores, 400)["rating"]
    assert (found.low, found.high) == pytest.approx((possible.min(), possible.max()))
    assert (possible.min(), possible.max()) == pytest.approx((-1 / 3, 1))


def test_preferences_count_half_where_scores_are_equal_and_not_where_ratings_are():
    ratings = [[5, 5], [1, 1], [2, 2], [4, 4], [3, 3], [3, 3], [1, 2], [2, 2], [5, 4], [4, 4]]
    scores = [0.9, 0.1, 0.8, 0.3, 0.2, 0.7, 0.5, 0.5, math.nan, 0.4]
    pairs = radpref.agreement(rated(ratings), scores, 10)["pairs"]
    assert (pairs.n, pairs.right, pairs.value) == (4, 2, 0.5)  # right, wrong, equal, unscored


def test_a_radiologist_is_compared_with_the_mean_of_the_others():
    ratings, errors, _ = drawn_rows(5)
    found = radpref.radiologists(rated(ratings, errors), 10)
    table = np.array(ratings)
    expected = [
        kendalltau(table[:, one], np.delete(table, one, axis=1).mean(axis=1)).statistic
        for one in range(3)
    ]
    assert found["rating"].value == pytest.approx(np.mean(expected))
    agreeing = radpref.radiologists(rated([[row[0]] * 3 for row in ratings]), 10)
    assert agreeing["rating"].value == pytest.approx(1) and agreeing["pairs"].value == 1
    assert math.isnan(agreeing["errors"].value)  # nobody counted an error that matters


def test_findings_are_joined_to_one_text_and_benign_errors_do_not_matter():
    row = rated([[1, 2], [3, 4]], [[2, 0], [0, 0]])[0]
    assert row.pair("findings") == ("cardiomegaly. edema", "")
    assert row.pair("reports") == ("Cardiomegaly.", "Candidate 0.")
    assert [rater.errors.that_matter for rater in row.raters] == [2, 0]


def test_the_radiologists_of_the_half_at_hand():
    path = ROOT.parent / "shared" / "judges" / "radpref.jsonl"
    if not path.exists():
        pytest.skip("no ../shared/judges")
    found = radpref.radiologists(radpref.read_radpref(path), 10)
    shown = [round(found[name].value, 3) for name in radpref.FIGURES]
    assert shown == [0.75, 0.88, 0.904]


# Damage and rewordings


def test_damage_is_what_it_is_called():
    found = damaged("Moderate left pleural effusion. The heart size is normal.", 0)
    assert found["a finding dropped"] == "The heart size is normal."
    assert found["a finding negated"] == "No left pleural effusion. The heart size is normal."
    assert found["the side swapped"].startswith("Moderate right pleural effusion.")
    assert found["the severity changed"].startswith("Minimal left pleural effusion.")
    invented = found["a finding invented"]
    assert invented.startswith("Moderate left pleural effusion. The heart size is normal. ")
    assert "a finding dropped" not in damaged("Moderate left pleural effusion.", 0)  # silence
    for seed in range(20):
        invented = damaged("No effusion or mass. Old fracture.", seed)["a finding invented"]
        assert not re.search("effusion|mass|fracture", invented.rpartition("fracture.")[2])


@pytest.mark.parametrize(
    "sentence, opposite",
    [
        ("There is a small right pneumothorax.", "There is no right pneumothorax."),
        ("A 2 cm nodule in the left lung.", "No nodule in the left lung."),
        ("Nodule measuring about 1.5 cm.", "No nodule."),
        ("No evidence of pneumothorax.", "Pneumothorax."),
        ("There is no pleural effusion.", "There is pleural effusion."),
    ],
)
def test_negation(sentence, opposite):
    assert damaged(sentence, 0)["a finding negated"] == opposite


@pytest.mark.parametrize(
    "text",
    [
        "The heart size is normal. The lungs are clear.",
        "No pneumothorax, effusion or consolidation.",
        "Old healed fracture of the right sixth rib.",
        "Calcified nodule in the left upper lobe, unchanged.",
        "Possible small right pneumothorax.",
        "The effusion has resolved.",
    ],
)
def test_what_is_normal_doubtful_or_old_is_only_added_to(text):
    assert list(damaged(text, 0)) == ["a finding invented"]


def test_the_middle_lobe_has_no_left():
    assert "the side swapped" not in damaged("Right middle lobe opacity.", 0)


def test_rewordings_say_the_same_in_other_words():
    assert reworded("No pleural effusion.", 0) == (
        "There is no evidence of effusion in the pleural space."
    )
    assert reworded("There is no pneumothorax.", 0) == "No pneumothorax can be seen."
    assert reworded("Mild cardiomegaly.", 0) == "Slight enlargement of the heart."
    assert reworded("Cardiac silhouette within normal limits.", 0) == "Heart shadow unremarkable."
    assert reworded("Nodule in the right lower lobe.", 0) == (
        "Nodule in the lower lobe of the right lung."
    )
    assert reworded("Scoliosis. Hernia.", 0) is None
    for seed in range(9):
        kept = reworded("Small effusion with mild edema. The lungs are otherwise clear.", seed)
        assert kept.endswith("The lungs are otherwise clear.")


def test_damage_depends_on_text_and_seed_alone():
    text = " ".join(TEXTS)
    assert damaged(text, 1) == damaged(text, 1)
    assert any(damaged(text, seed) != damaged(text, 1) for seed in range(2, 9))
    assert len({reworded(text, seed) for seed in range(9)}) > 1


def test_the_number_of_texts_of_each_kind_is_bounded_and_their_order_does_not_matter():
    texts = [f"Moderate left effusion of {number} cm. Mild edema." for number in range(40)]
    texts += [f"Scoliosis of {number} degrees." for number in range(40)]
    found = examine.versions_of(texts, of_each_kind=7)
    kinds = Counter(kind for versions in found.values() for kind in versions)
    assert set(kinds.values()) == {7}
    assert found == examine.versions_of(texts[::-1], of_each_kind=7)


def test_what_a_judge_of_damage_gets():
    """Token F1 falls for damage, but is lost on rewordings; a judge that knows them is not."""
    versions = examine.versions_of(TEXTS)
    good = {(text, text): 1.0 for text in versions}
    for text, of in versions.items():
        for kind, other in of.items():
            good[text, other] = 0.95 if kind == examine.REWORDED else 0.5
    bad = {pair: 1.0 for pair in good}
    found = {
        (row.part, row.check): row.figures
        for row in examine.rows_of(
            examine.Material(CASES[:1], versions=versions),
            {"good": good | _own(1.0), "bad": bad | _own(1.0)},
        )
    }
    damage = [figures for (part, _), figures in found.items() if part == "damage"]
    assert len(damage) == 5
    for figures in damage:
        assert (figures["good"].value, figures["bad"].value) == (1, 0)
    above = found["reworded", "above every damaged version"]
    assert (above["good"].value, above["bad"].value) == (1, 0)
    near = found["reworded", "within 0.1 of a copy"]
    assert (near["good"].value, near["bad"].value) == (1, 1)


def _own(score: float) -> dict:
    return dict.fromkeys(CASES[0].pairs.values(), score)


# The command


def examined(*arguments: str, cwd) -> Result:
    """In this process. The tests with a class of the user's, which is imported, start their own."""
    with contextlib.chdir(cwd):
        return CliRunner().invoke(main, ["examine", *arguments])


RADPREF_LINES = [row.model_dump_json() for row in rated([[5, 4], [1, 2], [2, 2], [4, 3]])]
RADJUDGE_LINE = json.dumps(
    {
        "category": "Side",
        "reference": "Left effusion.",
        "candidates": {"C1": "Effusion on the left.", "C2": "Right effusion."},
        "expected": "C1 > C2",
    }
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "radpref.jsonl").write_text("\n".join(RADPREF_LINES) + "\n")
    (tmp_path / "radjudge.jsonl").write_text(RADJUDGE_LINE + "\n")
    return tmp_path


PLUGIN = """
from xraygen.core.study import Clinical, Record
from xraygen.judges import Judge, Opinion


class Settings(Record):
    floor: float = 0.0


class Mine(Judge):
    Settings = Settings

    def judge(self, pairs):
        return [Opinion(max(self.settings.floor, len(set(a) & set(b)) / 60)) for a, b in pairs]

    def clinical(self, pairs):
        return [Clinical(score=-0.5) for _ in pairs]
"""


def test_a_class_of_the_users_is_examined_with_its_settings(folder):
    (folder / "mine.py").write_text(PLUGIN)
    (folder / "texts.csv").write_text("reference\n" + "\n".join(TEXTS) + "\n")
    settings = (ROOT / "params.yaml").read_text(encoding="utf-8")
    settings = settings.replace(
        "  settings:              # of each judge that has any\n",
        "  settings:\n    mine:Mine: {floor: 0.9}\n",
    )
    (folder / "params.yaml").write_text(settings, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "xraygen", "examine", "mine:Mine", "--cases", "."]
        + ["--references", "texts.csv", "--out", "out.json"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    header = done.stdout.splitlines()[0]
    assert [cell.strip() for cell in header.split("|")[2:-1]] == [
        "check",
        "n",
        "score",
        "clinical",
        "token F1",
        "radiologists",
    ]
    written = json.loads((folder / "out.json").read_text())
    values = written["cases"]["own cases: side 1"]["values"]
    assert values["score"] == {"A": 0.9, "B": 0.9} and values["clinical"] == {"A": -0.5, "B": -0.5}
    assert "radiologists" in written["rows"]["RadPref, reports: tau with the mean rating"]
    assert written["rows"]["RadJudge: all orders"]["token F1"]["n"] == 1
    for text in (*TEXTS, "Candidate 0", "Effusion on the left"):
        assert text not in json.dumps(written) + done.stdout + done.stderr


def test_twice_the_same_bytes(folder):
    (folder / "texts.csv").write_text("reference\n" + "\n".join(TEXTS) + "\n")
    printed = set()
    for seed in "12":
        done = subprocess.run(
            [sys.executable, "-m", "xraygen", "examine", "proxy", "--cases", "."]
            + ["--references", "texts.csv"],
            cwd=folder,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        printed.add(done.stdout)
    assert len(printed) == 1


def test_without_a_folder_and_references_the_own_cases_remain(tmp_path):
    done = examined("proxy", cwd=tmp_path)
    assert done.exit_code == 0 and "RadPref and RadJudge; --cases" in done.stdout
    assert "--references" in done.stdout and "| damage" not in done.stdout


def test_prepared_studies_are_the_default(tmp_path):
    prepared = tmp_path / "data" / "prepared" / "test.jsonl"
    prepared.parent.mkdir(parents=True)
    prepared.write_text(json.dumps({"reference": {"lung": TEXTS[0], "heart": ""}}) + "\n{}\n")
    done = examined("proxy", cwd=tmp_path)
    assert done.exit_code == 2 and "test.jsonl:2" in done.stderr
    prepared.write_text(json.dumps({"reference": {"lung": TEXTS[0], "heart": ""}}) + "\n")
    done = examined("proxy", cwd=tmp_path)
    assert done.exit_code == 0 and "| damage" in done.stdout


def changed(line: str, **fields) -> str:
    return json.dumps(json.loads(line) | fields)


@pytest.mark.parametrize(
    "name, lines, said",
    [
        ("radpref.jsonl", [*RADPREF_LINES[:3], '{"case": "Secret patient"'], ":4: damaged JSON"),
        ("radpref.jsonl", [RADPREF_LINES[0], '{"case": 3}'], ":2: no 'reference'"),
        ("radpref.jsonl", [changed(RADPREF_LINES[0], raters=[])], ":1: not a row of RadPref"),
        ("radpref.jsonl", [changed(RADPREF_LINES[0], raters="x")], ":1: not a row of RadPref"),
        ("radpref.jsonl", RADPREF_LINES[1:4], ":2: a case has two candidates"),
        ("radpref.jsonl", RADPREF_LINES[:3], "two candidates"),
        ("radpref.jsonl", [], "at least two cases"),
        ("radjudge.jsonl", [changed(RADJUDGE_LINE, expected="C1 >> C2")], ":1: not a case"),
        ("radjudge.jsonl", [changed(RADJUDGE_LINE, expected=[])], ":1: not a case"),
        ("radjudge.jsonl", [changed(RADJUDGE_LINE, expected="C1 > C3")], "no candidate C3"),
        ("radjudge.jsonl", [changed(RADJUDGE_LINE, candidates=["a"])], ":1: not a case"),
        ("radjudge.jsonl", [], "has no case"),
    ],
)
def test_a_damaged_folder_is_one_line(folder, name, lines, said):
    (folder / name).write_text("\n".join(lines) + "\n")
    read = radpref.read_radpref if name == "radpref.jsonl" else read_radjudge
    with pytest.raises(UserError) as error:
        read(folder / name)
    message = str(error.value)
    assert said in message and name in message
    assert "Secret" not in message and "effusion" not in message.lower()


def test_mistakes_are_one_line_and_leave_nothing(tmp_path):
    (tmp_path / "numbers.csv").write_text("text\n1\n")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "radjudge.jsonl").write_text("{}\n")
    for arguments, said in (
        (("proxy", "--cases", "nowhere"), "neither radjudge.jsonl nor radpref.jsonl"),
        (("proxy", "--cases", "bad"), "radjudge.jsonl:1"),
        (("proxy", "--references", "numbers.csv"), "no 'reference'"),
        (("proxy", "--references", "gone.csv"), "gone.csv"),
        (("nobody",), "no 'nobody'"),
        (("proxy", "--out", "bad"), "bad"),
    ):
        done = (
            examined(*arguments, "--out", "o.json", cwd=tmp_path)
            if ("--out" not in arguments)
            else examined(*arguments, cwd=tmp_path)
        )
        assert done.exit_code == 2 and done.stderr.splitlines()[-1].startswith("error: ")
        assert said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "numbers.csv"]


def test_references_are_texts_or_texts_by_region(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"reference": {"lung": "Clear.", "heart": ""}}\n{"reference": "Clear."}\n')
    assert read_references(path) == ["Clear."]
    path.write_text('{"reference": 3}\n')
    with pytest.raises(UserError, match="texts.jsonl:1: reference has to be text"):
        read_references(path)
    path.write_text('{"reference": null}\n')
    with pytest.raises(UserError, match="no row has a reference"):
        read_references(path)


SLOW = """
import time

from xraygen.judges import Judge


class Slow(Judge):
    def judge(self, pairs):
        print("asked", flush=True)
        time.sleep(60)
"""


def test_ctrl_c_ends_it_in_one_line_and_leaves_no_file(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-m", "xraygen", "examine", "slow:Slow", "--out", "out.json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert {path.name for path in tmp_path.iterdir()} <= {"slow.py", "__pycache__"}


# What is shown


def test_the_json_and_the_table_have_the_same_figures():
    material = examine.Material(CASES, versions=examine.versions_of(TEXTS))
    measures = examine.examine(Proxy(), material)
    described = content("proxy", material, measures)
    found = examine.rows_of(material, measures)
    shown = table(found).splitlines()[2:]
    assert len(shown) == len(described["rows"]) == len(found)
    figures = described["rows"]["own cases: all orders"]["score"]
    line = next(line for line in shown if "all orders" in line)
    assert f"{figures['value']:.2f} [{figures['low']:.2f}, {figures['high']:.2f}]" in line
    held = sum(case["holds"]["score"] for case in described["cases"].values())
    assert held == figures["right"] and figures["n"] == len(CASES) == len(described["cases"])


def test_captions_and_the_page_cite_the_same_examination():
    """The recipe writes both; a page or a file of another run would differ."""
    found = json.loads(EXAMINED.read_text(encoding="utf-8"))
    caption = Proxy.about()
    score, clinical = found["score"], found["clinical"]
    for text in (
        "on the half it was developed with",
        f"{score['pairs_in_order']:g} of {score['pairs']} pairs by score, "
        f"{clinical['pairs_in_order']:g} by clinical score",
        f"{score['tau']:.2f} and {clinical['tau']:.2f} (one radiologist with the others: "
        f"{found['radiologists']['tau']:.2f})",
        f"{score['cases_in_order']} and {clinical['cases_in_order']} of {len(CASES)}",
        "docs/judges.md",
    ):
        assert text in caption
    page = (ROOT / "docs" / "judges.md").read_text(encoding="utf-8")
    block = page.partition("<!-- examined -->")[2].partition("<!-- /examined -->")[0]
    rows = [line for line in block.splitlines() if re.search("tau with the mean rating", line)]
    assert f"| {score['tau']:.2f} [" in rows[0] and f"| {clinical['tau']:.2f} [" in rows[0]
    assert f"| {found['radiologists']['tau']:.2f} [" in rows[0]
    assert f"{len(CASES)} in ten categories" in page


def test_another_judge_says_that_it_was_not_examined():
    judge = Constant()
    judge.name = "mine:Constant"
    assert "not examined" in judge.about() and "xraygen examine mine:Constant" in judge.about()


def test_no_text_of_the_radiologists_cases_is_in_the_projects_own():
    """Whole sentences of five words and more."""
    path = ROOT.parent / "shared" / "judges" / "radjudge.jsonl"
    if not path.exists():
        pytest.skip("no ../shared/judges")
    theirs = {
        tuple(tokens(text))
        for case in read_radjudge(path)
        for pair in case.pairs.values()
        for text in pair
    }
    own = {tuple(tokens(text)) for case in CASES for pair in case.pairs.values() for text in pair}
    assert not {words for words in own & theirs if len(words) > 4}
