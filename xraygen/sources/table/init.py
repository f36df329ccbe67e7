"""`xraygen init FILE`: from a table of the user's to a project that compares approaches on it.

What is inferred is first tried: the table is read with it where it lies. Then the table and its
images are brought into data/raw/table, and params.yaml is replaced, so that a run that fails or is
killed leaves the project's settings as they were. Last go the results of approaches that do.
"""

import contextlib
import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from xraygen.core.errors import UserError
from xraygen.core.files import replacing
from xraygen.core.json_lines import first_problem
from xraygen.core.regions import Regions
from xraygen.core.study import Study
from xraygen.core.tables import has_no_value, read_rows
from xraygen.sources import Incident, prepare
from xraygen.sources.groups import fewest
from xraygen.sources.table.edit import edited
from xraygen.sources.table.infer import Columns, infer
from xraygen.sources.table.table import Table, TableSettings, UnfitSetting

RAW = Path("data/raw/table")
# Of the approaches that ship, those that are about the regions or models of the data that ships.
DROPPED = ("vlm-base", "vlm-finetuned", "examples", "rules", "nearest")
_MANY = 1000
_FEW = 20


class Result(NamedTuple):
    rows: int
    columns: Columns
    settings: TableSettings
    regions: Regions
    studies: list[Study]
    incidents: list[Incident]
    splits: dict[str, list[Study]]
    notes: list[str]


def init(
    file: Path,
    given: Mapping[str, str],
    reference: Sequence[str],
    data: prepare.DataParams,
    approaches: Collection[str],
    root: Path,
    check: Callable[[str], object],
    force: bool = False,
) -> str:
    """Set the project in `root` up for `file`; returns what was inferred, in lines.

    `given`: columns that the user names, by purpose; `reference`: those of the reference. `data`:
    the section of params.yaml; `approaches`: the names in the other. `check`: raises UserError for
    a text of params.yaml that cannot be loaded. UserError: the file cannot be understood, the
    project is set up for a table and `force` is not given, or an approach does not fit the regions.
    """
    if "table" in data.settings and not force:
        raise UserError(
            "params.yaml: data.settings.table is there already; edit it, or replace it and the "
            "regions with --force"
        )
    result = _try_out(file, given, reference, data)
    raw = root / RAW
    in_place = file.resolve().is_relative_to(raw.resolve())
    if in_place:
        where = file.resolve().relative_to(raw.resolve()).as_posix()
        settings = result.settings.model_copy(update={"file": where})
        result = result._replace(settings=settings)
    first = data.source != "table"
    dropped = [name for name in DROPPED if name in approaches] if first else []
    path = root / "params.yaml"
    text = path.read_text(encoding="utf-8")
    text, changes = edited(text, result.settings, result.regions, dropped, first)
    try:
        check(text)
    except UserError as error:
        raise UserError(
            f"{error}; nothing was written. Take what names other regions out of params.yaml, run "
            "init, and put it back with the new ones"
        ) from None
    if not in_place:
        target = raw / file.name
        if target.exists() and not filecmp.cmp(file, target, shallow=False) and not force:
            raise UserError(f"{target}: is there already and differs; replace it with --force")
        images = {image.path for study in result.studies for image in study.images}
        for name in sorted(images):
            _bring(file.parent / name, raw / name, link=True)
        _bring(file, target, link=False)
    with replacing(path) as written:
        written.write(text)
    removed = _remove_results(dropped, root)
    return "\n".join(_report(file, result, changes, removed))


def _try_out(
    file: Path, given: Mapping[str, str], reference: Sequence[str], data: prepare.DataParams
) -> Result:
    if not file.is_file():
        raise UserError(f"{file}: not a file; name a .csv, .tsv, .jsonl or .parquet file")
    rows = [row for _, row in read_rows(file, tuple(given.values()), damaged=lambda *_: None)]
    rows = [row for row in rows if not all(map(has_no_value, row.values()))]
    try:
        columns = infer(rows, given, reference)
        about = {name: {"about": f"what it says about {name}"} for name in columns.regions}
        regions = Regions.model_validate(about)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except ValidationError as error:
        raise UserError(f"{file}: a region's name cannot be used: {first_problem(error)}") from None
    settings = TableSettings(
        file=file.name,
        id=columns.id,
        report=columns.report,
        images=columns.images,
        projection=columns.projection,
        patient=columns.patient,
        split=columns.split,
        reference=columns.reference,
        seed=data.seed,
    )
    notes = list(columns.notes)
    while True:
        try:
            table = Table(settings, regions)
            studies, incidents = table.read(file.parent, file.parent, file.parent)
            break
        except UnfitSetting as error:
            # A guess that does not hold is given up, and said so; what the user named is not.
            purpose = error.setting
            if purpose in given or getattr(settings, purpose) is None:
                raise
            column = getattr(settings, purpose)
            notes.append(f"{purpose}: '{column}' is not used: {error}")
            without = ("images", "projection") if purpose == "images" else (purpose,)
            settings = settings.model_copy(update=dict.fromkeys(without))
            columns = columns._replace(ignored=(*columns.ignored, column))
    splits = prepare.split(studies, data.seed, data.dev_share)
    _refuse_no_dev(file, splits, data.dev_share)
    sizes = {name: len(splits[name]) for name in ("dev", "test")}
    if min(sizes.values()) < _FEW:
        notes.append(
            f"splits: with {sizes['dev']:,} in dev and {sizes['test']:,} in test, only large "
            f"differences between approaches can be detected; aim for at least {_FEW} in each"
        )
    if columns.patient is None:
        notes.append("patient: none; if studies share patients, name the column with --patient")
    gaps = sum(one.kind == "patient_missing" for one in incidents)
    if gaps and "patient" not in given:
        notes.append(
            f"patient: '{columns.patient}' is a guess, and empty in {gaps:,} rows with a "
            "reference, which are excluded; name another column with --patient, or set "
            "patient: null in data.settings.table to use them"
        )
    asked = len(splits["dev"]) + len(splits["test"])
    if asked > _MANY:
        notes.append(
            f"dev and test: brief is asked about {asked:,} studies, which takes the small model "
            "minutes and a server money; data.sample in params.yaml limits them"
        )
    count = len(rows) + sum(one.kind == "row_malformed" for one in incidents)
    return Result(count, columns, settings, regions, studies, incidents, splits, notes)


def _refuse_no_dev(file: Path, splits: Mapping[str, list[Study]], share: float) -> None:
    """UserError: dev got nothing of train, and the release could not choose an approach."""
    train = splits["train"]
    if splits["dev"]:
        return
    raise UserError(
        f"{file}: no study is left for dev: train has {len(train):,} with a reference, and "
        f"data.dev_share is {share}; add some, so that train has at least {fewest(share)}, of two "
        "patients or more"
    )


def _bring(source: Path, target: Path, link: bool) -> None:
    """Copy a file, or where the file system can, make `target` another name of it: images take
    room, and are not edited in place as a table is.
    """
    if target.exists() and filecmp.cmp(source, target, shallow=False):
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (link and _is_linked(source, part)):
            shutil.copyfile(source, part)
        os.replace(part, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _is_linked(source: Path, target: Path) -> bool:
    try:
        os.link(source.resolve(), target)
    except OSError:
        return False
    return True


def _remove_results(dropped: Iterable[str], root: Path) -> list[str]:
    """Of approaches that are left out, because `compare` refuses what is left of them; returns
    what there was, below `root`.
    """
    removed = []
    for name in dropped:
        for folder in ("data/annotations", "data/judgements"):
            if (root / folder / name).is_dir():
                shutil.rmtree(root / folder / name, ignore_errors=True)
                removed.append(f"{folder}/{name}")
        for folder in ("metrics/scores", "metrics/usage"):
            if (root / folder / f"{name}.json").exists():
                (root / folder / f"{name}.json").unlink()
                removed.append(f"{folder}/{name}.json")
    return removed


def _report(
    file: Path, result: Result, changes: Sequence[str], removed: Sequence[str]
) -> Iterable[str]:
    settings, studies = result.settings, result.studies
    patients = len({study.patient for study in studies if study.patient})
    of_patients = f" of {patients:,} patients" if patients else ""
    yield f"{file}: {result.rows:,} rows, {len(studies):,} studies{of_patients}"
    yield f"  id          {settings.id}"
    also = f" (it might also be: {', '.join(result.columns.also)})" if result.columns.also else ""
    yield f"  report      {settings.report}{also}"
    images = sum(len(study.images) for study in studies)
    yield f"  images      {f'{settings.images}: {images:,} images' if settings.images else 'none'}"
    if settings.projection:
        yield f"  projection  {settings.projection}"
    yield f"  patient     {settings.patient or 'none'}"
    drawn = f"drawn by {'patient' if settings.patient else 'study'}"
    yield f"  split       {settings.split or drawn}"
    reference = settings.reference
    columns = [reference] if isinstance(reference, str) else list(reference.values())
    yield f"  reference   {', '.join(columns)}"
    ignored = ", ".join(name or "(a column without a name)" for name in result.columns.ignored)
    yield f"  ignored     {ignored or 'no column'}"
    yield f"  regions     {_coverage(studies, result.regions)}"
    counts = [f"{name} {len(members):,}" for name, members in result.splits.items()]
    yield f"  splits      {', '.join(counts)} (val: no reference; `release` annotates these)"
    kinds = Counter((one.action, one.kind) for one in result.incidents)
    for action in ("repaired", "excluded"):
        found = [f"{count:,} {kind}" for (what, kind), count in kinds.items() if what == action]
        if found:
            yield f"  {action}    {', '.join(found)}"
    for note in result.notes:
        yield f"note: {note}"
    for change in changes:
        yield f"params.yaml: {change}"
    if removed:
        yield f"removed, as these approaches are left out: {', '.join(removed)}"
    yield "Next: correct in params.yaml what was guessed wrong, and run: dvc repro"


def _coverage(studies: Iterable[Study], regions: Regions) -> str:
    references = [study.reference for study in studies if study.reference is not None]
    shares = []
    for region in regions:
        said = sum(bool(reference[region].strip()) for reference in references)
        shares.append(f"{region} {said / len(references):.0%}")
    return f"{', '.join(shares)} of {len(references):,} references"
