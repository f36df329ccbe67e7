"""Judging on a Ray cluster: what each actor does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, RootModel
from pydantic_core import to_json

from xraygen.core.cases import pair_of, refuse_long
from xraygen.core.characters import printable
from xraygen.core.errors import UserError
from xraygen.core.files import identity
from xraygen.core.study import Record
from xraygen.core.tables import LONE_SURROGATE, has_lone_surrogate, parquet_module
from xraygen.engines.cluster.code import code_hash
from xraygen.engines.cluster.job import Counts, Job, Work
from xraygen.engines.cluster.shards import PAIRS, Row
from xraygen.engines.cluster.shared import Shared
from xraygen.judges import COLUMNS, Judge, Opinion, load
from xraygen.judges.shared import Pairs, judging, share

if TYPE_CHECKING:
    from pyarrow import Table

ERROR = "judge_error"  # the column that says why a row has no judgement
_LAYERS = ("core", "language", "engines", "judges")  # what the stage evaluate depends on
_FEW = 20  # refused pairs from which on it is looked at before the end
_SCALAR = str | int | float | None
# Settings that shape no opinion.
_LIMITS = {"api_key_env", "batch", "concurrency", "max_cost_usd", "prices", "timeout"}


class Judged(RootModel[dict[str, Any]]):
    """A row of pairs with what the judge says, as JSON. `_refused`: why it says nothing; in no
    file.
    """

    _refused: str | None = None


class Judging(Job):
    """The judge `name`. `settings`: of judges by name. `root`: the project's folder."""

    columns = PAIRS

    def __init__(self, name: str, settings: Mapping[str, Record] | None, root: Path) -> None:
        self.name = name
        self.settings = settings
        self.root = root

    def identity(self) -> dict:
        settings = load(self.name, self.settings).settings.model_dump(mode="json", exclude=_LIMITS)
        model = {"model": identity(settings["model"])} if "model" in settings else {}
        return {
            "judge": self.name,
            "settings": settings | model,
            "code": code_hash(_LAYERS, self.root),
        }

    @property
    def has_model(self) -> bool:
        return load(self.name, self.settings).plan([]) is not None

    def share(self, run: str) -> Shared | None:
        return share(self.name, self.settings, self.root)

    def start(self, shared: Shared | None) -> Work:
        judge = load(self.name, self.settings)
        return JudgeRows(judge, judging(self.name, self.settings, shared))

    def end(self, shared: Shared | None) -> None:
        if shared:
            shared.close()

    def tables(self, records: Iterable[BaseModel]) -> Iterator[Table]:
        yield _table([record.root for record in records if isinstance(record, Judged)])

    def check(self, counts: Counts, expected: int) -> None:
        """UserError: the model refused every pair that it was asked about."""
        refused = Counter(counts.reasons.get("refused"))
        answered = counts.verdicts.keys() & {"judged", "unparseable"}
        if answered or refused.total() < (1 if counts.records == expected else _FEW):
            return
        ((reason, _),) = refused.most_common(1)
        raise UserError(f"judge {self.name}: answered none of {refused.total():,} pairs: {reason}")

    def plan(self, rows: Iterable[Row]) -> object:
        """Rows that cannot be used are left out."""
        pairs = [_pair(row) for row in rows]
        return load(self.name, self.settings).plan(
            [_sides(pair) for pair in pairs if isinstance(pair, dict)]
        )


class JudgeRows(Work):
    """A row that is not a pair has the verdict failed, and the reason in a column judge_error."""

    def __init__(self, judge: Judge, opinions: Callable[[Pairs], list[Opinion]]) -> None:
        self.judge = judge
        self.opinions = opinions

    def __call__(self, rows: Iterable[Row]) -> Iterator[Judged]:
        rows = list(rows)
        pairs = [_pair(row) for row in rows]
        asked = [pair for pair in pairs if isinstance(pair, dict) and not self._has_answer(pair)]
        given = iter(self.opinions([_sides(pair) for pair in asked]))
        for row, pair in zip(rows, pairs, strict=True):
            if isinstance(pair, str):
                yield self.failed(row, pair)
            else:
                opinion = self._given(pair) if self._has_answer(pair) else next(given)
                judged = _judged(pair, opinion.columns())
                if opinion.verdict == "failed":
                    judged._refused = opinion.explanation or "no reason given"
                yield judged

    def _has_answer(self, pair: dict) -> bool:
        return bool(self.judge.reads_answers) and "completion" in pair

    def _given(self, pair: dict) -> Opinion:
        return self.judge.given(*_sides(pair), pair["completion"])

    def failed(self, row: Row, reason: str) -> Judged:
        found = Opinion(None, verdict="failed").columns()
        readable = {
            name: cell
            for name, cell in row.cells.items()
            if isinstance(cell, _SCALAR) and not has_lone_surrogate([name, cell])
        }
        return _judged(readable, found | {ERROR: printable(f"{row.place}: {reason}")})

    def count(self, record: BaseModel, counts: Counts) -> None:
        assert isinstance(record, Judged)
        verdict = record.root["verdict"]
        counts.verdicts[verdict] = counts.verdicts.get(verdict, 0) + 1
        if record._refused:
            counts.fail("refused", record._refused)
        if ERROR in record.root:
            counts.failed += 1
        elif self._has_answer(record.root):
            counts.use({"answers_read": 1})


def _sides(pair: dict) -> tuple[str, str]:
    return pair["reference"], pair["candidate"]


def _pair(row: Row) -> dict | str:
    """The pair in a row, or why it is not one."""
    if row.problem:
        return row.problem
    if has_lone_surrogate(row.cells):
        return LONE_SURROGATE
    try:
        pair = pair_of(row.cells, "")
        for name in ("reference", "candidate"):
            refuse_long(name, pair[name], "")
        return {name: _plain(cell) for name, cell in pair.items()}
    except UserError as error:
        return str(error).removeprefix(": ")
    except (ValueError, RecursionError):
        return "a column has a lone surrogate, or lists nested too deeply"


def _plain(cell: object) -> object:
    """The cell as JSON. ValueError, RecursionError: it cannot be written."""
    if isinstance(cell, _SCALAR):
        return cell
    plain = json.loads(_as_json(cell))
    to_json(plain)
    return plain


def _judged(cells: dict, found: dict) -> Judged:
    """The row as it is written without Ray: what the judgement replaces is left out."""
    kept = {name: cell for name, cell in cells.items() if name not in found and name != ERROR}
    return Judged(kept | found)


def _as_json(cell: object) -> str:
    """Values of Parquet without a counterpart in JSON become text, as they do in CSV."""
    return json.dumps(cell, ensure_ascii=False, default=str)


def _table(rows: list[dict]) -> Table:
    """Columns of the input are text: as it is, anything else as JSON. So a column has the same type
    in every part that has it; a part of JSON Lines lacks those that none of its rows has.
    """
    parquet_module("--format parquet")
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    kept = [name for name in names if name not in (*COLUMNS, ERROR)]
    typed = {"score": pa.float64(), "clinical": pa.float64()}
    typed |= dict.fromkeys(("matched_findings", *"abcdef"), pa.int64())
    schema = pa.schema([(name, typed.get(name, pa.string())) for name in (*kept, *COLUMNS, ERROR)])
    return pa.Table.from_pylist([row | _texts(row, kept) for row in rows], schema)


def _texts(row: dict, names: Iterable[str]) -> dict[str, str | None]:
    cells = {name: row.get(name) for name in names}
    return {
        name: cell if isinstance(cell, str | None) else _as_json(cell)
        for name, cell in cells.items()
    }
