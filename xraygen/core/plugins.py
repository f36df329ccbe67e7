"""A name in params.yaml: either built in, or a class of the user's as `package.module:Class`."""

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem
from xraygen.core.study import Record

T = TypeVar("T")
_CLASS = re.compile(r"\w+(?:\.\w+)*:\w+(?:\.\w+)*")


def resolve(name: str, built_in: Mapping[str, str], base: type[T], where: str) -> type[T]:
    """The class behind a name. `built_in`: {name: "module:Class"}; any other name has to have that
    form itself, and may be in the current folder. `where`: the key in params.yaml, for errors.

    UserError: the name is neither built in nor a class that can be imported.
    """
    target = built_in.get(name, name) if isinstance(name, str) else ""
    if not _CLASS.fullmatch(target):
        raise UserError(
            f"{where}: no {name!r}; there are {', '.join(built_in)}, or name a class as "
            "package.module:Class"
        )
    here = str(Path.cwd())
    if name not in built_in and here not in sys.path:  # it is for `python -m`, not for `xraygen`
        sys.path.append(here)
    module, _, attributes = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"{where}: {name}: cannot be imported: {error}") from None
        raise  # an import within the module: a bug, which keeps its traceback
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise UserError(f"{where}: {name}: cannot be imported: there is no {attribute}")
        found = getattr(found, attribute)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{where}: {name}: not a subclass of {base.__module__}.{base.__name__}")
    if not issubclass(getattr(found, "Settings", Record), Record):
        raise UserError(
            f"{where}: {name}: Settings is not a subclass of {Record.__module__}.Record"
        )
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
