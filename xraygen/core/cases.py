"""Cases to annotate and pairs to judge, from the rows of a file that a user brings."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from pydantic import ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem
from xraygen.core.study import Case
from xraygen.core.tables import has_no_value, is_empty, read_rows, text_of_id

_PICTURE_NAME = re.compile(
    r"(?:.*[_ -])?(?:image|img|picture|photo|x-?ray|radiograph)s?"
    r"[_ -]?(?:(?:path|file|name|filename|url|list)s?)?",
    re.IGNORECASE,
)
_PICTURE_FILE = re.compile(
    r".*\.(?:png|jpe?g|tiff?|bmp|gif|webp|jp2|dcm|dicom)", re.IGNORECASE | re.DOTALL
)


MAX_TEXT = 50_000  # characters of a report, reference or candidate that others send
CASE = ("id", "report"), ("images",)  # columns: needed, optional
PAIR = ("reference", "candidate"), ("completion",)


def read_cases(path: Path, pictures: bool = False) -> Iterator[Case]:
    """Cases from the columns id, report and, optionally, images. All other columns are ignored,
    references included.

    images: in JSON Lines a list of paths or of {"path", "projection"}, in a table paths separated
    by ";". Paths are relative to the file's folder and may not leave it. A report that is null, NaN
    or a word for these is empty. `pictures`: the images will be used, so that pictures in a column
    of another name are a UserError.
    """
    for number, row in read_rows(path, *CASE):
        if not is_empty(row):
            yield case_of(row, f"{path}:{number}", pictures)


def case_of(row: dict, where: str, pictures: bool = False) -> Case:
    """The case in a row, see `read_cases`. UserError: it is none."""
    images = [] if has_no_value(row.get("images")) else row["images"]
    if not isinstance(images, str | list):
        raise UserError(f"{where}: not a case: images: not a list")
    if isinstance(images, str):
        images = [name.strip() for name in images.split(";") if name.strip()]
    if pictures and not images and (name := _picture_column(row)):
        raise UserError(f"{where}: pictures are in the column '{name}'; rename it to images")
    if has_no_value(row["id"]):
        raise UserError(f"{where}: not a case: no id")
    images = [image for image in images if not has_no_value(image)]
    images = [{"path": image} if isinstance(image, str) else image for image in images]
    report = "" if has_no_value(row["report"]) else row["report"]
    fields = {"id": text_of_id(row["id"]), "report": report, "images": images}
    try:
        case = Case.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{where}: not a case: {first_problem(error)}") from None
    for image in case.images:
        if _leaves_its_folder(image.path):
            raise UserError(
                f"{where}: image path {image.path!r} leaves the folder of the file; "
                "use a path below it"
            )
    return case


def _leaves_its_folder(path: str) -> bool:
    pure = PurePosixPath(path.replace("\\", "/"))
    return pure.is_absolute() or ".." in pure.parts or bool(PureWindowsPath(path).drive)


def _picture_column(row: dict) -> str | None:
    """A column with pictures: its cell is the name of a picture file, or the column is named for
    pictures and its cell is not a text of several words.
    """
    for name, value in row.items():
        if name == "images" or has_no_value(value) or value == []:
            continue
        first = value[0] if isinstance(value, list) else value
        first = first.get("path") if isinstance(first, dict) else first
        if looks_like_a_picture(first):
            return name
        several_words = isinstance(first, str) and len(first.split()) > 1
        if _PICTURE_NAME.fullmatch(name) and not several_words:
            return name
    return None


def looks_like_a_picture(path: object) -> bool:
    """Whether this is the name of a picture file."""
    return isinstance(path, str) and _PICTURE_FILE.fullmatch(path.strip()) is not None


def id_of(row: dict) -> str | None:
    """The id of a row that is no case; None = it has none."""
    id = text_of_id(row.get("id"))
    return None if has_no_value(id) or not isinstance(id, str) else id


def refuse_long(name: str, text: str, where: str) -> None:
    """UserError: the text has more than `MAX_TEXT` characters."""
    if len(text) > MAX_TEXT:
        problem = f"{name} has {len(text):,} characters; at most {MAX_TEXT:,} are taken"
        raise UserError(f"{where}: {problem}")


def read_pairs(path: Path, *more: str) -> list[dict]:
    """Rows with at least the columns `reference`, `candidate` and `more`. Reference, candidate and
    `completion` are text; null = empty.
    """
    needed, optional = PAIR
    rows = read_rows(path, (*needed, *more), optional)
    return [pair_of(row, f"{path}:{number}") for number, row in rows]


def pair_of(row: dict, where: str) -> dict:
    """The row with its texts, see `read_pairs`. UserError: one is not text."""
    named = ("reference", "candidate", "completion")
    texts = {name: row[name] for name in named if name in row}
    for name, text in texts.items():
        if name != "completion" and has_no_value(text) or text is None:
            texts[name] = ""
        elif not isinstance(text, str):
            raise UserError(f"{where}: {name} has to be text")
    return row | texts
