"""A sentence turned into another by one tag per word: keep it, drop it, or put a phrase for it.

Text editing by tagging as in LaserTagger (Malmi et al., EMNLP 2019).
"""

import difflib
from collections.abc import Sequence

from xraygen.language.alignment import Words, as_sentence, words

# Further tags: "phrase" replaces the word, "phrase =" goes before the word, which is kept.
KEEP = "="
DROP = ""


def edits(sentence: Words, piece: str) -> list[str]:
    """The tag of each word of `sentence` that turns it into `piece`."""
    said = words(piece)
    tags = [DROP] * len(sentence.lower)
    before = ""
    matcher = difflib.SequenceMatcher(None, sentence.lower, said.lower, autojunk=False)
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        phrase = _phrase(said, j, j_end) if kind in ("insert", "replace") else ""
        if kind == "equal":
            tags[i:i_end] = [KEEP] * (i_end - i)
            tags[i] = f"{before} {KEEP}" if before else KEEP
            before = ""
        elif kind == "replace":
            tags[i] = phrase
        elif kind == "insert" and i and tags[i - 1] == DROP:
            tags[i - 1] = phrase
        elif kind == "insert":
            before = phrase
    return tags


def _phrase(said: Words, start: int, end: int) -> str:
    """Words start to end in lower case, apart from acronyms."""
    text = said.text[said.spans[start][0] : said.spans[end - 1][1]]
    return " ".join(
        word if word.isupper() and len(word) > 1 else word.lower() for word in text.split()
    )


def edited(sentence: Words, tags: Sequence[str]) -> str:
    """The sentence after its edits, clean, or an empty string."""
    text, spans = sentence.text, sentence.spans
    # Where the text that follows each word ends; what follows the last word is not kept.
    ends = [start for start, _ in spans[1:]] + [spans[-1][1]]
    out = ""
    k = 0
    while k < len(tags):
        tag, first = tags[k], k
        k += 1
        if tag == DROP:
            continue
        if tag.endswith(KEEP):
            while k < len(tags) and tags[k] == KEEP:
                k += 1
            kept = text[spans[first][0] : ends[k - 1]]
            if first == 0 and tag != KEEP:
                kept = _inside_a_sentence(kept, spans[0][1] - spans[0][0])
            out += tag.removesuffix(KEEP) + kept
        else:
            out += tag + text[spans[first][1] : ends[first]]
        if not out[-1].isspace():
            out += " "
    return as_sentence(out)


def _inside_a_sentence(text: str, length: int) -> str:
    """The text with its first word, of `length` letters, in lower case unless it is an acronym."""
    word = text[:length]
    return text if word.isupper() else word.lower() + text[length:]
