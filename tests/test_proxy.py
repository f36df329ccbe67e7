"""The proxy judge: what it reads, what it counts, how its score moves, and how it agrees with
recorded answers of GREEN.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraygen.core.errors import UserError
from xraygen.judges.proxy.features import DIRECTIONS, FEATURES
from xraygen.judges.proxy.findings import read
from xraygen.judges.proxy.proxy import EXAMINED, WEIGHTS, Proxy, trees_from

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_recorded = pytest.mark.skipif(
    not (SHARED / "recorded").is_dir(), reason="no recorded GREEN answers at ../shared/recorded"
)

# Sentences that speak of different things, so that any of them may stand together; the second of
# each pair is false instead.
SENTENCES = {
    "Normal size of this heart.": "Markedly enlarged heart here.",
    "A small left pleural effusion is seen.": "A small right pleural effusion is seen.",
    "No pneumothorax.": "Moderate pneumothorax.",
    "Thoracic spine with mild degenerative change.": (
        "Thoracic spine with severe degenerative change."
    ),
    "Trachea drawn in the midline.": "Trachea drawn deviated.",
    "Consolidation in the right lower lobe.": "No consolidation in the right lower lobe.",
    "Healed fracture of the left clavicle.": "Healed fracture of the right clavicle.",
    "An aorta that is tortuous.": "An aorta that is normal.",
}
FALSE = [
    "Large hiatal hernia.",
    "There is a cavitary mass.",
    "Displaced rib fractures on the right.",
    "Pulmonary edema.",
]
reports = st.lists(
    st.sampled_from(sorted(SENTENCES)), min_size=1, max_size=len(SENTENCES), unique=True
)


def score(reference: str, candidate: str) -> float:
    return Proxy().judge([(reference, candidate)])[0].score


def said(text: str) -> list[str]:
    return [str(finding) for statement in read(text) for finding in statement.findings]


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        (
            "Small effusion on the left and right pneumothorax.",
            ["mild left effusion", "right pneumothorax"],
        ),
        (
            "Lungs clear of effusion or pneumothorax.",
            ["no effusion", "no pneumothorax", "lung normal"],
        ),
        (
            "No pneumothorax but there is a moderate right effusion.",
            ["no pneumothorax", "moderate right effusion"],
        ),
        ("Pneumothorax is not seen.", ["no pneumothorax"]),
        ("There is a nodule, not seen on prior films.", ["nodule"]),
        ("Atelectasis at the left base, no effusion.", ["left atelectasis", "no effusion"]),
        ("Opacities in the left apex and right base.", ["bilateral opacity"]),
        ("Nothing: no acute bony abnormality at all.", ["bone normal"]),
        ("A cardiac silhouette that is not enlarged.", ["heart normal"]),
        ("Severe cardiomegaly.", ["severe abnormal heart"]),
        ("This heart reaches the upper limits of normal.", ["mild abnormal heart"]),
        (
            "Heart size and pulmonary vascularity are unremarkable.",
            ["heart normal", "vasculature normal"],
        ),
        ("Mediastinum is unchanged.", ["mediastinum stable"]),
        ("Within normal limits.", ["whole normal"]),
        ("Low lung volumes.", ["low volume"]),
        ("Calcified granulomas in both lungs.", ["bilateral granuloma"]),
    ],
)
def test_findings_are_read_with_negation_side_and_severity(text, findings):
    assert sorted(said(text)) == sorted(findings)


@pytest.mark.parametrize(
    ("reference", "candidate", "matched", "errors"),
    [
        ("No pleural effusion.", "Small effusion on the left.", 0, {"a": 1}),
        ("Small effusion on the left.", "No pleural effusion.", 0, {"b": 1}),
        ("Small effusion on the left.", "Small effusion on the right.", 1, {"c": 1}),
        ("No left rib fracture.", "No right rib fracture.", 1, {"c": 1}),
        ("Mild cardiomegaly.", "The heart is severely enlarged.", 1, {"d": 1}),
        ("Rib fracture.", "Rib fracture, unlike the previous examination.", 1, {"e": 1}),
        ("Rib fracture, new since the previous examination.", "Rib fracture.", 1, {"f": 1}),
        ("Heart size normal. Trachea midline.", "Unremarkable cardiac silhouette.", 1, {"b": 1}),
        ("No fracture. Scoliosis.", "Scoliosis. No fracture.", 2, {}),
        ("Lungs are clear.", "No consolidation.", 1, {}),
        ("", "Cardiomegaly.", 0, {"a": 1}),
        ("Cardiomegaly.", "", 0, {"b": 1}),
        ("", "", 0, {}),
    ],
)
def test_errors_are_counted_in_their_categories(reference, candidate, matched, errors):
    opinion = Proxy().judge([(reference, candidate)])[0]
    assert opinion.matched_findings == matched
    assert {name: count for name, count in opinion.errors.model_dump().items() if count} == errors


def test_what_needs_no_judging_is_judged_sensibly_all_the_same():
    assert score("", "") == score(" ", "\n") == 1
    assert (
        score("Clear lungs.", "") == score("", "Clear lungs.") == score("Clear lungs.", " . ") == 0
    )
    assert score("Clear lungs.", "Clear lungs.") == score("Clear lungs.", "CLEAR LUNGS") == 1


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        ("The size of the heart is normal.", "A cardiac silhouette within normal limits."),
        ("Both lungs look clear.", "Lungs that are clear on both sides."),
        ("No acute abnormality of bony structures.", "The osseous structures are unremarkable."),
        ("Unremarkable contours of the mediastinum.", "Normal mediastinum."),
        ("Neither effusion nor pneumothorax.", "No evidence of pneumothorax or pleural effusion."),
    ],
)
def test_other_words_for_the_same_score_high(reference, candidate):
    assert score(reference, candidate) > 0.8


@pytest.mark.parametrize(
    "words", ["A violin plays.", "Heart.", "No", "5 mm", "normal", "\u200b x", "left " * 200]
)
def test_words_that_say_nothing_of_the_reference_score_low(words):
    assert score("Small effusion on the left. The aorta looks tortuous.", words) < 0.2


@given(reports, st.randoms(use_true_random=False))
def test_order_case_and_punctuation_do_not_count(sentences, random):
    shuffled = random.sample(sentences, len(sentences))
    assert score(" ".join(sentences), " ".join(shuffled).upper()) == 1
    assert score(" ".join(sentences), " ".join(sentences).replace(".", " .").rstrip(".")) == 1


@given(reports.filter(lambda sentences: len(sentences) > 1), st.data())
def test_leaving_out_a_sentence_lowers_the_score(sentences, data):
    left_out = data.draw(st.sampled_from(sentences))
    rest = " ".join(sentence for sentence in sentences if sentence != left_out)
    assert score(" ".join(sentences), rest) < 0.95


@given(reports, st.sampled_from(FALSE))
def test_a_false_finding_lowers_the_score(sentences, false):
    reference = " ".join(sentences)
    assert score(reference, f"{reference} {false}") < 0.95
    assert score(reference, f"{reference} {' '.join(FALSE)}") <= score(
        reference, f"{reference} {false}"
    )


@given(reports, st.data())
def test_a_wrong_side_severity_or_negation_lowers_the_score(sentences, data):
    changed = data.draw(st.sampled_from(sentences))
    reference = " ".join(sentences)
    assert score(reference, reference.replace(changed, SENTENCES[changed])) < 0.95


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_gets_a_score_in_range(reference, candidate):
    opinion = Proxy().judge([(reference, candidate)])[0]
    assert 0 <= opinion.score <= 1 and opinion.matched_findings >= 0
    assert score(reference, reference) == 1


@given(st.integers(0, 2**32 - 1), st.integers(0, len(FEATURES) - 1), st.floats(0, 5))
def test_the_trees_are_monotone_where_they_must_be(seed, column, more):
    rows = np.repeat(np.random.default_rng(seed).uniform(0, 5, (1, len(FEATURES))), 2, axis=0)
    rows[1, column] += more
    low, high = trees_from(json.loads(WEIGHTS.read_text())).predict(rows)
    assert (high - low) * DIRECTIONS[column] >= -1e-9 * abs(DIRECTIONS[column])


def test_a_batch_is_judged_as_each_pair_alone():
    pairs = [(a, b) for a in SENTENCES for b in SENTENCES.values()] + [
        ("", "x"),
        ("x", "x"),
        ("", ""),
    ]
    assert Proxy().judge(pairs) == [Proxy().judge([pair])[0] for pair in pairs]
    assert Proxy().judge([]) == []


def test_opinions_do_not_depend_on_the_hash_seed():
    code = (
        "from xraygen.judges.proxy.proxy import Proxy;"
        f" print(Proxy().judge([(a, b) for a in {list(SENTENCES)} for b in {FALSE}]))"
    )
    printed = set()
    for seed in "123":
        environment = os.environ | {"PYTHONHASHSEED": seed}
        printed.add(
            subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, check=True
            ).stdout
        )
    assert len(printed) == 1


def test_the_agreement_line_is_read_from_what_the_recipe_wrote():
    measured = json.loads(WEIGHTS.read_text())["agreement"]
    told = re.findall(r"\d\.\d\d", Proxy.about())
    unseen = sorted(source["pearson"] for source in measured["across_sources"].values())
    # What is hardest first: pairs that differ, then approaches of another kind, and last all pairs,
    # most of which need no judge.
    shown = [
        measured["pearson_differ"],
        measured["mae_differ"],
        unseen[0],
        unseen[-1],
        measured["pearson"],
    ]
    # Then what the examination found: tests/test_examine.py.
    examined = json.loads(EXAMINED.read_text())
    shown += [examined[name]["tau"] for name in ("score", "clinical", "radiologists")]
    assert told == [f"{number:.2f}" for number in shown] and "docs/proxy.md" in Proxy.about()
    assert "on the half it was developed with" in Proxy.about()
    assert Proxy.name == "proxy" and not Proxy.about().lower().startswith("green")


def test_the_weights_hold_numbers_and_feature_names_only():
    def strings(node):
        if isinstance(node, str):
            yield node
        for child in (
            node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        ):
            yield from strings(child)

    assert set(strings(json.loads(WEIGHTS.read_text()))) == set(FEATURES)


def test_a_folder_without_recorded_answers_is_the_users_error(tmp_path):
    from recipes.fit_proxy import recorded

    with pytest.raises(UserError, match=r"no green_\*\.csv"):
        recorded(tmp_path)
    (tmp_path / "green_x.csv").write_text("reference,candidate\na,b\n")
    with pytest.raises(UserError, match="no column approach"):
        recorded(tmp_path)


@needs_recorded
@pytest.mark.parametrize("by", ["study", "pair", "reference"])
def test_the_proxy_agrees_with_green_on_studies_it_was_not_fitted_to(by):
    from recipes.fit_proxy import cross_validate, recorded

    agreement, _ = cross_validate(recorded(SHARED / "recorded"), by, repeats=1)
    assert (
        agreement["pearson"] >= 0.93
        and agreement["pearson_honest"] >= 0.93
        and agreement["pearson_differ"] >= 0.845
    )
    assert max(map(abs, agreement["region_gap"].values())) <= 0.02
    for means in (agreement["approach_means"], agreement["approach_means_honest"]):
        assert sorted(means, key=lambda name: means[name]["proxy"]) == sorted(
            means, key=lambda name: means[name]["green"]
        )
    if by == "pair":
        written = json.loads(WEIGHTS.read_text())["agreement"]
        assert agreement["pearson_differ"] == pytest.approx(written["pearson_differ"], abs=0.02)


@needs_recorded
def test_no_row_of_a_study_is_on_both_sides_of_a_fold():
    from recipes.fit_proxy import folds, recorded

    frame = recorded(SHARED / "recorded")
    frame["fold"] = folds(frame, "pair", 0)
    assert (frame.groupby("id").fold.nunique() == 1).all()
    assert (frame.groupby(["reference", "candidate"]).fold.nunique() == 1).all()
    assert frame.fold.nunique() == 5


@needs_recorded
def test_the_recipe_gives_the_weights_that_are_shipped():
    from recipes.fit_proxy import recorded, weights

    shipped = json.loads(WEIGHTS.read_text())
    again = weights(recorded(SHARED / "recorded"), shipped["agreement"])
    rows = np.random.default_rng(0).integers(0, 4, (200, len(FEATURES))).astype(float)
    # Another CPU may sum in another order and break a tie of two splits the other way.
    assert np.abs(trees_from(again).predict(rows) - trees_from(shipped).predict(rows)).mean() < 0.02


def test_a_side_in_brackets_is_no_list_marker():
    (opposite,) = Proxy().judge([("(R) pleural effusion.", "(L) pleural effusion.")])
    (spelled,) = Proxy().judge([("Right pleural effusion.", "Left pleural effusion.")])
    assert opposite.score < 1 and spelled.score < 1
