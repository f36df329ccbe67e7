"""Phantom studies: drawn, worded and annotated by a seeded generator, in any number, without
download or licence.

Study k of a seed depends on (seed, k) alone. Each split counts k from its own start, so that
adding training studies leaves the test studies unchanged.
"""

import contextlib
import hashlib
import io
import multiprocessing
import os
import signal
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from xraygen.core.errors import UserError
from xraygen.core.files import replacing
from xraygen.core.origin import Origin
from xraygen.core.progress import progress
from xraygen.core.regions import Regions
from xraygen.core.study import Image, Record, Study
from xraygen.sources import Collection, Source
from xraygen.sources.phantom.curators import curate
from xraygen.sources.phantom.filing import FILINGS, FIVE, Filing
from xraygen.sources.phantom.findings import Findings, sample
from xraygen.sources.phantom.wording import statements

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FIRST = {"train": 0, "test": 10**9, "val": 2 * 10**9}
_MOST_STUDIES = 10**9 - 1


class PhantomSettings(Record):
    """`train`, `test`, `val`: number of studies. `size`: side of each view in pixels, a multiple of
    28 (Qwen2-VL's patch).
    """

    train: Annotated[PositiveInt, Field(le=_MOST_STUDIES)] = 1000
    test: Annotated[PositiveInt, Field(le=_MOST_STUDIES)] = 300
    val: Annotated[NonNegativeInt, Field(le=_MOST_STUDIES)] = 100
    size: Annotated[int, Field(ge=112, le=1120, multiple_of=28)] = 224
    seed: NonNegativeInt = 0


class Phantom(Record):
    """A study without its pictures. `findings`: the ground truth that pictures and text are made
    from.
    """

    id: str
    uid: str
    findings: Findings
    report: str
    reference: dict[str, str]


def filing_of(regions: Regions) -> Filing:
    """How curators file statements under these regions."""
    return next(filing for filing in FILINGS if set(filing.names) == set(regions))


def phantom(seed: int, k: int, filing: Filing = FIVE) -> Phantom:
    """Study k of a seed. Its findings, pictures and report are the same in every filing."""
    rng = Random(f"phantom {seed} {k}")  # a string is hashed by SHA-512, whatever PYTHONHASHSEED is
    findings = sample(rng)
    sentences = statements(findings, rng)
    return Phantom(
        id=f"PH{k:010d}",
        uid=str(k),
        findings=findings,
        report=" ".join(statement.text for statement in sentences),
        reference=curate(sentences, rng, filing),
    )


def redrawn(seed: int, k: int, times: int, filing: Filing = FIVE) -> list[dict[str, str]]:
    """References that further curators would make of the report of study k, independent of its own
    reference and of each other.
    """
    rng = Random(f"phantom {seed} {k}")
    sentences = statements(sample(rng), rng)
    curators = [Random(f"curator {seed} {k} {number}") for number in range(times)]
    return [curate(sentences, curator, filing) for curator in curators]


def draw(
    findings: Findings, seed: int, k: int, size: int
) -> "tuple[NDArray[np.uint8], NDArray[np.uint8]]":
    """(frontal, lateral), each uint8 (size, size). Anatomy, position and film depend on (seed, k)
    alone, whatever the findings.
    """
    from xraygen.sources.phantom.frontal import draw_frontal
    from xraygen.sources.phantom.lateral import draw_lateral

    return draw_frontal(findings, seed, k, size), draw_lateral(findings, seed, k, size)


class Phantoms(Source):
    Settings: ClassVar = PhantomSettings
    settings: PhantomSettings
    region_sets: ClassVar = tuple(filing.names for filing in FILINGS)
    origin = Origin(
        title="generated phantom studies",
        license="Apache-2.0",
        redistributable=True,
        language="en",
        generated=True,
    )

    def read(self, raw: Path, images: Path, root: Path) -> Collection:
        return read(self.settings, images, root, self.regions)

    def redraw(self, study: Study, times: int) -> list[dict[str, str]]:
        return redrawn(self.settings.seed, int(study.uid), times, filing_of(self.regions))


def read(params: PhantomSettings, images: Path, root: Path, regions: Regions) -> Collection:
    """Generate all studies, sorted by id; the views go to `images`, which must lie below `root`.
    Val has no references.
    """
    images = Path(os.path.abspath(images))
    root = Path(os.path.abspath(root))
    if not images.is_relative_to(root):
        raise UserError(
            f"{images}: lies outside {root}, to which image paths are relative; name a folder in it"
        )
    jobs = [
        (split, first + n) for split, first in _FIRST.items() for n in range(getattr(params, split))
    ]
    make = partial(_study, params=params, images=images, root=root, regions=regions)
    processes = min(_cores(), len(jobs) // 16)
    with contextlib.ExitStack() as stack:
        made: Iterator[Study] = map(make, jobs)
        if processes > 1:
            # Spawned rather than forked: a fork would copy locks that the caller's threads hold.
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(context.Pool(processes, _ignore_interrupt))
            made = pool.imap(make, jobs, chunksize=8)
        studies = list(progress(made, "draw", "studies", total=len(jobs)))
    return Collection(sorted(studies, key=lambda study: study.id), [])


def _cores() -> int:
    """Cores that this process may use, which under taskset or in a container are fewer than the
    machine has.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process; the parent ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _study(
    job: tuple[str, int], params: PhantomSettings, images: Path, root: Path, regions: Regions
) -> Study:
    split, k = job
    made = phantom(params.seed, k, filing_of(regions))
    drawn = draw(made.findings, params.seed, k, params.size)
    views = []
    for projection, pixels in zip(("frontal", "lateral"), drawn, strict=True):
        data = _png(pixels)
        path = images / f"{made.id}-{projection}.png"
        with replacing(path, "wb") as file:
            file.write(data)
        name = path.relative_to(root).as_posix()
        digest = hashlib.sha256(data).hexdigest()
        views.append(Image(path=name, projection=projection, sha256=digest))
    reference = None if split == "val" else regions.annotation(made.reference)
    return Study(
        id=made.id,
        uid=made.uid,
        split=split,
        report=made.report,
        images=tuple(views),
        reference=reference,
    )


def _png(pixels: "NDArray[np.uint8]") -> bytes:
    from PIL import Image as Picture

    file = io.BytesIO()
    # Without search for repeats, which differs between builds of zlib: the bytes have to be the
    # same everywhere.
    Picture.fromarray(pixels).save(file, "PNG", compress_type=zlib.Z_HUFFMAN_ONLY)
    return file.getvalue()
