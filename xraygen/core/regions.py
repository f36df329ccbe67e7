"""The regions that an annotation is divided into, as params.yaml declares them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, RootModel, model_validator

from xraygen.core.study import NonEmpty, Record

Name = Annotated[str, Field(pattern=r"^[^\W_][\w /&+-]{0,59}$")]


class Region(Record):
    """`about`: one line on what belongs here, shown to models as part of `{regions}`. `scored`:
    whether judges score it; a region that is not scored is annotated and shown. `also`: other words
    by which a model may name it in an answer.
    """

    about: NonEmpty
    scored: bool = True
    also: tuple[NonEmpty, ...] = ()


# Names next to those of the regions in tables and metrics.
_RESERVED = (
    "macro",
    "id",
    "error",
    "approach",
    "judge",
    "review",
    "verdict",
    "failed annotation",
    "unscored pair",
    "by reference",
    "abnormal finding",
    "abnormal",
    "evidence",
    "support",
    "verbatim",
    "reworded",
    "unsupported",
    "against",
    "as published",
    "unscored",
    "failed",
)


def _plain(name: str) -> str:
    """The name without what may not be the only difference of two: case, spacing, a final s."""
    return " ".join(word.rstrip("s") for word in re.findall(r"[^\W_]+", name.casefold()))


_TAKEN = frozenset(map(_plain, _RESERVED))


class Regions(RootModel[Annotated[dict[Name, Region], Field(min_length=1)]]):
    """The declared regions, in order. Iterating gives their names."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _some_are_scored(self) -> "Regions":
        if not self.scored:
            raise ValueError("no region is scored; set `scored: true` for at least one")
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "Regions":
        seen: dict[str, str] = {}
        for name in self.root:
            plain = _plain(name)
            if plain in _TAKEN:
                raise ValueError(f"{name!r} has another meaning in tables; rename the region")
            if plain in seen:
                raise ValueError(f"{seen[plain]!r} and {name!r} differ too little; rename one")
            seen[plain] = name
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.root)

    @property
    def scored(self) -> tuple[str, ...]:
        return tuple(name for name, region in self.root.items() if region.scored)

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def described(self) -> str:
        """One line for each region, with its name and what belongs there."""
        lines = (f"- {name}: {region.about.rstrip('.')}." for name, region in self.root.items())
        return "\n".join(lines)

    def filled(self, prompt: str) -> str:
        """A prompt with the described regions in place of `{regions}`."""
        return prompt.replace("{regions}", self.described())

    def check(self, names: Iterable[str], key: str) -> None:
        """ValueError, starting with `key`: one of the names is not declared."""
        for name in names:
            if name not in self.root:
                declared = ", ".join(self)
                raise ValueError(f"{key}.{name}: no such region; params.yaml declares {declared}")

    def annotation(self, texts: Mapping[str, str]) -> dict[str, str]:
        """`texts` as a complete annotation: every region in the declared order, "" where there is
        no text. ValueError: a region that is not declared.
        """
        self.check(texts, "annotation")
        return {name: texts.get(name, "") for name in self.root}
