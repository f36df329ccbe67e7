"""compare: the judgements of all approaches ->
reports/{comparison.md,comparison.json,index.html,scores.csv}."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from xraygen import compare, params, report
from xraygen.errors import UserError, one_line
from xraygen.files import replacing
from xraygen.rows import write_csv
from xraygen.scores import scores_of
from xraygen.study import (
    Agreement,
    Annotation,
    AnnotationRecord,
    Judgement,
    Study,
    read_json,
    read_jsonl,
    write_json,
)

JUDGED = ("dev", "test")
R = TypeVar("R", Study, AnnotationRecord, Judgement)
_BLANK = Annotation()


def main() -> None:
    settings = params.load()
    names = list(settings.approaches)
    refuse_leftovers(set(names))
    summaries = {name: read_json(f"data/judgements/{name}/summary.json") for name in names}
    source = read_json("metrics/data.json")["source"]
    agreement = list(read_jsonl("data/prepared/agreement.jsonl", Agreement))

    # Records are streamed, here and below: a large collection has more of them than fit in memory.
    studies = {split: [_without_texts(study) for study in _studies(split)] for split in JUDGED}
    scores = {
        name: scores_of({split: _judgements(name, split) for split in JUDGED}, studies)
        for name in names
    }
    del studies
    comparison = compare.report_of(scores, summaries, agreement, settings.compare)

    shown = report.worst({name: by_set["test"] for name, by_set in scores.items()})
    examples = report.examples(
        _only(shown, _studies("test")),
        {
            name: _only(shown, read_jsonl(f"data/annotations/{name}/test.jsonl", AnnotationRecord))
            for name in names
        },
        {name: _only(shown, _judgements(name, "test")) for name in names},
    )
    in_git = report.comparison_markdown(comparison, source, settings.compare)
    complete = report.comparison_markdown(comparison, source, settings.compare, complete=True)
    texts = {
        "reports/comparison.md": in_git,
        "reports/index.html": report.page(complete, summaries, examples),
    }

    write_json("reports/comparison.json", comparison)
    write_csv(Path("reports/scores.csv"), report.scores_rows(summaries))
    for path, text in texts.items():
        with replacing(path) as file:
            file.write(text)


def _studies(split: str) -> Iterator[Study]:
    return read_jsonl(f"data/prepared/{split}.jsonl", Study)


def _judgements(approach: str, split: str) -> Iterator[Judgement]:
    return read_jsonl(f"data/judgements/{approach}/{split}.jsonl", Judgement)


def _without_texts(study: Study) -> Study:
    reference = None if study.reference is None else _BLANK
    return study.model_copy(update={"report": "", "images": (), "reference": reference})


def _only(ids: set[str], records: Iterable[R]) -> list[R]:
    return [record for record in records if record.id in ids]


def refuse_leftovers(approaches: set[str]) -> None:
    """What an approach left that params.yaml no longer has would go on counting in dvc.lock,
    differently in every clone."""
    kept = [
        path
        for folder in ("data/annotations", "data/judgements", "metrics/scores")
        for path in Path(folder).glob("[!.]*")
    ]
    leftovers = sorted(str(path) for path in kept if path.stem not in approaches)
    if leftovers:
        raise UserError(
            f"{leftovers[0]} is of no approach in params.yaml; remove what is left of it: "
            f"rm -r {' '.join(leftovers)}"
        )


if __name__ == "__main__":
    with one_line():
        main()
