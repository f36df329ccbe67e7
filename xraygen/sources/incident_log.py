"""The log that a source keeps of what was damaged in its raw data."""

from collections import Counter
from collections.abc import Collection, Mapping

from xraygen.sources import Incident


def incident(kinds: Mapping[str, str], action: str, kind: str, id: str, detail: str) -> Incident:
    """One of the `kinds` that a log lists."""
    assert kinds[kind].startswith(action), kind
    return Incident(action=action, kind=kind, id=shown(id), detail=shown(detail))


class Log:
    """`kinds`: {kind: "repaired: ..." or "excluded: ..."}. `expected`: kinds that are no damage."""

    def __init__(self, kinds: Mapping[str, str], expected: Collection[str] = ()) -> None:
        self.kinds = kinds
        self.expected = expected
        self.incidents: list[Incident] = []

    def _add(self, action: str, kind: str, id: str, detail: str) -> None:
        self.incidents.append(incident(self.kinds, action, kind, id, detail))

    def repaired(self, kind: str, id: str, detail: str) -> None:
        self._add("repaired", kind, id, detail)

    def excluded(self, kind: str, id: str, detail: str) -> None:
        self._add("excluded", kind, id, detail)

    def file(self, kind: str, where: str, detail: str) -> None:
        """What `core.tables.read_rows` tells of damage."""
        self._add(self.kinds[kind].partition(":")[0], kind, where, detail)

    def count(self, kind: str) -> int:
        return sum(incident.kind == kind for incident in self.incidents)

    def counts(self, prefix: str = "") -> str:
        """The kinds of what was excluded with their counts, the most frequent first; "" where
        nothing was.
        """
        kinds = Counter(one.kind for one in self.incidents if one.action == "excluded")
        listed = [(kind, count) for kind, count in kinds.items() if kind.startswith(prefix)]
        listed.sort(key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count:,} {kind}" for kind, count in listed)

    def commonest(self, prefix: str = "") -> str:
        """The kinds of what was excluded with their counts, the most frequent first, and an example
        of that one.
        """
        kinds = Counter(
            one.kind
            for one in self.incidents
            if one.action == "excluded" and one.kind.startswith(prefix)
        )
        for kind in self.expected:
            kinds.pop(kind, None)
        if not kinds:
            return "nothing was given"
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(3))
        kind = kinds.most_common(1)[0][0]
        first = min((one for one in self.sorted() if one.kind == kind), key=lambda one: len(one.id))
        return f"{counts}; for example {first.id}: {first.detail}"

    def sorted(self) -> list[Incident]:
        return sorted(
            self.incidents,
            key=lambda incident: (incident.action, incident.kind, incident.id, incident.detail),
        )


def shown(text: str) -> str:
    """File names may hold anything, records only what UTF-8 can say."""
    return text.encode("utf-8", "backslashreplace").decode()
