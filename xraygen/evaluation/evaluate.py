"""Annotations against references: a judgement for each study and scored region, and the scores that
follow from them.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Judgement, Study
from xraygen.evaluation import abnormal
from xraygen.evaluation.scores import columns_of, scores_of, summarise
from xraygen.judges import Judge, opinions


def judge_annotations(
    studies: Iterable[Study],
    annotations: Iterable[AnnotationRecord],
    judge: Judge,
    regions: Regions,
) -> list[Judgement]:
    """One judgement for each study with a reference and each scored region, in the order of
    `studies`.

    A failed annotation is judged as empty; that of a study without a reference is skipped.
    UserError: an annotation is missing, duplicated or of an unknown study; or there are studies,
    but no reference to judge by.
    """
    studies = list(studies)
    curated = [study for study in studies if study.reference is not None]
    if studies and not curated:
        raise UserError(
            f"none of the {len(studies):,} studies has a reference to judge by; "
            "see `data:` in params.yaml"
        )
    answers = _by_study(annotations)
    missing = [study.id for study in curated if study.id not in answers]
    unknown = sorted(answers.keys() - {study.id for study in studies})
    if missing or unknown:
        raise UserError(
            f"annotations do not match the studies: {len(missing)} missing {missing[:3]}, "
            f"{len(unknown)} of no study {unknown[:3]}; run `dvc repro annotate` again"
        )
    cells = [(study, region) for study in curated for region in regions.scored]
    blank = regions.annotation({})
    pairs = [
        (study.reference[region], (answers[study.id].annotation or blank)[region])
        for study, region in cells
        if study.reference is not None
    ]
    return [
        Judgement(
            id=study.id,
            region=region,
            reference=reference,
            candidate=candidate,
            judge=judge.name,
            annotation_error=answers[study.id].error,
            **opinion._asdict(),
        )
        for (study, region), (reference, candidate), opinion in zip(
            cells, pairs, opinions(pairs, judge), strict=True
        )
    ]


def _by_study(annotations: Iterable[AnnotationRecord]) -> dict[str, AnnotationRecord]:
    answers: dict[str, AnnotationRecord] = {}
    for record in annotations:
        if record.id in answers:
            raise UserError(f"study {record.id} is annotated twice; run `dvc repro annotate` again")
        answers[record.id] = record
    return answers


def judge_splits(
    studies: dict[str, list[Study]],
    annotations: dict[str, list[AnnotationRecord]],
    judge: Judge,
    regions: Regions,
) -> dict[str, list[Judgement]]:
    """Judgements by split, all in one call, because a judge may have a large model to load."""
    judged = judge_annotations(
        [study for split in studies.values() for study in split],
        [record for split in studies for record in annotations[split]],
        judge,
        regions,
    )
    split_of = {study.id: split for split, kept in studies.items() for study in kept}
    return {
        split: [judgement for judgement in judged if split_of[judgement.id] == split]
        for split in studies
    }


def details(
    judgements: dict[str, list[Judgement]],
    studies: dict[str, list[Study]],
    judge: Judge,
    regions: Regions,
    resamples: int,
    seed: int,
) -> dict:
    """The content of data/judgements/<approach>/summary.json: the judge and its description, and
    for each study set the scores of `summarise`, the number of pairs by verdict and the number of
    failed annotations. Where the judge tells abnormal findings, these are added
    (`abnormal.findings`), and the scores by kind of reference (`abnormal.by_reference`).
    """
    result: dict = {"judge": judge.name, "about": judge.about()}
    everything = [judgement for split in judgements.values() for judgement in split]
    told = any(judgement.clinical is not None for judgement in everything)
    for name, scores in scores_of(judgements, studies, regions.scored).items():
        ids = set(scores.ids)
        judged = [judgement for judgement in everything if judgement.id in ids]
        verdicts = Counter(judgement.verdict for judgement in judged)
        failed = {judgement.id for judgement in judged if judgement.annotation_error}
        result[name] = summarise(scores, resamples, seed) | {
            "verdicts": dict(sorted(verdicts.items())),
            "failed_annotations": len(failed),
        }
        if told:
            result[name] |= {
                "by_reference": abnormal.by_reference(scores, resamples, seed),
                "abnormal_findings": abnormal.findings(judged, regions.scored),
            }
    return result


def metrics(summary: dict) -> dict:
    """The content of metrics/scores/<approach>.json: the part of `details` that `dvc metrics diff`
    shows.
    """
    result: dict = {"judge": summary["judge"]}
    for name, cells in summary.items():
        if not isinstance(cells, dict):
            continue
        result[name] = {column: {"score": cells[column]["score"]} for column in columns_of(cells)}
        for measure in ("clinical", "token_f1"):
            if measure in cells["macro"]:
                result[name]["macro"][measure] = cells["macro"][measure]
        if "abnormal_findings" in cells:
            found = cells["abnormal_findings"]
            result[name]["abnormal"] = {
                "clinical": cells["by_reference"]["abnormal"]["clinical"],
                "recall": found["recall"],
                "precision": found["precision"],
            }
        if "support" in cells:
            result[name]["unsupported"] = cells["support"]["unsupported"]
        result[name]["failed_annotations"] = cells["failed_annotations"]
        result[name]["unscored_pairs"] = cells["macro"]["unscored"]
    return result


def read_splits(folder: Path, record: type, regions: Regions) -> dict[str, list]:
    """The records of `folder`/<split>.jsonl, for each split that is judged."""
    return {
        split: list(read_jsonl(folder / f"{split}.jsonl", record, regions))
        for split in ("dev", "test")
    }
