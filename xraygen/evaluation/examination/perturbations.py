"""Reference texts that were damaged in a known way, and the same texts in other words.

A judge has to score damage lower than a copy, and a rewording about as high as a copy and above
every damaged version. Only findings of undoubted weight are damaged, in sentences so plain that a
few patterns find them; other sentences stay as they are. No judge's reader of findings is used.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random

from xraygen.core.errors import UserError
from xraygen.core.tables import has_no_value, read_rows
from xraygen.language.text import sentences, tokens

Change = Callable[[list[str], Random], list[str] | None]

_DISEASE = re.compile(
    r"""
    \b(?: effusions? | pneumothora(?:x|ces) | opacit(?:y|ies) | nodules? | mass(?:es)?
      | consolidations? | infiltrates? | pneumonia | atelectasis | edema | congestion
      | fractures? | cardiomegaly )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
# In a sentence with one of these, the finding is not simply there, or of less weight.
_NOT_PLAIN = re.compile(
    r"""
    \b(?: no | not | without | negative | free | clear | normal | unremarkable | absent | none | nor
      | resol\w+ | removed | possibl[ey] | may | might | likely | versus | or | suspicious
      | correlat\w+ | history | prior | old | healed | chronic | calcified | stable
      | unchanged )\b | n't\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DENIED = re.compile(r"(There (?:is|are) )?no (?:evidence of |definite )?(.+)", re.IGNORECASE)
_THERE_IS = re.compile(r"(There (?:is|are)) (?:an? |the )?(.+)", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the) ", re.IGNORECASE)
_MEASURE = re.compile(
    r"\b\d[\d.]* ?[cm]m (?=\w)| (?:of|measuring)(?: about| approximately)? \d[\d.]* ?[cm]m\b",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"[,;:]|\b(?:and|or|with)\b", re.IGNORECASE)
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|shows?|demonstrates?)\b", re.IGNORECASE)
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_ONE_SIDED = re.compile(r"\b(?:middle lobe|lingula|heart|ventric\w+)\b", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left"}
_OTHER_DEGREE = {
    "tiny": "large",
    "trace": "large",
    "small": "large",
    "minimal": "marked",
    "mild": "severe",
    "slight": "severe",
    "moderate": "minimal",
    "marked": "minimal",
    "severe": "mild",
    "large": "tiny",
    "mildly": "severely",
    "slightly": "severely",
    "minimally": "markedly",
    "markedly": "minimally",
    "severely": "mildly",
}
_DEGREE = re.compile(rf"\b({'|'.join(_OTHER_DEGREE)})\b", re.IGNORECASE)
_INVENTED = (
    "Large right pneumothorax.",
    "There is a 3 cm mass in the left upper lobe.",
    "Moderate left pleural effusion.",
    "Displaced fracture of the left fifth rib.",
    "Consolidation in the right middle lobe.",
)
# The first that fits a whole sentence, and then every word: all without a change of meaning.
_SENTENCES = (
    (r"There (?:is|are) no (?:evidence of )?([^,]+)\.", r"No \1 can be seen."),
    (
        r"No (?:evidence of )?(?!definite|visible|other)"
        r"((?:(?!\b(?:is|are|seen|identified|noted|present|visualized)\b)[^.])+)\.",
        r"There is no evidence of \1.",
    ),
    (r"There (?:is|are) (an? [^,]+)\.", r"\1 can be seen."),
    (r"(?:The )?lungs are clear\.", "The lungs have no abnormality."),
)
_SYNONYMS = (
    (r"\bunremarkable\b", "normal"),
    (r"\bwithin normal limits\b", "unremarkable"),
    (r"\bheart size\b", "size of the heart"),
    (r"\bcardiac silhouette\b", "heart shadow"),
    (r"\bcardiomegaly\b", "enlargement of the heart"),
    (r"\bpleural effusion\b", "effusion in the pleural space"),
    (r"\bpleural effusions\b", "effusions in the pleural spaces"),
    (r"\bpulmonary edema\b", "edema of the lungs"),
    (r"\bosseous\b", "bony"),
    (r"\bopacity\b", "opacification"),
    (r"\bvascularity\b", "vasculature"),
    (r"\bmild\b", "slight"),
    (r"\bmildly\b", "slightly"),
    (r"\blarge\b", "sizeable"),
    (r"\bin the (left|right) (upper|middle|lower) lobe\b", r"in the \2 lobe of the \1 lung"),
    (r"\b(is|are) (?:seen|noted|identified)\b", r"\1 present"),
)
# These refer to another sentence, so that the order of sentences has a meaning.
_REFERS = re.compile(
    r"\b(?:otherwise|remainder|remaining|other|also|this|these|it|its|they|above|below)\b",
    re.IGNORECASE,
)


def damaged(text: str, seed: int) -> dict[str, str]:
    """The damaged versions of a text, by kind. A kind for which no sentence is plain enough is left
    out. The same text and seed give the same versions.
    """
    parts = sentences(text)
    versions = {}
    for kind, change in DAMAGE.items():
        changed = change(list(parts), Random(f"{seed} {kind} {text}"))
        if changed is not None:
            versions[kind] = " ".join(changed)
    return versions


def reworded(text: str, seed: int) -> str | None:
    """The text in other words and, where no sentence refers to another, in another order; None
    where no word could be replaced.
    """
    parts = sentences(text)
    changed = [_in_other_words(part) for part in parts]
    if sorted(tokens(" ".join(changed))) == sorted(tokens(text)):
        return None
    if not any(_REFERS.search(part) for part in parts):
        Random(f"{seed} order {text}").shuffle(changed)
    return " ".join(changed)


def _diseases(parts: Iterable[str]) -> set[str]:
    return {word.lower().rstrip("s") for part in parts for word in _DISEASE.findall(part)}


def _in_other_words(sentence: str) -> str:
    for pattern, replacement in _SENTENCES:
        if found := re.fullmatch(pattern, sentence, re.IGNORECASE):
            sentence = found.expand(replacement)
            break
    for pattern, replacement in _SYNONYMS:
        sentence = re.sub(pattern, replacement, sentence, flags=re.IGNORECASE)
    return _capitalised(sentence)


def _affirming(parts: Sequence[str]) -> list[int]:
    """The positions of sentences that plainly state a finding."""
    return [at for at, part in enumerate(parts) if _affirms(part)]


def _affirms(sentence: str) -> bool:
    return bool(_DISEASE.search(sentence)) and not _NOT_PLAIN.search(sentence)


def _drop(parts: list[str], draw: Random) -> list[str] | None:
    found = _affirming(parts)
    if not found or len(parts) < 2:
        return None
    del parts[draw.choice(found)]
    return parts


def _replace(
    parts: list[str], draw: Random, changed_by: Callable[[str], str | None]
) -> list[str] | None:
    """One of the sentences that `changed_by` can change, changed."""
    changed = {at: changed_by(part) for at, part in enumerate(parts)}
    found = [at for at, part in changed.items() if part is not None]
    if not found:
        return None
    at = draw.choice(found)
    parts[at] = changed[at] or ""
    return parts


def _negate(parts: list[str], draw: Random) -> list[str] | None:
    return _replace(parts, draw, _negated)


def _negated(sentence: str) -> str | None:
    """A sentence about one finding that says the opposite, or None where it is not that simple."""
    if len(_DISEASE.findall(sentence)) != 1 or _SEVERAL.search(sentence):
        return None
    if _affirms(sentence):
        plain = _without_size(sentence)
        if there_is := _THERE_IS.fullmatch(plain):
            return f"{there_is[1]} no {there_is[2]}"
        before, _, _ = plain.partition(_DISEASE.findall(plain)[0])
        if _VERB.search(before):
            return None
        return f"No {_lower_first(_ARTICLE.sub('', plain))}"
    denial = _DENIED.fullmatch(sentence)
    if denial is None or _NOT_PLAIN.search(denial[2]):
        return None
    return _capitalised(f"{denial[1] or ''}{denial[2]}")


def _without_size(sentence: str) -> str:
    """The sentence without degree and measure: "no small effusion" would not deny a large one."""
    unmeasured = _MEASURE.sub("", sentence)
    return _capitalised(re.sub(rf"{_DEGREE.pattern} ", "", unmeasured, flags=re.IGNORECASE))


def _swap_side(parts: list[str], draw: Random) -> list[str] | None:
    return _replace(parts, draw, _on_the_other_side)


def _on_the_other_side(sentence: str) -> str | None:
    named = {side.lower() for side in _SIDE.findall(sentence)}
    if len(named) != 1 or not _affirms(sentence) or _ONE_SIDED.search(sentence):
        return None
    return _SIDE.sub(lambda found: _in_case(_OTHER_SIDE, found[0]), sentence)


def _change_degree(parts: list[str], draw: Random) -> list[str] | None:
    return _replace(parts, draw, _to_another_degree)


def _to_another_degree(sentence: str) -> str | None:
    if len(_DEGREE.findall(sentence)) != 1 or not _affirms(sentence):
        return None
    return _DEGREE.sub(lambda found: _in_case(_OTHER_DEGREE, found[0]), sentence)


def _invent(parts: list[str], draw: Random) -> list[str] | None:
    """A false finding at the end, of a disease that the text does not speak of."""
    named = _diseases(parts)
    unnamed = [one for one in _INVENTED if named.isdisjoint(_diseases([one]))]
    return [*parts, draw.choice(unnamed)] if unnamed else None


def _in_case(others: dict[str, str], word: str) -> str:
    other = others[word.lower()]
    return other.capitalize() if word[0].isupper() else other


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


DAMAGE: dict[str, Change] = {
    "a finding dropped": _drop,
    "a finding invented": _invent,
    "a finding negated": _negate,
    "the side swapped": _swap_side,
    "the severity changed": _change_degree,
}


def read_references(path: Path, optional: bool = False) -> list[str]:
    """The distinct texts in the column `reference` of a table or a JSON Lines file, which has a
    text or, as prepared studies have, texts by region. UserError: a row has something else, or none
    has a text, unless that is `optional`.
    """
    texts: dict[str, None] = {}
    for number, row in read_rows(path, ("reference",)):
        reference = row["reference"]
        found: Iterable[object] = reference.values() if isinstance(reference, dict) else [reference]
        for text in found:
            if has_no_value(text):
                continue
            if not isinstance(text, str):
                raise UserError(f"{path}:{number}: reference has to be text, or texts by region")
            texts[text] = None
    if not texts and not optional:
        raise UserError(f"{path}: no row has a reference")
    return list(texts)
