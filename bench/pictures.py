"""Do the pictures count? The small model is fine-tuned to write the findings of phantom studies
from their pictures alone.

    python bench/pictures.py [--train 2500] [--test 600] [--model models/tiny-qwen2-vl]

Settings of params.yaml with `inputs: image`, two passes in batches of 4,096 tokens. Prints one JSON
line: the share of test studies whose annotation has the right heart size (of five), mediastinal
width, and effusion, pneumothorax, consolidation and nodule (present or not, and the side); the same
when every study is shown the pictures of another, and then, of the studies in which the two differ,
the share whose annotation has the value of the study that was shown, next to what the references of
those say of it (`attainable`); and the share that the best constant answer gets right.
"""

import argparse
import contextlib
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xraygen import params
from xraygen.annotators.base import Project
from xraygen.annotators.vlm import Vlm
from xraygen.core.errors import one_line
from xraygen.core.study import Annotation, Case, Study
from xraygen.judges.proxy.findings import Finding, read
from xraygen.sources import phantom
from xraygen.sources.phantom.findings import Findings
from xraygen.training.finetune import finetune
from xraygen.training.params import FinetuneParams

SIDED = ("effusion", "pneumothorax", "consolidation", "nodule")
FIELDS = ("heart", "mediastinum", *SIDED)
ROOT = Path(__file__).parents[1]
_BORDERLINE = re.compile(r"borderline|upper limits? of normal", re.IGNORECASE)
_GRADE = re.compile(r"\b(mild|moderate|severe)(ly)?\b")
_OTHER = re.compile(
    r"atelecta|interstitial|nodul|granuloma|nodule", re.IGNORECASE
)  # what opacities may be, other than consolidation


def truth(findings: Findings) -> tuple[str | None, ...]:
    """The values of FIELDS."""
    sided = (getattr(findings, name) for name in SIDED)
    return findings.heart, findings.mediastinum, *(value.side if value else None for value in sided)


def said(annotation: Annotation | None) -> tuple[str | None, ...]:
    """The values of FIELDS that an annotation states, as the judge's reader reads it; what it does
    not name is normal.
    """
    if annotation is None:
        return ("failed",) * len(FIELDS)
    found: dict[str, list[tuple[Finding, str]]] = {}
    for region in annotation:
        for sentence in re.split(r"(?<=[.;])\s+", annotation[region]):
            for finding in (
                finding
                for statement in read(sentence)
                for finding in statement.findings
                if finding.positive
            ):
                found.setdefault(_name(finding.key, sentence), []).append((finding, sentence))
    heart = "normal"
    for _, sentence in found.get("heart", ()):
        grade = _GRADE.search(sentence.lower())
        heart = "borderline" if _BORDERLINE.search(sentence) else grade[1] if grade else "unsaid"
    sides = (_side([finding for finding, _ in found.get(name, ())]) for name in SIDED)
    return heart, "wide" if "mediastinum" in found else "normal", *sides


def _name(key: str, sentence: str) -> str:
    if key == "nodular opacity":
        return "nodule"
    return "consolidation" if key == "opacity" and not _OTHER.search(sentence) else key


def _side(findings: Sequence[Finding]) -> str | None:
    side = 0
    for finding in findings:
        side |= finding.side
    return ("unsaid", "left", "right", "both")[side] if findings else None


def shares(
    studies: Sequence[Study], annotations: Sequence[Annotation | None], seed: int
) -> dict[str, float]:
    pairs = [
        (truth(phantom.phantom(seed, int(study.uid)).findings), said(given))
        for study, given in zip(studies, annotations, strict=True)
    ]
    columns = ([real == given for real, given in zip(*pair, strict=True)] for pair in pairs)
    return {
        name: round(sum(right) / len(pairs), 4)
        for name, right in zip(FIELDS, zip(*columns, strict=True), strict=True)
    }


def constant(studies: Sequence[Study], seed: int) -> dict[str, float]:
    """The share of the commonest value of each field."""
    values = zip(
        *(truth(phantom.phantom(seed, int(study.uid)).findings) for study in studies), strict=True
    )
    return {
        name: round(Counter(column).most_common(1)[0][1] / len(studies), 4)
        for name, column in zip(FIELDS, values, strict=True)
    }


def shuffled(cases: Sequence[Case]) -> list[Case]:
    """Every case with the pictures of the next."""
    return [
        case.model_copy(update={"images": other.images})
        for case, other in zip(cases, [*cases[1:], cases[0]], strict=True)
    ]


def followed(
    studies: Sequence[Study],
    annotations: Sequence[Annotation | None],
    seed: int,
) -> dict[str, float]:
    """`annotations`: of each study with the pictures of the next. The share that has the value of
    the next, of the studies in which it differs.
    """
    real = [truth(phantom.phantom(seed, int(study.uid)).findings) for study in studies]
    shown = [*real[1:], real[0]]
    given = [said(annotation) for annotation in annotations]
    found = {}
    for place, name in enumerate(FIELDS):
        differ = [row for row in range(len(real)) if real[row][place] != shown[row][place]]
        right = sum(given[row][place] == shown[row][place] for row in differ)
        found[name] = round(right / len(differ), 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=int, default=2500)
    parser.add_argument("--test", type=int, default=600)
    parser.add_argument("--model", type=Path, default=ROOT / "models/tiny-qwen2-vl")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of finetune"
    )
    arguments = parser.parse_args()
    settings = params.load(ROOT / "params.yaml")
    changed = {
        name: json.loads(value)
        for name, _, value in (text.partition("=") for text in arguments.set)
    }
    changed = {
        "inputs": "image",
        "epochs": 2,
        "max_batch_tokens": 4096,
        "base": str(arguments.model.resolve()),
    } | changed
    tuning = FinetuneParams.model_validate(settings.finetune.model_dump() | changed)
    drawn = settings.data.settings["phantom"].model_copy(
        update={"train": arguments.train, "test": arguments.test, "val": 0}
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        root = Path(folder)
        studies = phantom.read(drawn, root / "images", root, settings.regions).studies
        train, test = (
            [study for study in studies if study.split == split] for split in ("train", "test")
        )
        start = time.perf_counter()
        trained = finetune(
            tuning, train[100:], train[:100], root, root / "adapter", root / "curves"
        )
        tuned = time.perf_counter() - start
        asked = {
            name: getattr(tuning, name) for name in ("inputs", "prompt", "max_views", "max_pixels")
        }
        approach = settings.approaches["vlm-finetuned"].model_copy(
            update=asked | {"reads": str(root / "adapter")}
        )
        annotate = Vlm(approach, Project(root, root, settings.regions, settings.llm))
        cases = [study.case() for study in test]
        start = time.perf_counter()
        right = [record.annotation for record in annotate(cases)]
        wrong = [record.annotation for record in annotate(shuffled(cases))]
    result = {
        "train": len(train),
        "test": len(test),
        "right": shares(test, right, drawn.seed),
        "shuffled": shares(test, wrong, drawn.seed),
        "followed": followed(test, wrong, drawn.seed),
        "attainable": followed(
            test, [study.reference for study in [*test[1:], test[0]]], drawn.seed
        ),
        "constant": constant(test, drawn.seed),
        "read_from_references": shares(test, [study.reference for study in test], drawn.seed),
        "precision": trained["speed"]["precision"],
        "finetune_seconds": round(tuned, 1),
        "annotate_seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    with one_line():
        main()
