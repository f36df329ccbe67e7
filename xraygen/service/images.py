"""The images of requests: what is accepted, and the private folder in which they lie."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder of temporary files that only this user may read, removed at the end. What killed
    services have left is removed first.
    """
    with tempfile.TemporaryDirectory(prefix="xraygen-images-") as folder:
        yield Path(folder)
