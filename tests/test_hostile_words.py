"""Long words that a model may write, which take no longer to compare than others."""

import pytest

from xraygen.language.claims import claims_of
from xraygen.language.support import Report


@pytest.mark.parametrize("word", ["ied" * 12 + "x", "ied" * 5000 + "x", "i" * 50_000 + "x"])
def test_a_word_made_of_endings_is_compared_at_once(word):
    """Tried in every way to divide it into endings, it would not come to an end."""
    assert claims_of(word) == (word,)
    assert Report("The lungs are clear.").support(f"{word} {word}.").support == "unsupported"
    assert Report(f"{word} lungs.").support(f"{word}.").support == "verbatim"


def test_endings_are_taken_off_in_a_row():
    assert claims_of("calcifications") == claims_of("calcified")
    assert claims_of("increasingly") == claims_of("increased")
