"""From a source's studies to the prepared splits: dev carved out of train, samples, and the facts
in metrics/data.json.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from pydantic import PositiveInt, field_validator

from xraygen.core.errors import UserError
from xraygen.core.origin import Origin, Prepared
from xraygen.core.regions import Regions
from xraygen.core.study import (
    SPLITS,
    Agreement,
    Annotation,
    NonEmpty,
    Record,
    Share,
    Split,
    Study,
)
from xraygen.language.text import medoid, token_f1
from xraygen.sources import Incident, Source
from xraygen.sources.groups import draw_share, place


class DataParams(Record):
    """`source`: a built-in name, or `package.module:Class`. `settings`: those of each source, by
    its name. `dev_share`: the share of the training studies that dev gets. `sample`: at most this
    many studies of a split; None or no entry = all of them.
    """

    source: NonEmpty
    settings: dict[str, Record]
    seed: int
    dev_share: Share
    sample: dict[Split, PositiveInt | None]

    @field_validator("sample")
    @classmethod
    def _every_split(cls, sample: dict) -> dict:
        return {split: sample.get(split) for split in SPLITS}


def check(studies: Sequence[Study], regions: Regions, source: str) -> None:
    """What every source has to keep, also one of the user's. UserError: an id occurs twice, a
    reference does not have the declared regions, or a patient is in two of train, dev and test,
    which would leak test into training.
    """
    seen: set[str] = set()
    split_of: dict[str, str] = {}
    for study in studies:
        if study.id in seen:
            raise UserError(f"source {source}: two studies have the id {study.id}")
        seen.add(study.id)
        if study.reference is not None and tuple(study.reference) != regions.names:
            raise UserError(
                f"source {source}: study {study.id}: the reference has not the declared regions in "
                "their order; make it with `regions.annotation(texts)`"
            )
        if study.patient is None or study.split == "val":
            continue
        first = split_of.setdefault(study.patient, study.split)
        if first != study.split:
            raise UserError(
                f"source {source}: the patient of study {study.id} is in {study.split} and in "
                f"{first}; put all studies of a patient into one split"
            )


def draw(studies: Iterable[Study], count: int | None, seed: int, purpose: str) -> list[Study]:
    """`count` studies without replacement (None = all), sorted by id.

    Each study's place in the draw depends on (seed, purpose, id) alone: a larger draw holds the
    smaller one, and a study that comes or goes leaves the others where they are.
    """

    drawn = sorted(studies, key=lambda study: place(study.id, seed, purpose))[:count]
    return sorted(drawn, key=lambda study: study.id)


def split(studies: Sequence[Study], seed: int, dev_share: float) -> dict[str, list[Study]]:
    """The splits as given, with a seeded share of train moved to dev where none is given, and
    `novel` set on all but the training studies. All studies of a patient stay together.

    A dev study is novel when its report occurs in no training study, a test or val study when it
    occurs in neither train nor dev: dev chooses prompts, so it has been seen. Reports are compared
    word for word, except for white space.
    """
    splits = {name: [study for study in studies if study.split == name] for name in SPLITS}
    train = splits["train"]
    dev = set() if splits["dev"] else draw_share(train, dev_share, seed, "dev")
    splits["train"] = sorted(
        (study for study in train if study.id not in dev), key=lambda study: study.id
    )
    splits["dev"] = [
        study.model_copy(update={"split": "dev"}) for study in train if study.id in dev
    ] + splits["dev"]
    seen = {_words(study) for study in splits["train"]}
    splits["dev"] = _mark_novel(splits["dev"], seen)
    seen |= {_words(study) for study in splits["dev"]}
    return splits | {name: _mark_novel(splits[name], seen) for name in ("test", "val")}


def _words(study: Study) -> str:
    return " ".join(study.report.split())


def _mark_novel(studies: Iterable[Study], seen: set[str]) -> list[Study]:
    marked = (study.model_copy(update={"novel": _words(study) not in seen}) for study in studies)
    return sorted(marked, key=lambda study: study.id)


def describe(source: str, splits: dict[str, list[Study]], incidents: Iterable[Incident]) -> dict:
    """The content of metrics/data.json."""
    counts: dict[str, Counter] = {"repaired": Counter(), "excluded": Counter()}
    for incident in incidents:
        counts[incident.action][incident.kind] += 1
    return {
        "source": source,
        "splits": {name: _describe_split(studies) for name, studies in splits.items()},
        **{action: dict(sorted(kinds.items())) for action, kinds in counts.items()},
    }


def origin(source: Source, params: DataParams) -> Prepared:
    """The content of data/prepared/source.json. UserError: the source's `origin` is not an
    Origin, or is redistributable without a licence.
    """
    if not isinstance(source.origin, Origin):
        raise UserError(
            f"source {params.source}: its `origin` is {type(source.origin).__name__}; make it a "
            f"{Origin.__module__}.Origin"
        )
    if source.origin.redistributable and source.origin.license is None:
        raise UserError(
            f"source {params.source}: its `origin` is redistributable and has no license; name it"
        )
    seeds = {"data.seed": params.seed}
    own = getattr(source.settings, "seed", None)
    if own is not None:
        seeds[f"data.settings.{params.source}.seed"] = own
    return Prepared(**source.origin.model_dump(), source=params.source, seeds=seeds)


def summary(incidents: Iterable[Incident]) -> str:
    """What was excluded and what was repaired, by kind, in one line; "" where nothing was."""
    kinds: dict[str, Counter] = {"excluded": Counter(), "repaired": Counter()}
    for incident in incidents:
        kinds["repaired" if incident.action == "repaired" else "excluded"][incident.kind] += 1
    parts = [
        f"{action} "
        + ", ".join(
            f"{count:,} {kind}"
            for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        )
        for action, counts in kinds.items()
        if counts
    ]
    return "; ".join(parts)


def _describe_split(studies: Sequence[Study]) -> dict:
    references = [study.reference for study in studies if study.reference is not None]
    views = Counter(image.projection for study in studies for image in study.images)
    facts: dict = {
        "studies": len(studies),
        "images": views.total(),
        "without_images": sum(not study.images for study in studies),
        "views": dict(sorted(views.items())),
        "distinct_reports": len({_words(study) for study in studies}),
    }
    if studies and studies[0].novel is not None:
        facts["reports_seen_in_training"] = sum(not study.novel for study in studies)
    if references:
        facts["empty"] = {
            region: sum(not reference[region] for reference in references)
            for region in references[0]
        }
    return facts


def agreement(
    test: Iterable[Study],
    curated: Iterable[Study],
    source: Source | None,
    scored: Sequence[str],
) -> list[Agreement]:
    """How far curators agree on the reports of these test studies. `curated`: all studies with
    references, test included. `source`: where they come from.
    `scored`: the scored regions.
    """
    same_report: dict[str, list[Study]] = defaultdict(list)
    for study in curated:
        if study.reference is not None:
            same_report[_words(study)].append(study)
    numbers: dict[str, int] = {}
    members = []
    for study in test:
        if study.reference is None:
            continue
        others = [
            other.reference
            for other in same_report[_words(study)]
            if other.id != study.id and other.reference is not None
        ]
        members.append(
            Agreement(
                id=study.id,
                report=numbers.setdefault(_words(study), len(numbers)),
                curators=_curators(study.reference, others, scored) if others else None,
                attainable=_attainable(study, source, scored) if source else None,
            )
        )
    return members


def _token_f1(
    references: Sequence[Annotation], others: Sequence[Annotation], scored: Sequence[str]
) -> dict[str, list[float]]:
    """By scored region, the token F1 of each reference with the text most like all of the others;
    none where both are silent.
    """
    found = {}
    for region in scored:
        best = medoid(Counter(other[region] for other in others))
        scores = [token_f1(reference[region], best) for reference in references]
        found[region] = [score for score in scores if score is not None]
    return found


def _curators(
    reference: Annotation, others: Sequence[Annotation], scored: Sequence[str]
) -> dict[str, float | None]:
    found = _token_f1([reference], others, scored)
    return {region: round(scores[0], 4) if scores else None for region, scores in found.items()}


# Redrawn references: the answer is chosen from the first, and held against the others.
_CHOSEN_FROM = 32
_HELD_AGAINST = 32


def _attainable(
    study: Study, source: Source, scored: Sequence[str]
) -> dict[str, tuple[float, int]] | None:
    drawn = source.redraw(study, _CHOSEN_FROM + _HELD_AGAINST)
    if drawn is None:
        return None
    found = _token_f1(drawn[_CHOSEN_FROM:], drawn[:_CHOSEN_FROM], scored)
    return {region: (round(sum(scores), 4), len(scores)) for region, scores in found.items()}
