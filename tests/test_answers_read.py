"""Reading what a model answered: tolerant of form, and never a text that the answer did not
hold.
"""

import json
import random
import re
import time
from collections import Counter

import pytest
from conftest import REGIONS, annotation, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xraygen.prompting.conversation import completion

pytest.importorskip("json_repair")

SAID = annotation(
    heart="The heart's size is normal.",
    lung='A "ground glass" opacity, 5 mm.',
    others="Tube: in place",
)
PLAIN = annotation(heart="Heart is large.", lung="Lungs are clear.")


@pytest.mark.parametrize(
    ("answer", "said", "repaired"),
    [
        (completion(SAID), SAID, False),
        (f"```json\n{completion(SAID)}\n```", SAID, False),
        (
            f"Sure! Here {{as you asked}} it is: {completion(SAID)} Is there anything else?",
            SAID,
            False,
        ),
        (f'<think>{{"heart": "Maybe large?"}} no.</think>\n{completion(SAID)}', SAID, False),
        (f'{{"annotation": {completion(SAID)}}}', SAID, False),
        (f"[{completion(PLAIN)}, {completion(SAID)}]", SAID, False),
        (
            '{"heart": "Heart is large.", "lung": "Lungs are clear.", "certainty": 0.9}',
            PLAIN,
            False,
        ),
        (repr(PLAIN), PLAIN, True),
        (str(SAID), SAID, True),
        (
            "{'heart': 'The heart\\'s size is normal.'}",
            annotation(heart="The heart's size is normal."),
            True,
        ),
        (completion(PLAIN)[:-1] + ",}", PLAIN, True),
        ('{heart: "Heart is large.", lung: "Lungs are clear."}', PLAIN, True),
        ('{"heart": "Heart is large."\n "lung": "Lungs are clear."}', PLAIN, True),
        ('{"Heart": "Heart is large.", " LUNG ": "Lungs are clear."}', PLAIN, True),
        ('{"heart": "Heart is large.", "lung": "Lungs are clear.", "bone": null}', PLAIN, True),
        (
            '{"heart": ["Heart", "is large."], "lung": ["Lungs are clear."], "bone": []}',
            PLAIN,
            True,
        ),
    ],
)
def test_an_answer_is_read_in_whatever_form_it_comes_and_what_was_repaired_is_told(
    answer, said, repaired
):
    assert parse(answer) == (said, repaired)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "no JSON in the answer"),
        ("The heart is large.", "no JSON in the answer"),
        ("<think>" + completion(PLAIN) + "</think> I cannot say.", "no JSON in the answer"),
        (
            "<think>A draft: " + completion(PLAIN) + ", but maybe",
            "the answer ended while still thinking; raise max_tokens",
        ),
        (completion(PLAIN)[:-1], "the JSON of the answer ends too early"),
        ('{"Herz": "groß"}', "names no region"),
        ('{"heart": {"size": "large"}}', "heart: not a text"),
        ('{"heart": 3}', "heart: not a text"),
        ('{"heart": true, "lung": "Clear."}', "heart: not a text"),
        ('{"heart": ["large", 3]}', "heart: not a text"),
        ('{"heart": "\\ud800"}', "half of a surrogate pair"),
        ("{" * 5000, "."),
        ('{"heart":' * 5000, "."),
        ('{"a": [' * 3000 + "]}" * 3000, "."),
    ],
)
def test_what_is_no_annotation_has_a_reason(answer, reason):
    with pytest.raises(ValueError, match=reason) as error:
        parse(answer)
    assert type(error.value).__module__ != "json.decoder"


@pytest.mark.parametrize("said", ["{", '{"', "{'", '{ "', "{[", "[{", "{(", '{"a": '])
def test_what_a_model_repeats_without_end_is_told_at_once(said):
    start = time.perf_counter()
    with pytest.raises(ValueError, match="."):
        parse(said * 2500)
    assert time.perf_counter() - start < 2


# Damage

WORDS = [
    "Heart",
    "size",
    "is",
    "the",
    "lung's",
    '"ground glass"',
    "5 mm",
    "é",
    "{x}",
    "[left]",
    "a/b",
    "a\\b",
    "no,",
]
draw = random.Random(0)
texts = st.sampled_from(
    ["", *(" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(100))]
)
others = (
    st.none(),
    st.integers(),
    st.booleans(),
    st.lists(texts, max_size=3),
    st.dictionaries(texts, texts, max_size=2),
)
values = st.one_of(*[texts] * 8, *others)
keys = st.sampled_from([*REGIONS, *REGIONS, *REGIONS, "Heart", "LUNG ", "bones", "finding", ""])
objects = st.dictionaries(keys, values, max_size=7)


EDITS = {
    "cut": lambda text, at, put: text[:at],
    "beheaded": lambda text, at, put: text[at:],
    "removed": lambda text, at, put: text[:at] + text[at + 1 + len(put) :],
    "doubled": lambda text, at, put: text[: at + 3] + text[at:],
    "replaced": lambda text, at, put: text[:at] + put + text[at + len(put) :],
    "inserted": lambda text, at, put: text[:at] + put + text[at:],
    "quotes": lambda text, at, put: text[:at] + text[at:].replace('"', "'"),
    "other quotes": lambda text, at, put: text.replace('"', "\u201c", 1 + at % 9),
    "no quotes": lambda text, at, put: text.replace('"', "", 1 + at % 9),
    "fence": lambda text, at, put: f"```json\n{text}\n```",
    "prose": lambda text, at, put: f"As {{you}} {put} said: {text} {{Done}}.",
    "thought": lambda text, at, put: f"<think>{text[:at]}</think>{text}",
    "trailing commas": lambda text, at, put: text.replace("}", ",}").replace("]", ",]"),
    "renamed": lambda text, at, put: text.replace("lung", put).replace("heart", "Heart"),
    "nested": lambda text, at, put: f'{{"annotation": {text}, "note": "x"}}',
    "listed": lambda text, at, put: f"[{text}, {text[at:]}]",
    "twice": lambda text, at, put: text + text,
    "python": lambda text, at, put: text.replace("null", "None").replace("true", "True"),
}
edits = st.tuples(
    st.sampled_from(sorted(EDITS)),
    st.integers(0, 400),
    st.text("{}[]\",:\\ax\n'/u0\u201d\x00\ud83d", max_size=3),
)
damaged = st.tuples(objects, st.booleans(), st.lists(edits, max_size=4))


def damage(said: dict, ascii: bool, done: list) -> str:
    text = json.dumps(said, ensure_ascii=ascii)
    for name, at, put in done:
        text = EDITS[name](text, at % (len(text) + 1), put)
    return text


def unescaped(text: str) -> str:
    """With the escapes of JSON resolved, and \\' with which quotes are kept apart in Python."""
    short = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
    text = re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|(.))",
        lambda m: chr(int(m[1], 16)) if m[1] else short.get(m[2], m[2]),
        text,
        flags=re.DOTALL,
    )
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


REASONS = (
    r"no JSON|damaged JSON|the JSON of the answer (names no region|ends too early|"
    r"has text under a key that is no region: )"
    r"|the answer (ended while still thinking|only repeats the form|contradicts itself)|"
    r"\w+: (not a text|half of a)"
)


def holds(answer: str) -> bool:
    """Whether an answer is read, as its own words; or else it has a reason."""
    try:
        annotation, repaired = parse(answer)
    except ValueError as reason:
        assert re.match(REASONS, str(reason)), reason
        return False
    assert annotation.keys() == set(REGIONS) and isinstance(repaired, bool)
    spoken = (answer, unescaped(answer), answer.replace("\\'", "'"))
    for region in REGIONS:
        text = annotation[region]
        if not any(
            text in form for form in spoken
        ):  # then it was a list of texts, or what was said under several keys
            assert repaired and ("[" in answer or answer.count(":") > 1), (answer, region, text)
            assert all(any(word in form for form in spoken) for word in text.split()), (
                answer,
                region,
                text,
            )
    return True


def test_damaged_answers_are_their_own_words_or_named_failures():
    read, failed = Counter(), Counter()
    examples = 5 * settings.default.max_examples

    @given(damaged)
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    def all_hold(made):
        (read if holds(damage(*made)) else failed).update("x")

    all_hold()
    assert read.total() + failed.total() >= examples
    assert min(read.total(), failed.total()) > examples / 10
