"""What people write into the cells of a table: names of splits, views, lists of images."""

import json

from xraygen.core.dicom import projection_of
from xraygen.core.tables import has_no_value
from xraygen.sources.table.images import View

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "development": "dev",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "val": "val",
    "test": "test",
    "testing": "test",
}


def read_split(cell: object) -> str | None:
    """train, dev, test or val; None for anything else."""
    return SPLIT_WORDS.get(cell.strip().casefold()) if isinstance(cell, str) else None


def read_list(cell: object) -> list:
    """The members of a cell: a list, JSON of one, text with ";" or "|" between, or one value."""
    if has_no_value(cell):
        return []
    if isinstance(cell, str) and cell.strip().startswith("["):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return [cell]
    if isinstance(cell, str):
        return [part.strip() for part in cell.replace("|", ";").split(";") if part.strip()]
    return cell if isinstance(cell, list) else [cell]


def understands_projection(cell: object) -> bool:
    """Whether this is a projection, or says that it is unknown."""
    unknown = isinstance(cell, str) and cell.strip().casefold() == "unknown"
    return unknown or has_no_value(cell) or projection_of(cell) != "unknown"


def read_views(images: object, projections: object) -> tuple[tuple[View, ...], bool]:
    """The images of a row, and whether every projection that is given for one was understood.

    `images`: paths, or objects with `path` and `projection`. `projections`: one for all images, or
    one for each.
    """
    named = [image for image in read_list(images) if not has_no_value(image)]
    given = read_list(projections)
    if len(given) == 1:
        given = given * len(named)
    understood = not given or not named or len(given) == len(named)
    if len(given) != len(named):
        given = [None] * len(named)
    views = []
    for image, projection in zip(named, given, strict=True):
        if isinstance(image, dict):
            projection = image.get("projection", projection)
            image = image.get("path")
        understood = understood and understands_projection(projection)
        # Anything else leads to no file, and is excluded as an image that is missing.
        path = image if isinstance(image, str) else repr(image)
        views.append(View(path, projection_of(projection)))
    return tuple(views), understood
