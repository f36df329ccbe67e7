"""Exports of the review page as tests write them."""

import json
from pathlib import Path

SAMPLE = "5a" * 32


def item(id: str, region: str, shown: str, text: str | None = "as shown", **more) -> dict:
    """A decision: accepted where there is no other text, rejected with None, else edited."""
    text = shown if text == "as shown" else text
    decision = "rejected" if text is None else "accepted" if text == shown else "edited"
    found = {"id": id, "region": region, "approach": "router", "shown": shown}
    return found | {"decision": decision, "text": text, "comment": ""} | more


def export(path: Path, reader: str, items: list[dict], shown: int | None = None, **header) -> Path:
    first = {"format": "xraygen review 1", "reader": reader, "created": "2026-11-26"}
    first |= {"items": len(items) if shown is None else shown, "sample": SAMPLE} | header
    lines = [first, *({"reader": reader} | one for one in items)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def settlement(id: str, region: str, text: str | None, **more) -> dict:
    decision = "excluded" if text is None else "chosen"
    return {"id": id, "region": region, "decision": decision, "text": text, "comment": ""} | more


def settled(path: Path, items: list[dict], reader: str = "Chris", **header) -> Path:
    first = {"format": "xraygen settled 1", "reader": reader, "created": "2026-11-26"}
    first |= {"items": len(items), "sample": SAMPLE} | header
    path.write_text("".join(json.dumps(line) + "\n" for line in [first, *items]), encoding="utf-8")
    return path
