"""Texts that no report has: what they cost is bounded."""

from xraygen.language.remembered import remembered
from xraygen.language.text import sentences


def test_a_long_sentence_is_cut_between_words():
    assert sentences("and/or " * 300) == [" ".join(["and/or"] * count) for count in (142, 142, 16)]
    assert list(map(len, sentences("a" * 2500))) == [1000, 1000, 500]
    assert sentences("No effusion. " * 100) == ["No effusion."] * 100  # none of which is long


def test_results_are_kept_until_their_texts_are_long():
    asked = []
    length = remembered(110)(lambda text: asked.append(text) or len(text))
    assert [length(text) for text in ("a", "bb", "a", "bb")] == [1, 2, 1, 2]
    assert asked == ["a", "bb"]
    assert [length(text) for text in ("c" * 80, "a", "d", "a")] == [80, 1, 1, 1]
    assert asked == ["a", "bb", "c" * 80, "d", "a"]  # "d" came when there were 50 + 50 + 80
