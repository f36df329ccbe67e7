"""Cases of which it is known how a judge has to order the candidates: the project's own, and those
of RadJudge (arXiv 2603.06183).
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem
from xraygen.core.study import NonEmpty
from xraygen.core.tables import read_rows

OWN = Path(__file__).with_name("cases.yaml")
FILE = "radjudge.jsonl"
EQUAL = 0.02  # scores that differ by at most this are equal
_ROUNDING = 1e-9
_ORDER = re.compile(r"(\w+) ([>=<]) (\w+|\d*\.\d+)")

Pair = tuple[str, str]  # reference, candidate
Values = Mapping[Pair, float]  # one measure of every pair, NaN where the judge gave none


class Order(NamedTuple):
    """`left` scores higher than `right` (">"), the same ("="), or below the number
    `right` ("<").
    """

    left: str
    sign: str
    right: str


def _order(text: object) -> Order:
    """An order from a text such as "A > B", "A = B" or "A < 0.25"."""
    found = _ORDER.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ValueError("an order is written like 'A > B', 'A = B' or 'A < 0.25'")
    return Order(*found.groups())


def _as_list(given: object) -> object:
    return [given] if isinstance(given, str) else given


class OrderCase(BaseModel):
    """`expected`: what has to hold of the scores of the candidates, by name. `because`: why."""

    category: NonEmpty
    reference: str
    candidates: dict[str, str]
    expected: Annotated[
        list[Annotated[Order, BeforeValidator(_order)]],
        BeforeValidator(_as_list),
        Field(min_length=1),
    ]
    because: str = ""

    @model_validator(mode="after")
    def _orders_name_candidates(self) -> "OrderCase":
        for order in self.expected:
            named = {order.left} if order.sign == "<" else {order.left, order.right}
            if unknown := named - set(self.candidates):
                raise ValueError(f"expected: there is no candidate {min(unknown)}")
        return self

    @property
    def pairs(self) -> dict[str, Pair]:
        """By name of the candidate."""
        return {name: (self.reference, text) for name, text in self.candidates.items()}

    def holds(self, values: Values) -> bool:
        """Whether all that is expected holds. A pair without a value is neither above another nor
        equal to it, but it is not high either.
        """
        by_name = {name: values[pair] for name, pair in self.pairs.items()}
        return all(_holds(order, by_name) for order in self.expected)


def _holds(order: Order, values: Mapping[str, float]) -> bool:
    left = values[order.left]
    if order.sign == "<":
        return math.isnan(left) or left < float(order.right)
    difference = left - values[order.right]
    if order.sign == "=":
        return abs(difference) <= EQUAL + _ROUNDING
    return difference > _ROUNDING


def own_cases() -> list[OrderCase]:
    """The project's own cases, those of a category one after the other."""
    content = yaml.safe_load(OWN.read_text(encoding="utf-8"))
    return [OrderCase.model_validate(case) for case in content]


def read_radjudge(path: Path) -> list[OrderCase]:
    """UserError: the file cannot be read, or a line is not a case of RadJudge."""
    needed = ("category", "reference", "candidates", "expected")
    cases = []
    for number, row in read_rows(path, needed):
        try:
            cases.append(OrderCase.model_validate(row))
        except ValidationError as error:
            problem = f"not a case of RadJudge: {first_problem(error)}"
            raise UserError(f"{path}:{number}: {problem}") from None
    if not cases:
        raise UserError(f"{path}: has no case")
    return cases
