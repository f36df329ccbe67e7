"""An annotation out of what a language model answered."""

import json
import re

from xraygen.study import REGIONS, Annotation

_STARTS, _REPAIRS = 20, 5  # braces from which an answer is tried to be read, and to be repaired


def parse(answer: str) -> tuple[Annotation, bool]:
    """(the first JSON object of an answer that names a region, whether it was repaired); regions that it lacks are empty, other keys
    are left aside. What a model thought aloud before, up to </think>, does not count.

    Damaged JSON, one that ends too early among them, is repaired by json-repair, and a repaired text has to stand in the answer. Keys in
    capitals, null for an empty text and a list of sentences are repaired, too. ValueError: why the answer is no annotation.
    """
    answer = _said(answer)
    if "<think>" in answer:
        raise ValueError("the answer ended amid thinking aloud; raise max_tokens")
    starts = [match.start() for match in re.finditer(r"{(?!\s*{)", answer)][:_STARTS]
    if not starts:
        raise ValueError("no JSON in the answer")
    if not any(region in answer.lower() for region in REGIONS):  # repairing what a model repeats without end takes json-repair minutes
        raise ValueError("the JSON of the answer names no region")
    problems = []
    for read in (_whole, _repaired):
        for start in starts[: _REPAIRS if read is _repaired else None]:
            try:
                return _annotation(read(answer, start), repaired=read is _repaired)
            except (ValueError, RecursionError) as problem:
                problems.append(problem)
    raise next((problem for problem in problems if isinstance(problem, _Unfit)), None) or ValueError("damaged JSON in the answer")


class _Unfit(ValueError):
    """JSON that can be read, and is no annotation."""


def _annotation(said: object, repaired: bool) -> tuple[Annotation, bool]:
    named = {key.strip().lower(): text for key, text in said.items()} if isinstance(said, dict) else {}
    texts = {region: named[region] for region in REGIONS if region in named}
    if not texts:
        raise _Unfit("the JSON of the answer names no region")
    repaired |= not all(region in said for region in texts)
    for region, text in texts.items():
        if text is None or isinstance(text, list) and all(isinstance(part, str) for part in text):
            text, repaired = " ".join(text or ()), True
        if not isinstance(text, str):
            raise _Unfit(f"{region}: not a text")
        if re.search("[\ud800-\udfff]", text):
            raise _Unfit(f"{region}: half of a surrogate pair, which is no character")
        texts[region] = text.strip()
    return Annotation(**texts), repaired


def _whole(answer: str, start: int) -> object:
    return json.JSONDecoder().raw_decode(answer, start)[0]


def is_whole(answer: str) -> bool:
    """Whether the answer's first JSON object has ended."""
    answer = _said(answer)
    try:
        json.JSONDecoder().raw_decode(answer, answer.index("{"))
    except (ValueError, RecursionError):
        return False
    return "<think>" not in answer


def _said(answer: str) -> str:
    """Without what was thought aloud, as far as that has ended."""
    return answer.rpartition("</think>")[2]


def _repaired(answer: str, start: int) -> dict:
    import json_repair

    answer = answer[start:]
    read, answer = json_repair.loads(answer, skip_json_loads=True), answer.replace("\\'", "'")
    objects = [part for part in (read if isinstance(read, list) else [read]) if isinstance(part, dict)]  # and braces in prose
    if not objects:
        raise ValueError("damaged JSON")
    said = next((part for part in objects if any(key.strip().lower() in REGIONS for key in part)), objects[0])
    for text in (text for key, text in said.items() if key.strip().lower() in REGIONS):
        if isinstance(text, list) and "[" not in answer:  # what json-repair takes {a, b} for
            raise ValueError("a repaired list that does not stand in the answer")
        for part in text if isinstance(text, list) else [text]:
            if isinstance(part, str) and not any(re.search(rf"(?<!\\){re.escape(form)}", answer) for form in _forms(part)):
                raise ValueError("a repaired text that does not stand in the answer")
    return said


def _forms(text: str) -> tuple[str, str, str]:
    return text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
