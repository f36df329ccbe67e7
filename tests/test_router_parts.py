"""The parts of the router, each by itself: chunks, sums of features, hashes, edits, choice."""

import itertools
from collections import Counter

import numpy as np
import pytest
from conftest import REGIONS, annotation
from hypothesis import given
from hypothesis import strategies as st
from test_router import practice

from xraygen.annotators.router import router as module
from xraygen.annotators.router.choice import best_text, tokens_of
from xraygen.annotators.router.edits import DROP, KEEP, edited, edits
from xraygen.annotators.router.linear import SCALE, Linear, fit_linear
from xraygen.annotators.router.router import Router, RouterParams, fit
from xraygen.annotators.router.routing import LEVELS, feature_names
from xraygen.annotators.router.windows import window_features
from xraygen.core.study import Study
from xraygen.language.alignment import words
from xraygen.language.text import sentences, tokens

REPORTS = [study.report for study in practice()[:30]]
REPORTS[7:7] = ["", "  ", "The upper ribs are sore. There is no fibrous scar."]


@pytest.fixture(scope="module")
def router() -> Router:
    return fit(practice(), RouterParams(), REGIONS)


@pytest.mark.parametrize("wording", ["learned", "verbatim"])
@pytest.mark.parametrize(("chunk", "kept"), [(1, 2**14), (7, 2**14), (7, 3), (2**10, 0)])
def test_chunks_and_what_is_kept_in_memory_change_no_answer(
    router, tmp_path, monkeypatch, wording, chunk, kept
):
    router.save(tmp_path)
    expected = [Router.load(tmp_path).annotate(report, wording) for report in REPORTS]
    monkeypatch.setattr(module, "_CHUNK", chunk)
    monkeypatch.setattr(module, "_KEPT", kept)
    fresh = Router.load(tmp_path)
    assert list(fresh.annotate_all(REPORTS, wording)) == expected
    assert list(fresh.annotate_all(reversed(REPORTS), wording)) == expected[::-1]


def test_reports_are_taken_from_the_stream_as_they_are_needed(router):
    taken = 0

    def stream():
        nonlocal taken
        for report in itertools.cycle(REPORTS):
            assert taken < 4 * module._CHUNK
            taken += 1
            yield report

    first = list(itertools.islice(router.annotate_all(stream()), 40))
    assert first == [router.annotate(REPORTS[k % len(REPORTS)]) for k in range(40)]


def test_a_known_sentence_is_judged_by_what_follows_it_in_each_report():
    of_bone, of_nothing = [], []
    for how in "steady firm calm plain even level quiet sound".split():
        report = f"It is {how}. The ribs are whole."
        of_bone.append(example(report, annotation(bone=report)))
        of_nothing.append(example(f"It is {how}. Two views were taken.", annotation()))
    router = fit([*practice(), *of_bone, *of_nothing], RouterParams(), REGIONS)
    spoken, silent = of_bone[0].report, of_nothing[0].report
    said, unsaid = router.annotate_all([spoken, silent])
    assert (said["bone"], unsaid["bone"]) == (spoken, "")
    assert list(router.annotate_all([silent, spoken])) == [unsaid, said]


def example(report: str, reference: dict[str, str]) -> Study:
    return Study(id=report, uid="1", split="train", report=report, reference=reference)


def test_the_shares_of_neighbours_add_up_to_the_score_of_all_features(router):
    routing = router._routing
    index = {name: i for i, name in enumerate(routing.names)}
    for report in [*REPORTS, "There is no collapse."]:
        parts = [words(sentence) for sentence in sentences(report)]
        levels = routing.levels([routing.shares(parts)])
        assert levels.shape == (len(parts), len(REGIONS))
        for row, names in zip(levels, feature_names([part.lower for part in parts]), strict=True):
            known = [index[name] for name in names if name in index]
            total = routing.linear.weights[known].astype(int).sum(axis=0)
            score = (total / len(known) ** 0.5 + routing.linear.bias) / SCALE
            assert row.tolist() == np.rint(LEVELS / (1 + np.exp(-score))).astype(int).tolist()


def test_a_linear_model_counts_known_features_only():
    linear = Linear(np.array([[256, 0], [512, -256]], dtype=np.int16), np.array([0, 256]))
    features = np.array([0, 1, linear.unknown, linear.unknown])
    sums = linear.sums(features, np.array([3, 0, 1]))
    assert sums.tolist() == [[768, -256, 2], [0, 0, 0], [0, 0, 0]]
    assert linear.scores(sums) == pytest.approx(
        np.array([[3 / 2**0.5, 1 - 1 / 2**0.5], [0, 1], [0, 1]])
    )


def test_fitting_keeps_the_features_that_matter_and_settles_what_never_varies():
    features = np.array([0, 2, 1, 2] * 40)
    targets = np.array([[1, 0, 1], [0, 0, 1]] * 40)
    linear, used = fit_linear(features, np.full(80, 2), targets, np.ones(80), alpha=1e-4, epochs=5)
    scores = linear.scores(np.column_stack([linear.weights, np.ones(len(used))]))
    assert used.tolist()[:2] == [0, 1]
    assert scores[0, 0] > 1 and scores[1, 0] < -1
    assert (scores[:, 1] < -5).all() and (scores[:, 2] > 5).all()


def test_curators_who_never_say_anything_are_followed():
    silent = [study.model_copy(update={"reference": annotation()}) for study in practice()[:20]]
    assert (
        list(fit(silent, RouterParams(), REGIONS).annotate_all(REPORTS[:3])) == [annotation()] * 3
    )


def test_a_hashed_feature_depends_on_its_window_and_region_alone():
    left = words("the left lung base is clear now")
    right = words("no sign that the left lung base is clear now")
    alone, other = window_features([("lung", left)]), window_features([("lung", right)])
    both = window_features([("lung", left), ("lung", right)])
    assert both.tolist() == [*alone.tolist(), *other.tolist()]
    kinds = [set(column.tolist()) for column in alone.T]
    assert len(set().union(*kinds)) == sum(map(len, kinds))
    # "base" in the two sentences: all windows are equal, all that tells of the start is not.
    same = alone[3] == other[6]
    assert same[:11].all() and not same[11:13].any() and same[13]
    assert not (window_features([("heart", left)]) == alone).any()
    changed = window_features([("lung", words("the left lung base is clear then"))])
    assert (changed[3] == alone[3]).sum() == 13  # only the third word after "base" is another


@pytest.mark.parametrize(
    ("sentence", "tags", "result"),
    [
        ("The heart is large.", [DROP, KEEP, KEEP, KEEP], "Heart is large."),
        ("The heart is large.", [KEEP, KEEP, "was", KEEP], "The heart was large."),
        ("McBurney sign absent.", ["no =", KEEP, DROP], "No mcburney sign."),
        ("CT shows a clear lung.", ["the =", *[KEEP] * 4], "The CT shows a clear lung."),
        ("(clear lungs, no gas)", [KEEP, KEEP, DROP, DROP], "Clear lungs."),
        ("No gas.", [DROP, DROP], ""),
    ],
)
def test_edits_leave_a_clean_sentence(sentence, tags, result):
    assert edited(words(sentence), tags) == result


VOCABULARY = "the heart is large small CT no lung".split()


@given(
    st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=8),
    st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=8),
)
def test_the_edits_between_two_sentences_make_one_the_other(sentence, piece):
    """Only what comes after the last word of the sentence has no word to carry it."""
    given_ = words(" ".join(sentence))
    made = tokens(edited(given_, edits(given_, " ".join(piece))))
    assert made == tokens(" ".join(piece))[: len(made)]
    assert made[-1:] == tokens(sentence[-1]) or len(made) == len(piece)


@given(*[st.lists(st.sampled_from("aabcd1"), max_size=9).map(" ".join)] * 2)
def test_numbered_tokens_overlap_as_multisets_do(one, other):
    expected = (Counter(tokens(one)) & Counter(tokens(other))).total()
    assert len(tokens_of(one) & tokens_of(other)) == expected


def test_the_choice_weighs_length_against_expected_overlap():
    chances = {"Heart large.": 0.5, "Heart is large.": 0.3, "": 0.2}
    assert best_text(chances, chances.keys(), price=0.75) == "Heart large."
    assert best_text(chances, {"", "Heart is large."}, price=0.75) == "Heart is large."
    assert best_text(chances, chances.keys(), price=0.2) == "Heart is large."
    assert best_text({"Heart large.": 0.3, "": 0.7}, {"", "Heart large."}, price=0.75) == ""
