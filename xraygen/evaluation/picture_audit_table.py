"""The section on the picture audit in the report of a comparison."""

import textwrap
from collections.abc import Mapping

from tabulate import tabulate

NEGLIGIBLE = 0.05  # a loss is called negligible if its whole interval is below this
_FEW = 5  # a finding that fewer swaps bring has no row
_PICTURES = {"own": "its own", "swapped": "another study's", "blank": "blank", "none": "none"}
_DECIDING = {"score": "the score", "clinical": "the clinical score"}
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
(*possible*), and of those that only its own study has that the answer names (*stays*)."""


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
    return " ".join(sentence for sentence in (_use(audit), _direction(audit)) if sentence)


def _use(audit: dict) -> str:
    swapped = audit["swapped"]
    lost = _losses(swapped)
    if not lost or not audit["own"]["answered"]:
        return "too few studies were answered to tell whether the picture is used."
    if swapped["changed"] == 0:
        return "**the picture is not used**: another study's pictures change no answer."
    losses = " and ".join(f"{_DECIDING[measure]} by {_interval(lost[measure])}" for measure in lost)
    changed = f"{100 * swapped['changed']:.0f} % of the answers"
    effect = f"another study's pictures change {changed} and lower {losses}"
    if any(loss["ci_low"] > 0 for loss in lost.values()):
        used = "hardly used" if _negligible(lost) else "used"
        return f"**the picture is {used}**{_spared(audit)}: {effect}; {_left(audit)}."
    if _negligible(lost):
        known = f"as far as {audit['studies']:,} studies tell"
        return f"**the picture is not used**, {known}: {effect}; {_left(audit)}."
    return f"{audit['studies']:,} studies do not tell whether the picture is used: {effect}."


def _losses(cell: dict) -> dict[str, dict]:
    """What is lost of the deciding measures, where that has an interval."""
    lost = {measure: cell[measure]["lost"] for measure in _DECIDING if measure in cell}
    return {measure: loss for measure, loss in lost.items() if loss["ci_low"] is not None}


def _negligible(lost: dict[str, dict]) -> bool:
    return all(loss["ci_high"] < NEGLIGIBLE for loss in lost.values())


def _spared(audit: dict) -> str:
    """That an approach which is misled by a wrong picture gains nothing by the right one."""
    spared = [
        pictures
        for shown, pictures in (("blank", "a blank one"), ("none", "none"))
        if (lost := _losses(audit[shown])) and _negligible(lost)
    ]
    return f", but the answers are as good with {' or '.join(spared)}" if spared else ""


def _left(audit: dict) -> str:
    """What is earned without the right picture."""
    shown = {
        "another study's": audit["swapped"],
        "blank ones": audit["blank"],
        "none": audit["none"],
    }
    shares = [
        f"{_share(cell['score']['share'])} with {pictures}"
        for pictures, cell in shown.items()
        if "score" in cell
    ]
    return f"of the score with its own pictures it earns {', '.join(shares)}"


def _direction(audit: dict) -> str:
    """What the answers to swapped pictures are about."""
    texts = audit["followed"]["texts"]
    follows, stays = texts["follows"], texts["stays"]
    if not follows or follows["ci_low"] is None:
        return ""
    shares = f"{_share(follows)} against {_share(stays)} of the regions that differ"
    if follows["ci_low"] > stays["ci_high"]:
        return f"Its answers follow the picture shown, not the rest of the case ({shares})."
    if stays["ci_low"] > follows["ci_high"]:
        return f"Its answers stay with the rest of the case, such as the report ({shares})."
    return f"Its answers clearly follow neither the picture nor the rest of the case ({shares})."


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
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} [{estimate['ci_low']:.3f}, {estimate['ci_high']:.3f}]"


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
