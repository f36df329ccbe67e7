"""What the reader of findings gives: one record for each finding, and one for each sentence."""

from dataclasses import dataclass, field

from xraygen.judges.proxy.names import name_of
from xraygen.judges.proxy.places import Places
from xraygen.judges.proxy.vocabulary import STRUCTURE_NAMES, UNREAD


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement. `key`: the observation, or the structure where it is called normal, stable or
    abnormal as a whole.

    `state`: "present", "absent", "normal" (of a structure), "stable" (nothing else said of it),
    "named" (nothing said of it at all: a heading, a recommendation, a word on the technique).
    `side`: 0 unsaid, 1 left, 2 right, 3 both. `severity`: 0 unsaid, 1 mild to 3 severe. `where`:
    structures and zones named with it. `doubtful`: present as a possibility only ("may represent",
    "cannot be excluded") or at the limit of what is normal.

    `kind`: of a device or of surgery. `size`: in mm, 0 unsaid. `asserted`: False where the words
    only name it: "limits detection of nodules", "at the upper limit of normal". `places`: the
    parts of bones, organs and compartments named with it, more precise than `where`.
    """

    key: str
    state: str
    side: int = 0
    severity: int = 0
    where: frozenset[str] = frozenset()
    stable: bool = False
    changed: bool = False
    doubtful: bool = False
    # What the proxy's counts do not tell apart:
    kind: str = field(default="", compare=False)
    size: float = field(default=0, compare=False)
    asserted: bool = field(default=True, compare=False)
    places: Places = field(default=frozenset(), compare=False)

    @property
    def positive(self) -> bool:
        return self.state == "present"

    @property
    def name(self) -> str:
        """The clinical name of the finding where it is present: "cardiomegaly" for an enlarged
        heart. `names.names()` lists all of them.
        """
        return self.kind or name_of(self.key, self.where)

    def __str__(self) -> str:
        if self.key == UNREAD:
            return f'"{" ".join(sorted(self.where))}"'
        if self.state == "absent":
            return f"no {self.key}"
        if self.state in ("normal", "stable"):
            return f"{self.key} {self.state}"
        if self.state == "named":
            return self.key
        name = f"abnormal {self.key}" if self.key in STRUCTURE_NAMES else self.key
        severity = ("", "mild ", "moderate ", "severe ")[self.severity]
        return severity + ("", "left ", "right ", "bilateral ")[self.side] + name


@dataclass(frozen=True, slots=True)
class Statement:
    """What one sentence says. `terms`: its content words, singular; `words`: the same, but an
    observation is replaced by its key with a sign, so that "no effusion" and "effusion" share
    nothing; `prior`: it refers to an earlier study.
    """

    findings: tuple[Finding, ...]
    terms: frozenset[str]
    words: frozenset[str]
    prior: bool
