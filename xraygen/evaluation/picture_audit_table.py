"""The section on the picture audit in the report of a comparison."""

import textwrap
from collections.abc import Mapping

from tabulate import tabulate

NEGLIGIBLE = 0.05  # a loss is called negligible if its whole interval is below this
_FEW = 5  # a finding that fewer swaps bring has no row
_PICTURES = {"own": "its own", "swapped": "another study's", "blank": "blank", "none": "none"}
_ALTERED = {"swapped": "another study's pictures", "blank": "blank ones", "none": "none"}
_DECIDING = {"score": "the score", "clinical": "the clinical score"}
_DIRECTIONS = {
    "picture": "follow the picture shown, not the rest of the case",
    "case": "stay with the rest of the case, such as the report",
    "neither": "clearly follow neither the picture nor the rest of the case",
}
ABOUT = """\
Each approach that sees pictures was also asked about {studies} with the pictures of another
study, with grey ones of the same size, and with none. *Left*: the share of the macro score with
the own pictures that it still earns. *Changed*: the share of answers that differ from those
with the own pictures. A case without an answer counts as empty; where there was no answer at
all, there is no score. In brackets: 95 % bootstrap intervals over studies."""
FOLLOWED = """\
With another study's pictures: of the regions in which the two references differ for the judge,
the share in which the answer is nearer to the reference of the study whose picture was shown
(*follows*) or to its own (*stays*), and the share that would follow with the answer that the
other study itself got (*possible*). Of abnormal findings: the share of those that only the
shown study has that the answer names (*follows*), that the other study's own answer names
(*possible*), and of those that only its own study has that the answer names (*stays*). Failed
answers are left out."""


def section(audits: Mapping[str, dict], complete: bool = False) -> str:
    """Markdown, from the contents of data/judgements/<approach>/audit.json by approach; empty where
    none was audited. `complete`: with a row for each frequent finding.
    """
    audited = {name: audit for name, audit in audits.items() if audit["studies"]}
    if not audited:
        return ""
    sizes = sorted({audit["studies"] for audit in audited.values()})
    studies = " or ".join(f"{size:,}" for size in sizes) + " test studies"
    verdicts = (_folded(f"- {name}: {verdict(audit)}") for name, audit in audited.items())
    parts = [
        "## Do they look at the picture?",
        "\n".join(verdicts),
        _conditions(audited),
        textwrap.fill(" ".join(ABOUT.split()).format(studies=studies), 100),
        _followed(audited, complete),
        textwrap.fill(" ".join(FOLLOWED.split()), 100),
    ]
    return "\n" + "\n\n".join(parts) + "\n"


def verdict(audit: dict) -> str:
    """Whether the picture is used, in words that the intervals allow."""
    altered = _altered(audit)
    if not altered:
        return "too few studies were answered to tell whether the picture is used."
    sentences = (_use(audit, altered), _direction(audit))
    return " ".join(sentence for sentence in sentences if sentence)


def in_short(name: str, audit: dict) -> str:
    """The verdict on the approach `name` without the numbers, which the tables have; empty where
    too few studies were answered.
    """
    altered = _altered(audit)
    if not altered:
        return ""
    use = _short_use(name, audit, altered)
    side = _followed_side(audit)
    return f"{use} With another study's pictures, its answers {_DIRECTIONS[side]}." if side else use


def _altered(audit: dict) -> dict[str, dict[str, dict]]:
    """What is lost with other pictures than its own, by condition and measure; empty where too few
    studies were answered.
    """
    if not audit["own"]["answered"]:
        return {}
    return {shown: lost for shown in _ALTERED if (lost := _losses(audit[shown]))}


def _short_use(name: str, audit: dict, altered: dict[str, dict[str, dict]]) -> str:
    studies = f"{audit['studies']:,} studies"
    known = f"as far as {studies} tell"
    if not any(audit[shown]["changed"] for shown in altered):
        return f"**{name} does not use the picture**, {known}. No answer changes with others."
    worse = {shown: lost for shown, lost in altered.items() if _lower(lost)}
    negligible = all(_negligible(lost) for lost in (worse or altered).values())
    spared = _spared(altered)
    others = f", and as good with {spared}" if spared else ""
    named = " or ".join(_ALTERED[shown] for shown in worse)
    if worse and negligible:
        return (
            f"**{name} hardly uses the picture**, {known}. Its answers are slightly worse with "
            f"{named}{others}."
        )
    if worse:
        return f"**{name} uses the picture.** Its answers are worse with {named}{others}."
    if negligible:
        return (
            f"**{name} gains nothing by the picture**, {known}. Its answers change with other "
            "pictures, but are as good."
        )
    return (
        f"**{name} answers differently with other pictures.** Whether these answers are worse, "
        f"{studies} do not tell."
    )


def _use(audit: dict, altered: dict[str, dict[str, dict]]) -> str:
    """`altered`: what is lost with other pictures than its own, by condition and measure."""
    studies = f"{audit['studies']:,} studies"
    known = f"as far as {studies} tell"
    if not any(audit[shown]["changed"] for shown in altered):
        answers = sum(audit[shown]["answered"] for shown in altered)
        return f"**the picture is not used**, {known}: none of {answers:,} answers changed."
    worse = {shown: lost for shown, lost in altered.items() if _lower(lost)}
    if worse:
        effects = _effects(audit, worse)
        if all(_negligible(lost) for lost in worse.values()):
            return (
                f"**the picture is hardly used**, {known}{_or_as_good(altered, 'and')}: {effects}."
            )
        return f"**the picture is used**{_or_as_good(altered, 'but')}: {effects}."
    effects = _effects(audit, altered)
    if all(_negligible(lost) for lost in altered.values()):
        return (
            f"**the picture gains nothing**, {known}: it changes answers but does not make them "
            f"better; {effects}."
        )
    return (
        f"**the picture changes answers**, but {studies} do not tell whether it makes them "
        f"better: {effects}."
    )


def _losses(cell: dict) -> dict[str, dict]:
    """What is lost of the deciding measures, where that has an interval."""
    lost = {measure: cell[measure]["lost"] for measure in _DECIDING if measure in cell}
    return {measure: loss for measure, loss in lost.items() if loss["ci_low"] is not None}


def _lower(lost: dict[str, dict]) -> bool:
    return any(loss["ci_low"] > 0 for loss in lost.values())


def _negligible(lost: dict[str, dict]) -> bool:
    return all(loss["ci_high"] < NEGLIGIBLE for loss in lost.values())


def _spared(altered: dict[str, dict[str, dict]]) -> str:
    """With which pictures nothing is lost: a model that a wrong picture misleads does not have to
    gain by the right one.
    """
    return " or ".join(
        _ALTERED[shown] for shown, lost in altered.items() if _negligible(lost) and not _lower(lost)
    )


def _or_as_good(altered: dict[str, dict[str, dict]], conjunction: str) -> str:
    spared = _spared(altered)
    return f", {conjunction} the answers are as good with {spared}" if spared else ""


def _effects(audit: dict, altered: dict[str, dict[str, dict]]) -> str:
    """How many answers change in each condition, and what is lost."""
    return "; ".join(_effect(shown, audit[shown], lost) for shown, lost in altered.items())


def _effect(shown: str, cell: dict, lost: dict[str, dict]) -> str:
    changed = f"{100 * cell['changed']:.0f} % of the answers change"
    if failed := cell["cases"] - cell["answered"]:
        changed += f" ({failed:,} of {cell['cases']:,} fail)"
    falls = [f"{_DECIDING[measure]} falls by {_interval(loss)}" for measure, loss in lost.items()]
    return f"with {_ALTERED[shown]} {changed}, and {' and '.join(falls)}"


def _direction(audit: dict) -> str:
    """What the answers to swapped pictures are about, with the shares."""
    side = _followed_side(audit)
    if side is None:
        return ""
    texts = audit["followed"]["texts"]
    shares = f"{_share(texts['follows'])} against {_share(texts['stays'])}"
    return f"Its answers {_DIRECTIONS[side]} ({shares} of the regions that differ)."


def _followed_side(audit: dict) -> str | None:
    """What the answers to swapped pictures are about: a key of _DIRECTIONS, or None."""
    texts = audit["followed"]["texts"]
    follows, stays = texts["follows"], texts["stays"]
    if not follows or follows["ci_low"] is None:
        return None
    if follows["ci_low"] > stays["ci_high"]:
        return "picture"
    if stays["ci_low"] > follows["ci_high"]:
        return "case"
    return "neither"


def _conditions(audited: Mapping[str, dict]) -> str:
    rows = []
    for name, audit in audited.items():
        for shown, pictures in _PICTURES.items():
            cell = audit[shown]
            answered = f"{cell['answered']:,} of {cell['cases']:,}"
            if "score" not in cell:
                rows.append([name, pictures, answered, *["–"] * 5])
                continue
            rows.append(
                [
                    name,
                    pictures,
                    answered,
                    _interval(cell["score"]["value"]),
                    "–" if shown == "own" else _share(cell["score"]["share"]),
                    _interval(cell["token_f1"]["value"]),
                    _interval(cell["clinical"]["value"]),
                    "–" if shown == "own" else f"{100 * cell['changed']:.0f} %",
                ]
            )
    headers = ["approach", "pictures", "answered", "score, macro", "left", "token F1", "clinical"]
    return _table(rows, [*headers, "changed"])


def _followed(audited: Mapping[str, dict], complete: bool) -> str:
    rows = []
    for name, audit in audited.items():
        texts, findings = audit["followed"]["texts"], audit["followed"]["findings"]
        rows += [
            [name, f"{texts['n']:,} regions", *_shares(texts)],
            [name, f"{findings['n']:,} abnormal findings", *_shares(findings)],
        ]
        if complete:
            rows += [
                [name, finding, *_counts(one)]
                for finding, one in audit["followed"]["by_finding"].items()
                if one["n"] >= _FEW
            ]
    return _table(rows, ["approach", "that differ", "follows", "possible", "stays"])


def _shares(cell: dict) -> list[str]:
    return [_share(cell[key]) for key in ("follows", "possible", "stays")]


def _counts(one: dict) -> list[str]:
    n = one["n"]
    stays = f"{one['stays']} of {one['n_own']}"
    return [f"{one['follows']} of {n}", f"{one['possible']} of {n}", stays]


def _interval(estimate: dict | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["ci_low"] is None:
        return f"{estimate['value']:z.3f}"
    return f"{estimate['value']:z.3f} [{estimate['ci_low']:z.3f}, {estimate['ci_high']:z.3f}]"


def _share(estimate: dict | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    value = f"{100 * estimate['value']:.0f} %"
    if estimate["ci_low"] is None:
        return value
    return f"{value} [{100 * estimate['ci_low']:.0f}, {100 * estimate['ci_high']:.0f}]"


def _table(rows: list[list], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _folded(item: str) -> str:
    return textwrap.fill(item, 100, subsequent_indent="  ")
