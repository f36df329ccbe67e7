"""A report of generated studies, made by the same writer as reports/, for the browser tests. The
texts are the generator's, the judge is the proxy, and the support is computed, so that all kinds of
cell occur.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from browser import expect
from conftest import REGIONS
from PIL import Image as Picture

from xraygen.core.study import AnnotationRecord, Evidence, Image, Judgement, Study
from xraygen.evaluation import compare, confidence, evaluate, overview
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.scores import scores_of
from xraygen.judges.proxy.proxy import Proxy
from xraygen.language.support import Report
from xraygen.pages import report, studies
from xraygen.pages.answered import Answers
from xraygen.sources.phantom import phantom

# Numbers of studies that differ from the others.
ASTRAL = 2  # its report has characters before its findings that JavaScript counts twice
UNCURATED = 5
FAILED = 7  # of the approach `short`
UNREADABLE = 9  # its lateral picture
PICTURED = (0, 1, UNREADABLE)
LUNGS_CLEAR = "The lungs are clear."
FLOOR = "inventive"  # the last approach
RESAMPLES = 20
PARAMS = CompareParams(resamples=RESAMPLES, alpha=0.05, power=0.8, seed=0)
SIZE = (900, 600)  # of pictures
BIG_HEART = "Severe cardiomegaly."


class Collection(NamedTuple):
    """Records in the order of the studies, those of approaches by name."""

    studies: list[Study]
    annotations: dict[str, list[AnnotationRecord]]
    judgements: dict[str, list[Judgement]]


def collection(count: int) -> Collection:
    members = [_study(number) for number in range(count)]
    texts = {
        "careful": [_careful(number, study) for number, study in enumerate(members)],
        "template": [REGIONS.annotation({"lung": LUNGS_CLEAR}) for _ in members],
        "short": [_short(number, study) for number, study in enumerate(members)],
        "inventive": [REGIONS.annotation({"heart": BIG_HEART}) for _ in members],
    }
    return of_texts(members, texts)


def of_texts(
    members: Sequence[Study], texts: dict[str, Sequence[dict[str, str] | None]]
) -> Collection:
    """`texts`: by approach, an annotation for each study; None = failed."""
    annotations = {
        name: [
            _record(name, number, *pair)
            for number, pair in enumerate(zip(members, given, strict=True))
        ]
        for name, given in texts.items()
    }
    judgements = {
        name: evaluate.judge_annotations(members, records, _judge(), REGIONS)
        for name, records in annotations.items()
    }
    return Collection(list(members), annotations, judgements)


def write(folder: Path, made: Collection) -> Path:
    """index.html and studies/ in the folder, and the pictures that they are made from next to them;
    returns the path of the page.
    """
    root = folder / "project"
    root.mkdir()
    for number, study in enumerate(made.studies):
        for image in study.images:
            if (number, image.projection) != (UNREADABLE, "lateral"):
                Picture.new("L", SIZE, 16 * number).save(root / image.path)
    answers = {
        name: Answers(records, made.judgements[name]) for name, records in made.annotations.items()
    }
    studies.write(folder / "studies", made.studies, answers, REGIONS, 0.05, root)
    page = folder / "index.html"
    page.write_text(_overview(made), encoding="utf-8")
    return page


def opened(page, id: str) -> None:
    """Waits until the page shows the study."""
    expect(page.locator("#study")).to_have_attribute("data-id", id)


def cell(page, region: str, approach: str):
    return page.locator(f"#answers tr[data-region='{region}'] td[data-approach='{approach}']")


def _overview(made: Collection) -> str:
    """Of the studies as dev and test alike."""
    members = {"dev": made.studies, "test": made.studies}
    scores, summaries, confidences = {}, {}, {}
    for name, judged in made.judgements.items():
        by_split = {"dev": judged, "test": judged}
        scores[name] = scores_of(by_split, members, REGIONS.scored)
        summaries[name] = evaluate.details(by_split, members, _judge(), REGIONS, RESAMPLES, 0)
        known = confidence.confidences_of(made.annotations[name], judged)
        confidences[name] = confidence.measured(known, known, PARAMS.review_risk, PARAMS.alpha)
    comparison = compare.report_of(scores, summaries, [], PARAMS)
    comparison["confidence"] = {name: one for name, one in confidences.items() if one is not None}
    results = report.Results(
        comparison,
        usage={name: {"cases": 1, "failed": 0, overview.COST: 0.5} for name in scores},
        audits={name: {"studies": 0} for name in scores},
        losses={"train": [(0, 2.5), (10, 0.5)], "dev": [(0, 2.6), (10, 0.7)]},
        source="phantom",
        floor=next(reversed(scores)),
    )
    return report.page(results, PARAMS, len(made.studies))


def _judge() -> Proxy:
    judge = Proxy()
    judge.name = "proxy"
    return judge


def _study(number: int) -> Study:
    made = phantom(0, number)
    text = made.report
    if number == ASTRAL:
        text = f"🫁🩻 Chest. {text}"
    views = ("frontal", "lateral") if number in PICTURED else ()
    return Study(
        id=f"study {number}",
        uid=str(number),
        split="test",
        report=text,
        images=[Image(path=f"{number}-{view}.png", projection=view) for view in views],
        reference=None if number == UNCURATED else REGIONS.annotation(made.reference),
        novel=number % 2 == 0,
    )


def _careful(number: int, study: Study) -> dict[str, str]:
    """Like the reference, but every third study has the lungs clear, whatever the report says."""
    texts = dict(study.reference or REGIONS.annotation({"heart": "Normal heart size."}))
    return texts | {"lung": LUNGS_CLEAR} if number % 3 == 0 else texts


def _short(number: int, study: Study) -> dict[str, str] | None:
    """The first sentence of the report as heart, and nothing else."""
    if number == FAILED:
        return None
    return REGIONS.annotation({"heart": study.report.split(". ")[0].removesuffix(".") + "."})


def _record(
    approach: str, number: int, study: Study, texts: dict[str, str] | None
) -> AnnotationRecord:
    if texts is None:
        return AnnotationRecord(id=study.id, annotation=None, error="the answer is no JSON")
    source = Report(study.report)
    evidence = {
        region: Evidence(
            **source.support(text)._asdict(),
            confidence=(number * 37 % 100) / 100 if approach == "careful" and text else None,
        )
        for region, text in texts.items()
    }
    return AnnotationRecord(id=study.id, annotation=texts, evidence=evidence)
