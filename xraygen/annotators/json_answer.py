"""An annotation out of what a language model answered."""

import json
import re

from xraygen.study import REGIONS, Annotation


def parse(answer: str) -> tuple[Annotation, bool]:
    """(the first JSON object of an answer, whether it was repaired); regions that it lacks are empty, other keys are left aside.

    Damaged JSON, one that ends too early among them, is repaired by json-repair, and a repaired text has to stand in the answer.
    ValueError: why the answer is no annotation.
    """
    start = answer.find("{")
    if start < 0:
        raise ValueError("no JSON in the answer")
    try:
        (said, _), repaired = json.JSONDecoder().raw_decode(answer, start), False
    except (ValueError, RecursionError):
        said, repaired = _repaired(answer[start:]), True
    texts = {region: said[region] for region in REGIONS if region in said}
    if not texts:
        raise ValueError("the JSON of the answer names no region")
    for region, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{region}: not a text")
        if re.search("[\ud800-\udfff]", text):
            raise ValueError(f"{region}: half of a surrogate pair, which is no character")
    return Annotation(**{region: text.strip() for region, text in texts.items()}), repaired


def is_whole(answer: str) -> bool:
    """Whether the answer's first JSON object has ended."""
    try:
        json.JSONDecoder().raw_decode(answer, answer.index("{"))
    except (ValueError, RecursionError):
        return False
    return True


def _repaired(answer: str) -> dict:
    import json_repair

    try:
        said = json_repair.loads(answer, skip_json_loads=True)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ValueError("damaged JSON in the answer")
    for region in REGIONS:
        text = said.get(region)
        forms = [text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]] if isinstance(text, str) else [""]
        if not any(form in answer for form in forms):
            raise ValueError(f"damaged JSON in the answer: {region} cannot be told")
    return said
