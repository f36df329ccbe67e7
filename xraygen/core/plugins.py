"""A name in params.yaml that is either built in or a class of the user's, `package.module:Class`."""

import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path

from xraygen.core.errors import UserError


def resolve(name: str, built_in: Mapping[str, str], where: str) -> type:
    """The class behind a name. `built_in`: {name: "module:Class"}; anything else has to have that
    form itself, and may be in the current folder. `where`: the key in params.yaml, for errors.

    UserError: neither a built-in name nor a class that can be imported.
    """
    if name not in built_in and ":" not in name:
        raise UserError(
            f"{where}: no {name!r}; there are {', '.join(built_in)}, or name a class: "
            "package.module:Class"
        )
    here = str(Path.cwd())
    if here not in sys.path:  # as it is for `python -m`, but not for the command xraygen
        sys.path.insert(0, here)
    try:
        found = pkgutil.resolve_name(built_in.get(name, name))
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}: {name}: cannot be imported: {error}") from None
    if not isinstance(found, type):
        raise UserError(f"{where}: {name}: not a class")
    return found
