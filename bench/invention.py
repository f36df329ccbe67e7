"""How much of their texts curators and recorded models invented, how many planted inventions are
found, and what that costs.

    OMP_NUM_THREADS=1 python bench/invention.py ../shared/recorded ../shared/iu-xray

Prints one JSON line. `references`: support of the curators' texts, by collection and split, and
`flipped`: the same with one side, severity or negation changed in each sentence that has one.
`planted`: the share measured where a finding that the report does not state was added to one region
in ten, and the share of the added sentences that were found. `recorded`: support of each model's
answers. Intervals are over studies. `texts_per_second`: region texts on one core, reports included;
`router_ratio`: cases that the router annotates a second with support, over those without.
"""

import csv
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from xraygen import params
from xraygen.annotators.base import Annotator, Project
from xraygen.annotators.load import Checked
from xraygen.annotators.router import choice, router
from xraygen.annotators.router.annotator import RouterAnnotator
from xraygen.core.study import AnnotationRecord, Case, Study
from xraygen.evaluation.support import shares
from xraygen.judges.proxy.findings import read
from xraygen.language.support import Report
from xraygen.language.text import sentences
from xraygen.prompting.json_answer import parse
from xraygen.prompting.region_names import RegionNames
from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.phantom import phantom

ROOT = Path(__file__).parents[1]
SETTINGS = params.load(ROOT / "params.yaml")
PROJECT = Project(ROOT, ROOT, SETTINGS.regions, SETTINGS.llm)
RESAMPLES, SEED = 2000, 0
OPPOSITES = {
    "side": {"left": "right", "right": "left"},
    "severity": {"mild": "severe", "small": "large", "moderate": "mild", "severe": "mild"},
}


class Given(Annotator):
    """Annotations that are given by id."""

    def __init__(self, texts: Mapping[str, dict[str, str]]) -> None:
        super().__init__(SETTINGS.approaches["router"], PROJECT)
        self.texts = texts

    def __call__(self, cases: Iterable[Case]) -> Iterator[AnnotationRecord]:
        for case in cases:
            yield AnnotationRecord(id=case.id, annotation=self.texts.get(case.id))


def measured(studies: list[Study], texts: Mapping[str, dict[str, str]]) -> dict:
    records = list(Checked(Given(texts), share=1)(study.case() for study in studies))
    return shares(records, RESAMPLES, SEED)


def references(studies: list[Study]) -> dict[str, dict[str, str]]:
    return {study.id: study.reference for study in studies if study.reference is not None}


def abnormal(text: str) -> set[str]:
    return {finding.key for said in read(text) for finding in said.findings if finding.positive}


def planted(studies: list[Study]) -> dict:
    """One text in ten with a finding added that another reference has."""
    draw = random.Random(SEED)
    texts = references(studies)
    said = [text for annotation in texts.values() for text in annotation.values()]
    distinct = sorted({sentence for text in said for sentence in sentences(text)})
    pool = [sentence for sentence in distinct if abnormal(sentence)]
    reports = {study.id: study.report for study in studies}
    cells = [
        (id, region)
        for id, annotation in texts.items()
        for region, text in annotation.items()
        if text
    ]
    chosen = draw.sample(cells, len(cells) // 10)
    changed = {id: dict(annotation) for id, annotation in texts.items()}
    found = 0
    for id, region in chosen:
        stated = abnormal(reports[id])
        sentence = draw.choice([one for one in pool if not abnormal(one) & stated])
        found += Report(reports[id]).support(sentence).support == "unsupported"
        changed[id][region] += f" {sentence}"
    share = measured(studies, changed)["unsupported"]
    return {"planted": len(chosen) / len(cells), "measured": share, "found": found / len(chosen)}


def flipped(studies: list[Study]) -> dict:
    """The share of changed sentences that are found to be unsupported, of those that were not."""
    changed: dict[str, list[bool]] = {}
    for study in studies:
        report = Report(study.report)
        for text in (study.reference or {}).values():
            for sentence in sentences(text):
                if report.support(sentence).support == "unsupported":
                    continue
                for kind, other in flips(sentence):
                    is_found = report.support(other).support == "unsupported"
                    changed.setdefault(kind, []).append(is_found)
    return {kind: statistics.fmean(found) for kind, found in sorted(changed.items())}


def flips(sentence: str) -> Iterator[tuple[str, str]]:
    lower = sentence.lower()
    for kind, opposites in OPPOSITES.items():
        words = rf"\b({'|'.join(opposites)})\b"
        other = re.sub(words, lambda match, by=opposites: by[match[1]], lower)
        if other != lower and not re.search(r"\b(?:no|not|without|or)\b", lower):
            yield kind, other
    if bare := re.fullmatch(r"(?:there (?:is|are) )?no (?!focal|large|acute)(.*)", lower):
        yield "negation", f"there is {bare[1]}"


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def recorded(folder: Path, studies: list[Study]) -> dict:
    names = RegionNames(SETTINGS.regions)
    by_id = {study.id: study for study in studies}
    result = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = {row["id"]: row for row in csv.DictReader(file) if "id" in row}
        columns = next(iter(rows.values()), {}).keys()
        for column in (column for column in columns if column.startswith("response")):
            texts = {}
            for id, row in rows.items():
                try:
                    texts[id], _ = parse(row[column], names)
                except ValueError:
                    continue
            members = [by_id[id] for id in texts if id in by_id]
            result[f"{path.stem} {column}"] = measured(members, texts)
    return result


def texts_per_second(studies: list[Study]) -> float:
    texts = references(studies)
    start = time.process_time()
    count = 0
    for study in studies:
        report = Report(study.report)
        for text in texts[study.id].values():
            report.support(text)
            count += bool(text)
    return count / (time.process_time() - start)


def router_ratio(train: list[Study]) -> float:
    """Median of five, each with reports that neither side has seen."""
    approach = SETTINGS.approaches["router"]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        model = router.fit(train, SETTINGS.fit_router, SETTINGS.regions)
        model.save(Path(folder) / approach.reads)
        project = PROJECT._replace(root=Path(folder))
        for run in range(5):
            first = 10**9 + 2000 * run
            cases = [Case(id=str(k), report=phantom(0, first + k).report) for k in range(2000)]
            seconds = []
            for checked in (False, True):
                plain = RouterAnnotator(approach, project)
                annotate = Checked(plain, share=1) if checked else plain
                choice.tokens_of.cache_clear()
                start = time.process_time()
                for _ in annotate(cases):
                    pass
                seconds.append(time.process_time() - start)
            ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)


def main(answers: str, collection: str) -> None:
    folder = Path(collection).resolve()
    studies = iu_xray.read(folder, folder, SETTINGS.regions).studies
    sets = {
        f"iu-xray {split}": [study for study in studies if study.split == split]
        for split in ("train", "test")
    }
    drawn = [phantom(0, 10**8 + k) for k in range(2000)]
    sets["phantom"] = [
        Study(id=m.id, uid=m.uid, split="test", report=m.report, reference=m.reference)
        for m in drawn
    ]
    result = {
        "references": {name: measured(some, references(some)) for name, some in sets.items()},
        "flipped": {name: flipped(some) for name, some in sets.items()},
        "planted": {name: planted(some) for name, some in sets.items()},
        "recorded": recorded(Path(answers), studies),
        "texts_per_second": round(texts_per_second(sets["iu-xray train"])),
        "router_ratio": router_ratio(sets["phantom"][:900]),
    }
    print(json.dumps(rounded(result)))


if __name__ == "__main__":
    main(*sys.argv[1:])
