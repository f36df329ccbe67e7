"""annotate@<approach>: cases of dev and test -> data/annotations/<approach>/{dev,test}.jsonl, metrics/usage/<approach>.json.

python -m stages.annotate APPROACH --dry-run says what would be asked, and at what cost.
"""

import sys
from collections import Counter
from itertools import islice
from pathlib import Path

from xraygen import params
from xraygen.annotate import load, plan
from xraygen.errors import UserError, one_line
from xraygen.progress import progress
from xraygen.study import AnnotationRecord, Study, read_jsonl, write_json, write_jsonl


def main(name: str, *dry_run: str) -> None:
    if dry_run not in ((), ("--dry-run",)):
        raise UserError(f"{' '.join(dry_run)}: unknown; there is only --dry-run")
    annotate = load(params.load(), name, root=Path.cwd())
    sizes = {split: sum(1 for _ in read_jsonl(f"data/prepared/{split}.jsonl", Study)) for split in ("dev", "test")}
    cases = (study.case() for split in sizes for study in read_jsonl(f"data/prepared/{split}.jsonl", Study))
    if dry_run:
        print(plan(annotate, cases))
        return
    usage: Counter[str] = Counter(cases=0, failed=0)
    records = progress(annotate(cases), name, "studies", total=sum(sizes.values()))  # both splits at once: fuller batches
    for split, size in sizes.items():
        out = Path("data/annotations") / name / f"{split}.jsonl"
        usage["cases"] += write_jsonl(out, islice(records, size) if split == "dev" else records)  # the last to its very end
        for record in read_jsonl(out, AnnotationRecord):
            usage["failed"] += record.annotation is None
            usage.update(record.usage)
    counts = {what: int(count) for what, count in usage.items()}
    write_json(f"metrics/usage/{name}.json", counts | getattr(annotate, "usage", dict)())


if __name__ == "__main__":
    with one_line():
        main(*sys.argv[1:])
