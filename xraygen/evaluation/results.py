"""The results of earlier stages in data/, streamed: a large collection has more records than fit
in memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import Annotation, AnnotationRecord, Judgement, Study
from xraygen.evaluation.scores import StudyScores, scores_of

JUDGED = ("dev", "test")
R = TypeVar("R", Study, AnnotationRecord, Judgement)


def studies(split: str) -> Iterator[Study]:
    return read_jsonl(f"data/prepared/{split}.jsonl", Study)


def annotations(approach: str, split: str) -> Iterator[AnnotationRecord]:
    return read_jsonl(f"data/annotations/{approach}/{split}.jsonl", AnnotationRecord)


def judgements(approach: str, split: str) -> Iterator[Judgement]:
    return read_jsonl(f"data/judgements/{approach}/{split}.jsonl", Judgement)


def without_texts(study: Study) -> Study:
    """The study with an empty reference where it has one, which is all that counting and grouping
    need.
    """
    reference: Annotation | None = None if study.reference is None else {}
    return study.model_copy(update={"report": "", "images": (), "reference": reference})


def only(ids: set[str], records: Iterable[R]) -> list[R]:
    """The records of these studies."""
    return [record for record in records if record.id in ids]


def refuse_leftovers(approaches: set[str]) -> None:
    """UserError: there are results of an approach that params.yaml no longer has. They would stay
    in dvc.lock, and differ between clones.
    """
    kept = [
        path
        for folder in ("data/annotations", "data/judgements", "metrics/scores", "metrics/usage")
        for path in Path(folder).glob("[!.]*")
    ]
    leftovers = sorted(str(path) for path in kept if path.stem not in approaches)
    if leftovers:
        raise UserError(
            f"{leftovers[0]} belongs to no approach in params.yaml; remove what is left of it: "
            f"rm -r {' '.join(leftovers)}"
        )


class _Approach(Protocol):
    """What is used of the settings of an approach."""

    def made_of(self, approaches: Mapping, /) -> str: ...


def refuse_stale(usage: Mapping[str, Mapping], approaches: Mapping[str, _Approach]) -> None:
    """UserError: a cascade has annotated with other settings of its parts than params.yaml has now,
    which DVC does not see. `usage`: the content of metrics/usage, by approach.
    """
    for name, settings in approaches.items():
        if usage[name].get("made_of", "") != settings.made_of(approaches):
            raise UserError(
                f"data/annotations/{name}: made with other settings of the approaches that {name} "
                f"consists of; run `dvc repro --force --single-item annotate@{name}`, then "
                "`dvc repro`"
            )


def scores(names: Iterable[str], regions: tuple[str, ...]) -> dict[str, dict[str, StudyScores]]:
    """Scores by approach and study set. `regions`: the scored ones. Texts are not kept, so that
    memory is bounded by the number of studies.
    """
    members = {split: [without_texts(study) for study in studies(split)] for split in JUDGED}
    return {
        name: scores_of({split: judgements(name, split) for split in JUDGED}, members, regions)
        for name in names
    }
