"""The code that results depend on."""

from collections.abc import Iterable
from pathlib import Path

import xraygen
from xraygen.core.files import sha256


def code_hash(layers: Iterable[str], root: Path) -> str:
    """Of these folders of the package and of the user's plugins. `root`: the project's folder."""
    package = Path(xraygen.__file__).parent
    folders = [*(package / layer for layer in layers), root / "plugins"]
    return sha256(path for folder in folders for path in sorted(folder.rglob("*.py")))
