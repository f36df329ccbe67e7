"""A name in params.yaml: either built in, or a class of the user's as `package.module:Class`."""

import pkgutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem

T = TypeVar("T")


def resolve(name: str, built_in: Mapping[str, str], base: type[T], where: str) -> type[T]:
    """The class behind a name. `built_in`: {name: "module:Class"}; any other name has to have that
    form itself, and may be in the current folder. `where`: the key in params.yaml, for errors.

    UserError: the name is neither built in nor a class that can be imported.
    """
    if name not in built_in and ":" not in name:
        raise UserError(
            f"{where}: no {name!r}; there are {', '.join(built_in)}, or name a class as "
            "package.module:Class"
        )
    here = str(Path.cwd())
    if here not in sys.path:  # as it is for `python -m`, but not for the command xraygen
        sys.path.insert(0, here)
    try:
        found = pkgutil.resolve_name(built_in.get(name, name))
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}: {name}: cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{where}: {name}: not a subclass of {base.__module__}.{base.__name__}")
    return found


def settings_by_name(section: object, chosen: str, kind: Callable, where: str) -> object:
    """A section of params.yaml whose `settings`, {name: settings}, are checked by the `Settings` of
    the class behind each name. The class named by the key `chosen` gets its defaults if it has no
    settings. What is not a mapping is left to the check of the section.

    `kind(name, where)`: the class behind a name. UserError: the first invalid key.
    """
    if not isinstance(section, dict) or not isinstance(section.get(chosen), str):
        return section
    given = section.get("settings") or {}
    if not isinstance(given, dict):
        return section
    kind(section[chosen], f"{where}.{chosen}")
    checked = {}
    named: dict[str, object] = {section[chosen]: {}}
    for name, content in (named | given).items():
        try:
            settings = kind(name, f"{where}.settings").Settings
            checked[name] = settings.model_validate(content or {})
        except ValidationError as error:
            raise UserError(f"{where}.settings.{name}.{first_problem(error)}") from None
    return section | {"settings": checked}
