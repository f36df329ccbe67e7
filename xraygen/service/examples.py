"""The examples of the OpenAPI document. The reports are invented."""

from __future__ import annotations

from xraygen.service.loaded import Loaded

# Of no region in particular, because which there are params.yaml says.
REPORT = "Two views. No acute abnormality."
CASE = {"id": "case-1", "report": REPORT}
ANNOTATION_REQUEST = {"cases": [CASE]}
# A grey PNG of one pixel.
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
IMAGE_REQUEST = {"cases": [CASE | {"images": [{"data": IMAGE, "projection": "frontal"}]}]}
JUDGEMENT_REQUEST = {
    "pairs": [
        {
            "reference": "There is a small left pleural effusion.",
            "candidate": "Small effusion on the left.",
        }
    ]
}


def annotation_response(loaded: Loaded) -> dict:
    first = loaded.about.approaches[0]
    shared = {"id": "case-1", "approach": first.name, "model": first.model}
    quoted = "No acute abnormality."
    region = next(iter(first.test.regions)) if first.test else "region"
    start = REPORT.index(quoted)
    finding = {
        "support": "verbatim",
        "spans": [[start, start + len(quoted)]],
        "confidence": 0.97,
        "text": quoted,
        "review": False,
    }
    return {"annotations": [shared | {"regions": {region: finding}}]}


def judgement_response(loaded: Loaded) -> dict:
    judged = {
        "score": 0.5,
        "verdict": "judged",
        "matched_findings": 1,
        "errors": {"a": 0, "b": 0, "c": 0, "d": 1, "e": 0, "f": 0},
        "clinical": None,
        "explanation": None,
    }
    return {"judge": loaded.about.judge, "judgements": [judged]}
