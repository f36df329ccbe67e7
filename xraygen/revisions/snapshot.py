"""What one side of a comparison says in its small files. Files of former layouts, damaged ones and
missing ones are read as far as they go: a comparison needs no more of a revision.
"""

import json
import math
import re
from collections.abc import Iterator
from functools import cached_property

import yaml

from xraygen.core.study import SPLITS, Measure
from xraygen.evaluation.overview import COST
from xraygen.evaluation.scores import MEASURES
from xraygen.revisions.side import LOCK, Side

_NO_PARAMS = "has no params.yaml"
_MOST_NODES = 100_000  # of params.yaml, counting what anchors repeat
_MOST_LEVELS = 50
_MOST_BITS = 1000


class Snapshot:
    """`params`: params.yaml as plain YAML, {} where it cannot be read. `problems`: what could not
    be read, a clause each; `unreadable`: the one of them that leaves the approaches unknown.
    """

    def __init__(self, side: Side):
        self.side = side
        self._files: dict[str, dict] = {}

    @cached_property
    def _params(self) -> tuple[dict, str | None]:
        content = self.side.read("params.yaml")
        if content is None:
            return {}, _NO_PARAMS
        try:
            params = yaml.safe_load(content)
            if _nodes(params, {}, 0) > _MOST_NODES:
                return {}, "has a params.yaml that is too large to compare"
        except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
            return {}, "has a params.yaml that is not YAML"
        if params is None:
            return {}, "has an empty params.yaml"
        known = isinstance(_mapping(params).get("approaches"), dict)
        return _mapping(params), None if known else "has a params.yaml without approaches"

    @property
    def params(self) -> dict:
        return self._params[0]

    @property
    def unreadable(self) -> str | None:
        """A project that has no params.yaml is one of before there were approaches."""
        problem = self._params[1]
        return None if problem == _NO_PARAMS else problem

    @cached_property
    def problems(self) -> list[str]:
        found = [] if self._params[1] is None else [self._params[1]]
        if not self.side.lock:
            damaged = self.side.read(LOCK) is not None
            found.append("has a damaged dvc.lock" if damaged else "has no dvc.lock")
        return found

    @cached_property
    def approaches(self) -> tuple[str, ...]:
        """Their names in params.yaml, or, where it has none, those with committed scores."""
        declared = self.params.get("approaches")
        if isinstance(declared, dict):
            return tuple(map(str, declared))
        names = self.side.names("metrics/scores")
        return tuple(name.removesuffix(".json") for name in names if name.endswith(".json"))

    @property
    def floor(self) -> str | None:
        """The approach that gives every case the same answer."""
        for name, settings in _mapping(self.params.get("approaches")).items():
            if _mapping(settings).get("annotator") == "constant":
                return str(name)
        return None

    def scores(self, name: str) -> dict:
        """The part `test` of metrics/scores/<name>.json."""
        return _mapping(self._of_approach("scores", name).get("test"))

    def macro(self, name: str) -> dict[Measure, float | None]:
        """The macro scores of an approach on test: those that are committed, with more digits where
        the report in the cache is of the same run.
        """
        committed = _mapping(self.scores(name).get("macro"))
        report = _mapping(_mapping(self._report.get("approaches")).get(name))
        exact = _mapping(_mapping(report.get("test")).get("macro"))
        return {
            measure: _closer(number(committed.get(measure)), number(exact.get(measure)))
            for measure in MEASURES
        }

    @property
    def judge(self) -> str | None:
        """The name in params.yaml."""
        judge = _mapping(self.params.get("evaluate")).get("judge")
        return None if judge is None else str(judge)

    def cost(self, name: str) -> float | None:
        """US dollars for 1,000 reports; None where no server was asked."""
        return number(self._of_approach("usage", name).get(COST))

    def failed(self, name: str) -> float | None:
        """The number of test studies without an annotation."""
        return number(self.scores(name).get("failed_annotations"))

    @cached_property
    def release(self) -> dict:
        return self._json("metrics/release.json")

    @cached_property
    def data(self) -> dict[str, object]:
        """The name of the source, and the number of studies of each split."""
        content = self._json("metrics/data.json")
        splits = _mapping(content.get("splits"))
        counts = {split: _mapping(splits.get(split)).get("studies") for split in SPLITS}
        return {"source": content.get("source")} | counts

    @property
    def reviewed(self) -> dict:
        """What metrics/data.json counts of references that readers corrected; {}: none."""
        return _mapping(self._json("metrics/data.json").get("reviewed"))

    @property
    def corrected(self) -> list[str]:
        """The approaches whose texts these readers corrected, where they are known."""
        names = self.reviewed.get("approaches")
        return names.split(", ") if isinstance(names, str) and names else []

    @cached_property
    def agreement(self) -> dict[str, float | None]:
        """The curators' macro token F1 on repeated reports, and what is attainable, as
        reports/comparison.json in the cache has them.
        """
        curators = _mapping(_mapping(self._report.get("repeated")).get("curators"))
        return {
            "curators' agreement": number(_mapping(curators.get("macro")).get("token_f1")),
            "attainable": number(_mapping(self._report.get("attainable")).get("macro")),
        }

    @cached_property
    def _report(self) -> dict:
        return parsed(self.side.out("reports/comparison.json"))

    def _of_approach(self, folder: str, name: str) -> dict:
        return self._json(f"metrics/{folder}/{name}.json") if is_plain(name) else {}

    def _json(self, path: str) -> dict:
        if path not in self._files:
            self._files[path] = parsed(self.side.read(path))
        return self._files[path]


def is_plain(name: str) -> bool:
    """Whether a name from params.yaml can be part of a path, as params.py demands of names."""
    return re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name) is not None


def parsed(content: bytes | None) -> dict:
    """A JSON object; {} where there is none."""
    try:
        return _mapping(json.loads(content or b"{}"))
    except (ValueError, RecursionError):
        return {}


def number(value: object) -> float | None:
    """A finite number of a damaged file's, too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _closer(committed: float | None, exact: float | None) -> float | None:
    if committed is None or exact is None or round(exact, 4) != committed:
        return committed
    return exact


def _mapping(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _nodes(value: object, known: dict[int, int], level: int) -> int:
    """The number of nodes of a tree, counting what an anchor repeats each time. ValueError: it is
    nested too deeply, as one that contains itself is, or has a number that cannot be printed.
    """
    if level > _MOST_LEVELS:
        raise ValueError("nested too deeply")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError("too large a number")
    if id(value) not in known:
        children = _children(value)
        known[id(value)] = 1 + sum(_nodes(child, known, level + 1) for child in children)
    return known[id(value)]
