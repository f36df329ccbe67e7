"""annotate@<approach>: cases of dev and test, and some of test with other pictures ->
data/annotations/<approach>/{dev,test,audit}.jsonl, metrics/usage/<approach>.json.

python -m stages.annotate APPROACH --dry-run says how much would be asked, and at what cost.
"""

import itertools
import sys
from collections import Counter
from pathlib import Path

from xraygen import params
from xraygen.annotators import picture_audit
from xraygen.annotators.base import Project
from xraygen.annotators.engine import annotator
from xraygen.core.errors import UserError, one_line
from xraygen.core.json_lines import read_jsonl, write_jsonl, write_metrics
from xraygen.core.progress import progress
from xraygen.core.study import AnnotationRecord, Study


def main(name: str, *dry_run: str) -> None:
    if dry_run not in ((), ("--dry-run",)):
        raise UserError(f"{' '.join(dry_run)}: unknown; there is only --dry-run")
    settings, root = params.load(), Path.cwd()
    project = Project(root, root, settings.regions, settings.llm)
    annotate = annotator(settings.annotate, settings.approaches, name, project)
    splits = {
        split: (study.case() for study in read_jsonl(f"data/prepared/{split}.jsonl", Study))
        for split in ("dev", "test")
    }
    altered = picture_audit.cases_for(annotate, settings.audit, root)
    if dry_run:
        print(annotate.plan(itertools.chain(*splits.values(), (one.case for one in altered))))
        return
    usage: Counter[str] = Counter(cases=0, failed=0)
    for split, cases in splits.items():
        out = Path("data/annotations") / name / f"{split}.jsonl"
        usage["cases"] += write_jsonl(out, progress(annotate(cases), f"{name} {split}", "studies"))
        for record in read_jsonl(out, AnnotationRecord):
            usage["failed"] += record.annotation is None
            usage.update(record.usage)
    counts = {what: int(count) for what, count in usage.items()}
    asked = annotate.usage()  # without the audit, whose cases are not like those of a collection
    write_jsonl(out.with_name("audit.jsonl"), picture_audit.answers(annotate, altered, name))
    total = annotate.usage()
    # Printed rather than tracked, because it differs from run to run.
    if asked.pop("seconds", None) is not None:
        seconds, requests = total["seconds"], total.get("requests", 0)
        print(f"{name}: {seconds:,.1f} s, {requests:,} requests", file=sys.stderr)
    if altered and "cost_usd" in asked:
        asked["audit_cost_usd"] = round(total["cost_usd"] - asked["cost_usd"], 6)
    made_of = settings.approaches[name].made_of(settings.approaches)
    known = {"made_of": made_of} if made_of else {}
    write_metrics(f"metrics/usage/{name}.json", counts | asked | known)


if __name__ == "__main__":
    with one_line():
        main(*sys.argv[1:])
