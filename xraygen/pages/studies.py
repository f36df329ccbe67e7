"""reports/studies: every test study with what each approach said of it, in scripts of PAGE studies
that a page loads from disk as they are needed, an index of them all, and small pictures.

docs/report.md has the format. Files are named by the number of a study, never by an id from data.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from xraygen.core.files import replacing_folder
from xraygen.core.regions import Regions
from xraygen.core.study import Study
from xraygen.pages import as_json, pictures
from xraygen.pages.answered import Answer, Answers, merged
from xraygen.pages.study_json import VERDICTS, content, row

PAGE = 50  # studies in a file

Member = tuple[Study, list[Answer]]


class Written(NamedTuple):
    """`unreadable`: why pictures could not be read, one reason for each."""

    studies: int
    unreadable: list[str]


def files(studies: int) -> dict:
    """Where a page finds this number of studies, seen from the folder that has `studies`."""
    pages = [f"studies/{_page_name(number)}" for number in range(-(-studies // PAGE))]
    return {"files": {"index": "studies/index.js", "pages": pages}, "page": PAGE}


def _page_name(number: int) -> str:
    return f"{number:04d}.js"


def write(
    folder: Path,
    studies: Iterable[Study],
    answers: Mapping[str, Answers],
    regions: Regions,
    alpha: float,
    root: Path,
) -> Written:
    """Replace `folder`, which the page expects to be named `studies`. `studies`, and `answers` by
    approach, may be streams: a page of them is in memory at a time. `root`: what the paths of
    pictures are relative to.

    UserError: the answers are not those to the studies; then `folder` is left as it was.
    """
    head = {
        "approaches": list(answers),
        "regions": list(regions.names),
        "scored": list(regions.scored),
        "verdicts": list(VERDICTS),
        "alpha": alpha,
    }
    stream = merged(studies, answers, regions.scored)
    count = 0
    unreadable: list[str] = []
    with replacing_folder(folder) as new:
        (new / "pictures").mkdir(parents=True)
        with (new / "index.js").open("w", encoding="utf-8", newline="") as index:
            index.write(f'xraygen.index({as_json(head)[:-1]},"studies":[')
            while members := list(islice(stream, PAGE)):
                shown = _pictures(count, members, root, new / "pictures", unreadable)
                _write_page(new, count // PAGE, members, shown, regions)
                rows = (as_json(row(*member, regions)) for member in members)
                index.write(("," if count else "") + "\n" + ",\n".join(rows))
                count += len(members)
            index.write("\n]});\n")
    return Written(count, unreadable)


def _write_page(
    folder: Path,
    number: int,
    members: Sequence[Member],
    shown: Sequence[Sequence[dict]],
    regions: Regions,
) -> None:
    texts = (
        as_json(content(*member, views, regions))
        for member, views in zip(members, shown, strict=True)
    )
    script = f"xraygen.page({number},[\n" + ",\n".join(texts) + "\n]);\n"
    (folder / _page_name(number)).write_text(script, encoding="utf-8", newline="")


def _pictures(
    first: int, members: Sequence[Member], root: Path, folder: Path, unreadable: list[str]
) -> list[list[dict]]:
    """Of each study, its pictures, which are copied to `folder`; reasons why one cannot be read are
    added to `unreadable`. `first`: the number of the first study.
    """
    shown = []
    for number, (study, _) in enumerate(members, first):
        views = []
        for view, image in enumerate(study.images):
            name = f"{number:05d}-{view}.webp"
            copied = pictures.copy(root / image.path, folder / name)
            if isinstance(copied, str):
                unreadable.append(copied)
                src, width, height = None, None, None
            else:
                src = f"studies/pictures/{name}"
                width, height = copied
            views.append(
                {"src": src, "projection": image.projection, "width": width, "height": height}
            )
        shown.append(views)
    return shown
