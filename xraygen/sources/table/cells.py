"""What people write into the cells of a table: names of splits, views, lists of images."""

import json

from xraygen.core.study import Projection
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
PROJECTION_WORDS: dict[str, Projection] = {
    "frontal": "frontal",
    "pa": "frontal",
    "ap": "frontal",
    "posteroanterior": "frontal",
    "anteroposterior": "frontal",
    "lateral": "lateral",
    "lat": "lateral",
    "ll": "lateral",
    "unknown": "unknown",
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
        word = projection.strip().casefold() if isinstance(projection, str) else projection
        read = PROJECTION_WORDS.get(word) if isinstance(word, str) else None
        understood = understood and (read is not None or has_no_value(projection))
        # What is no path leads to no file, and is excluded as an image that is missing.
        views.append(View(image if isinstance(image, str) else repr(image), read or "unknown"))
    return tuple(views), understood
