"""Scores, intervals, paired tests and their correction."""

import numpy as np
import pytest
from conftest import REGIONS
from hypothesis import given
from hypothesis import strategies as st

from xraygen.core.study import Judgement
from xraygen.evaluation.compare import compare_all, detectable_differences
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.resampling import bootstrap, compare, detectable, holm, intervals, macro
from xraygen.evaluation.scores import StudyScores, by_study, summarise
from xraygen.judges import Judge, Opinion, decide, opinions
from xraygen.language.text import token_f1, tokens


def judgement(
    id: str,
    region: str,
    score: float | None,
    verdict: str = "judged",
    reference: str = "a",
    candidate: str = "a",
) -> Judgement:
    return Judgement(
        id=id,
        region=region,
        reference=reference,
        candidate=candidate,
        score=score,
        verdict=verdict,
        judge="proxy",
    )


def test_right_silence_counts_in_score_and_not_as_published():
    scores = by_study(
        [judgement("s", region, 1.0, "both_empty", "", "") for region in REGIONS.scored],
        REGIONS.scored,
    )
    assert macro(scores.score) == 1 and macro(scores.as_published) == 0
    assert np.isnan(scores.token_f1).all()


def test_what_cannot_be_scored_is_left_out_counted_and_zero_as_published():
    judged = [judgement(i, region, 0.5) for i in "ab" for region in REGIONS.scored]
    judged[0] = judgement("a", REGIONS.scored[0], None, "unparseable")
    summary = summarise(by_study(judged, REGIONS.scored), resamples=50, seed=0)
    assert summary["macro"]["score"] == 0.5 and summary["macro"]["unscored"] == 1
    assert summary["bone"]["as_published"] == 0.25 and summary["macro"][
        "as_published"
    ] == pytest.approx((0.25 + 0.5 * 3) / 4)


def test_macro_is_the_mean_of_region_means_not_of_cells():
    values = np.array([[1, np.nan], [1, np.nan], [1, 0.0]])
    assert macro(values) == 0.5


def test_order_of_judgements_does_not_matter():
    judged = [
        judgement(i, region, hash_ / 10)
        for hash_, i in enumerate("abcdef")
        for region in REGIONS.scored
    ]
    first, second = by_study(judged, REGIONS.scored), by_study(judged[::-1], REGIONS.scored)
    assert first.ids == second.ids and np.array_equal(first.score, second.score)


@given(st.text(alphabet="ab .", max_size=12), st.text(alphabet="ab .", max_size=12))
def test_token_f1_is_symmetric_bounded_and_one_only_for_equal_multisets(a, b):
    value = token_f1(a, b)
    assert value == token_f1(b, a)
    if value is None:
        assert not tokens(a) and not tokens(b)
    else:
        assert 0 <= value <= 1 and (value == 1) == (sorted(tokens(a)) == sorted(tokens(b)))


def test_token_f1_counts_repeats_and_ignores_case_and_punctuation():
    assert token_f1("No no effusion", "no effusion.") == pytest.approx(4 / 5)
    assert token_f1("HEART: normal", "heart normal!") == 1


@pytest.mark.parametrize(
    "reference, candidate, verdict, score",
    [
        ("", " ", "both_empty", 1),
        ("", "x", "reference_empty", 0),
        ("x", "\n", "candidate_empty", 0),
        ("x ", "x", "identical", 1),
    ],
)
def test_pairs_that_need_no_judge(reference, candidate, verdict, score):
    opinion = decide(reference, candidate)
    assert (opinion.verdict, opinion.score) == (verdict, score)


class CountingJudge(Judge):
    """Answers by length, refuses "mute", and remembers what it was asked."""

    name = "counting"

    def __init__(self):
        self.asked = []

    def judge(self, pairs):
        self.asked += pairs
        return [
            Opinion(None, verdict="unparseable")
            if "mute" in candidate
            else Opinion(len(candidate) / 100)
            for _, candidate in pairs
        ]


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(["", "a", "cc", "mute"])),
        max_size=30,
    )
)
def test_each_open_pair_is_asked_once_and_answered_in_place(pairs):
    judge = CountingJudge()
    answers = opinions(pairs, judge)
    assert (
        len(judge.asked) == len(set(judge.asked)) == len({p for p in pairs if decide(*p) is None})
    )
    for (reference, candidate), answer in zip(pairs, answers, strict=True):
        if decide(reference, candidate) is None:
            assert answer.verdict == ("unparseable" if candidate == "mute" else "judged")
            assert answer.score == (None if candidate == "mute" else len(candidate) / 100)


def test_interval_covers_the_mean_at_its_rate():
    rng = np.random.default_rng(0)
    samples = [rng.normal(0.5, 0.2, size=(60, 1)) for _ in range(200)]
    bounds = [intervals(bootstrap(sample[None], 400, 0))[:2] for sample in samples]
    covered = sum(low[0, 0] <= 0.5 <= high[0, 0] for low, high in bounds)
    assert 178 <= covered <= 199


def test_interval_resamples_studies_not_cells():
    rng = np.random.default_rng(0)
    score = rng.random((50, 1))
    ids = tuple(map(str, range(50)))
    summary = summarise(
        StudyScores(ids, *[np.repeat(score, 4, axis=1)] * 5, REGIONS.scored), 2000, 0
    )
    # four copies of a region are no more evidence than one
    assert [summary["macro"][key] for key in ("ci_low", "ci_high")] == [
        summary["bone"][key] for key in ("ci_low", "ci_high")
    ]


def test_a_clear_difference_is_told_and_noise_is_not():
    rng = np.random.default_rng(0)
    base = rng.random((80, 4))
    clear = compare(base + 0.1, base + rng.normal(0, 0.05, base.shape), 2000, 0)
    assert (
        clear["p"] < 0.01
        and clear["ci_low"] > 0
        and clear["difference"] == pytest.approx(0.1, abs=0.02)
    )
    noise = compare(base, base + rng.normal(0, 0.5, base.shape), 2000, 0)
    assert noise["p"] > 0.05 and noise["ci_low"] < 0 < noise["ci_high"]


def test_the_test_is_paired():
    rng = np.random.default_rng(1)
    hard = rng.random((60, 4)) * np.linspace(0, 1, 60)[:, None]
    assert compare(hard + 0.01, hard + rng.normal(0, 0.002, hard.shape), 2000, 0)["p"] < 0.01


def test_equal_approaches_are_never_apart():
    values = np.ones((5, 4))
    result = compare(values, values, 100, 0)
    assert (
        result["n"],
        result["difference"],
        result["ci_low"],
        result["ci_high"],
        result["p"],
    ) == (5, 0, 0, 0, 1)


def test_the_difference_is_that_of_the_macros_in_the_tables():
    """Even where regions are silent in most studies and the approaches differ just there."""
    rng = np.random.default_rng(3)
    a, b = rng.random((100, 4)), rng.random((100, 4))
    a[10:, :3] = b[10:, :3] = np.nan
    a[:, 3] += 0.2
    b[:10, :3] += 0.5
    result = compare(a, b, 500, 0)
    assert result["difference"] == pytest.approx(macro(a) - macro(b)) and result["difference"] < 0
    assert result["ci_low"] < result["difference"] < result["ci_high"] < 0


def test_an_invented_finding_is_seen_by_the_paired_test():
    """token F1 of a silent pair is NaN, of an invented finding 0: studies where only one side has a
    value still count.
    """
    silent, inventing = np.full((60, 1), np.nan), np.zeros((60, 1))
    silent[30:] = inventing[30:] = 0.9
    result = compare(silent, inventing, 2000, 0)
    assert result["difference"] == pytest.approx(0.45) and result["p"] < 0.01


def test_pairs_unscored_by_the_judge_on_either_side_count_on_neither():
    def scores(values) -> StudyScores:
        array = np.array(values, dtype=float)
        return StudyScores(tuple("abcd"), *[array] * 5, REGIONS.scored)

    a = scores([[1, 1, 1, 1]] * 3 + [[0, 0, 0, 0]])
    b = scores([[1, 1, 1, 1]] * 3 + [[np.nan, 0, 0, 0]])
    params = CompareParams(resamples=100, alpha=0.05, power=0.8, seed=0)
    table = compare_all({"a": {"test": a}, "b": {"test": b}}, params)["test"]["a vs b"]
    assert table["score"]["bone"]["difference"] == 0
    assert table["token_f1"]["bone"]["difference"] == -0.25


def test_too_few_studies_are_said_not_guessed():
    one = compare(np.ones((1, 4)), np.zeros((1, 4)), 100, 0)
    assert one["p"] == 1 and np.isnan(one["ci_low"]) and np.isnan(one["sd"])
    none = compare(np.ones((0, 4)), np.ones((0, 4)), 100, 0)
    assert none["n"] == 0 and np.isnan(none["difference"]) and none["p"] == 1


def test_more_comparisons_and_fewer_studies_detect_only_larger_differences():
    rng = np.random.default_rng(4)
    base = rng.random((50, 4))
    params = CompareParams(resamples=100, alpha=0.05, power=0.8, seed=0)

    def found(approaches: int, studies: int) -> dict:
        noisy = [base[:studies] + rng.normal(0, 0.3, (studies, 4)) for _ in range(approaches)]
        ids = tuple(map(str, range(studies)))
        every = {
            f"n{k}": {"test": StudyScores(ids, *[values] * 5, REGIONS.scored)}
            for k, values in enumerate(noisy)
        }
        return detectable_differences(compare_all(every, params)["test"], params)["score"]

    two, six, fewer = found(2, 50), found(6, 50), found(2, 12)
    assert six["median"] > two["median"] and fewer["median"] > two["median"]
    assert six["least"] < six["median"] < six["most"] and two["least"] == two["most"]


def test_equal_approaches_have_no_detectable_difference():
    every = {
        name: {"test": StudyScores(("a", "b"), *[np.ones((2, 4))] * 5, REGIONS.scored)}
        for name in "ab"
    }
    params = CompareParams(resamples=100, alpha=0.05, power=0.8, seed=0)
    assert detectable_differences(compare_all(every, params)["test"], params) == {
        "score": None,
        "clinical": None,
        "token_f1": None,
    }


def test_p_values_hold_their_level_under_the_null():
    rng = np.random.default_rng(2)
    p = [
        compare(rng.normal(size=(20, 1)), rng.normal(size=(20, 1)), 200, seed)["p"]
        for seed in range(200)
    ]
    assert sum(value < 0.05 for value in p) <= 20


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_keeps_order_and_is_at_most_bonferroni(p):
    adjusted = holm(p)
    assert all(
        before <= after <= min(1, len(p) * before) + 1e-12
        for before, after in zip(p, adjusted, strict=True)
    )
    ranked = [adjusted[i] for i in sorted(range(len(p)), key=p.__getitem__)]
    assert ranked == sorted(ranked)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_the_detectable_difference_by_hand():
    # (1.95996 + 0.84162) x 0.5 / sqrt(100)
    assert detectable(0.5, 100, 0.05, 0.8) == pytest.approx(0.140079, abs=1e-6)


@pytest.mark.parametrize(("n", "tolerance"), [(8, 1e-12), (60, 0.02)])
@pytest.mark.parametrize("unscored", [0, 0.3])
def test_the_permutation_test_is_that_of_scipy(n, tolerance, unscored):
    from scipy.stats import permutation_test

    rng = np.random.default_rng(n)
    for shift in (0, 0.05, 0.2):
        a, b = rng.random((n, 4)), rng.random((n, 4)) - shift
        for side in (a, b):
            side[2:][rng.random((n - 2, 4)) < unscored] = np.nan
        both = np.concatenate([a, b])

        def difference(x: np.ndarray, y: np.ndarray, rows: np.ndarray = both) -> float:
            return macro(rows[x.astype(int)]) - macro(rows[y.astype(int)])

        theirs = permutation_test(
            (np.arange(n), np.arange(n, 2 * n)),
            difference,
            permutation_type="samples",
            vectorized=False,
            n_resamples=10_000,
            rng=np.random.default_rng(1),
        )
        assert compare(a, b, 10_000, 0)["p"] == pytest.approx(theirs.pvalue, abs=2 * tolerance)


def test_a_region_that_hardly_any_study_speaks_of_makes_nothing_certain():
    rng = np.random.default_rng(0)
    a, b = rng.random((40, 4)), rng.random((40, 4))
    b[:, 1:] -= 0.1
    a[1:, 0] = b[:, 0] = np.nan
    b[1, 0] = 0.5
    sparse, silent = compare(a, b, 2000, 0), [side.copy() for side in (a, b)]
    for side in silent:
        side[:, 0] = 0
    assert (
        sparse["p"] >= compare(*silent, 2000, 0)["p"]
        and sparse["p"] > 0.05
        and np.isnan(sparse["ci_low"])
    )


@pytest.mark.parametrize("studies", [60, 1500])
def test_the_interval_is_that_of_scipy(studies):
    from scipy.stats import bootstrap

    rng = np.random.default_rng(studies)
    values = rng.random((studies, 4))
    values[2:][rng.random((studies - 2, 4)) < 0.3] = np.nan
    theirs = bootstrap(
        (np.arange(studies),),
        lambda drawn: macro(values[drawn]),
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(5),
    )
    ours = summarise(
        StudyScores(tuple(map(str, range(studies))), *[values] * 5, REGIONS.scored),
        1000,
        5,
    )["macro"]
    assert [ours["ci_low"], ours["ci_high"]] == pytest.approx(
        list(theirs.confidence_interval), abs=1e-6
    )
    error = compare(values, np.zeros_like(values), 1000, 5)["sd"] / studies**0.5
    assert error == pytest.approx(theirs.standard_error, rel=1e-6)
