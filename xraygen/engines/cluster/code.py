"""The code that results depend on, with its data."""

from collections.abc import Iterable
from pathlib import Path

import xraygen
from xraygen.core.files import sha256


def code_hash(layers: Iterable[str], root: Path) -> str:
    """Of all files in these folders of the package and in the user's plugins. `root`: the project's
    folder.
    """
    package = Path(xraygen.__file__).parent
    folders = [*(package / layer for layer in layers), root / "plugins"]
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return sha256(path for path in files if "__pycache__" not in path.parts)
