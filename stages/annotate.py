"""annotate@<approach>: cases of dev and test -> data/annotations/<approach>/{dev,test}.jsonl, metrics/usage/<approach>.json."""

import sys
from collections import Counter
from pathlib import Path

from xraygen import params
from xraygen.annotate import load
from xraygen.errors import one_line
from xraygen.progress import progress
from xraygen.study import AnnotationRecord, Study, read_jsonl, write_json, write_jsonl


def main(name: str) -> None:
    annotate = load(params.load().approach(name), root=Path.cwd())
    usage: Counter[str] = Counter(cases=0, failed=0)
    for split in ("dev", "test"):
        cases = (study.case() for study in read_jsonl(f"data/prepared/{split}.jsonl", Study))
        out = Path("data/annotations") / name / f"{split}.jsonl"
        usage["cases"] += write_jsonl(out, progress(annotate(cases), f"{name} {split}", "studies"))
        for record in read_jsonl(out, AnnotationRecord):
            usage["failed"] += record.annotation is None
            usage.update(record.usage)
    write_json(f"metrics/usage/{name}.json", {what: int(count) for what, count in usage.items()})


if __name__ == "__main__":
    with one_line():
        main(*sys.argv[1:])
