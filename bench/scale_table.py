"""The figures of docs/scale.md, made of the lines that scale.py prints.

    python -m bench.scale --minutes 30 | tee scale.jsonl
    python -m bench.scale_table scale.jsonl           # prints them
    python -m bench.scale_table scale.jsonl --write   # puts them into docs/scale.md, at their place

The model of the cost is seconds = start + cases / rate. It is fitted to the relative errors, with
at least 0 seconds of start.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls
from tabulate import tabulate

from bench.measured_run import ROOT
from xraygen.core.errors import UserError, one_line

PAGE = ROOT / "docs/scale.md"
BEGIN, END = "<!-- figures: python -m bench.scale_table -->", "<!-- end of the figures -->"
_HOWS = ("one process", "ray", "two nodes")


class Fit(NamedTuple):
    """seconds = start + cases / rate. `worst`: the largest relative error."""

    start: float
    rate: float
    worst: float


def fit(points: Sequence[tuple[int, float]]) -> Fit:
    """`points`: (cases, seconds)"""
    cases, seconds = np.array(points, dtype=float).T
    design = np.stack([np.ones(len(cases)), cases], axis=1) / seconds[:, None]
    (start, per_case), _ = nnls(design, np.ones(len(cases)))
    worst = float(np.max(np.abs((start + per_case * cases) / seconds - 1)))
    return Fit(float(start), float(1 / per_case) if per_case else float("inf"), worst)


def figures(lines: Iterable[dict]) -> str:
    """Markdown. `lines`: as scale.py prints them."""
    found: dict[str, list[dict]] = {}
    for line in lines:
        found.setdefault(line["what"], []).append(line)
    machine = found.get("machine", [{}])[-1]
    said = [f"{machine.get('cpu', 'unknown CPU')}, {machine.get('date', '')}."]
    sections = (
        ("router", _runs),
        ("router ratio", _ratio),
        ("curve", _curve),
        ("poison", _poison),
        ("killed", _killed),
    )
    for what, section in sections:
        if measured := [line for line in found.get(what, []) if _is_measured(line)]:
            said += ["", section(measured)]
    return "\n".join(said)


def _is_measured(line: dict) -> bool:
    return "error" not in line and line.get("ended", "limit") == "limit"


def _table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _runs(lines: Sequence[dict]) -> str:
    headers = ("", "cases", "seconds", "cases/s, all", "steady", "driver, MiB", "all, MiB")
    rows = [
        (
            line["how"],
            f"{line['cases']:,}",
            f"{line['seconds']:,.0f}",
            f"{line['cases_per_second']:,}",
            f"{line['steady_per_second']:,}" if "steady_per_second" in line else "",
            f"{line['driver_mib']:,}",
            f"{line['all_mib']:,}",
        )
        for line in lines
    ]
    return _table(rows, headers)


def _ratio(lines: Sequence[dict]) -> str:
    line = lines[-1]
    same = "the same bytes" if line["identical"] else "DIFFERENT records"
    steady = f", {line['steady_ratio']} times once it runs" if line["steady_ratio"] else ""
    return f"Ray is {line['ratio']} times as fast as one process with start-up{steady}: {same}."


def _curve(lines: Sequence[dict]) -> str:
    at = {(line["how"], line["of"]): line for line in lines}
    sizes = sorted({line["of"] for line in lines})
    rows = []
    for size in sizes:
        row = [f"{size:,}"]
        for how in _HOWS:
            line = at.get((how, size))
            row += [_seconds(line), f"{line['all_mib']:,}"] if line else ["", ""]
        rows.append(row)
    headers = ["cases"]
    for how in _HOWS:
        headers += [f"{how}, s", "MiB"]
    return "\n\n".join([_table(rows, headers), _models(lines), _flat(lines)])


def _seconds(line: dict) -> str:
    stopped = "" if line.get("ended", 0) == 0 else f" for {line['cases']:,}"
    return f"{line['seconds']:,.1f}{stopped}"


def _models(lines: Sequence[dict]) -> str:
    rows = []
    for how in _HOWS:
        points = [(line["cases"], line["seconds"]) for line in lines if line["how"] == how]
        if len(points) >= 2:
            found = fit(points)
            rate, worst = f"{found.rate:,.0f}", f"{100 * found.worst:.0f} %"
            rows.append((how, f"{found.start:.1f}", rate, worst))
    return _table(rows, ("", "start, s", "rate, cases/s", "off by at most"))


def _flat(lines: Sequence[dict]) -> str:
    """Of the longest run of each kind: rate and memory of its tenths."""
    rows = []
    for how in _HOWS:
        tenths = [line for line in lines if line["how"] == how and "per_second_by_tenth" in line]
        if tenths:
            line = max(tenths, key=lambda line: line["cases"])
            rates, driver = line["per_second_by_tenth"], line["driver_mib_by_tenth"]
            everything = line["all_mib_by_tenth"]
            rows.append(
                (how, f"{line['cases']:,}", _range(rates), _range(driver), _range(everything))
            )
    return _table(rows, ("in tenths", "cases", "cases/s", "driver, MiB", "all, MiB"))


def _range(values: Sequence[float]) -> str:
    return f"{min(values):,} to {max(values):,}" if values else ""


def _poison(lines: Sequence[dict]) -> str:
    rows = [
        (
            line["how"],
            f"{line['cases']:,}",
            line["expected_failures"],
            line["failed"],
            "yes" if line["exactly_these"] else "NO",
            f"{line['seconds']:,.0f}",
        )
        for line in lines
    ]
    return _table(rows, ("poisoned", "cases", "should fail", "failed", "exactly these", "seconds"))


def _killed(lines: Sequence[dict]) -> str:
    rows = [
        (
            line["how"],
            f"{line['cases']:,}",
            line["shards"],
            line["finished_when_killed"],
            line["repeated"],
            line["written_again"],
            "yes" if line["identical"] else "NO",
        )
        for line in lines
        if "identical" in line
    ]
    headers = ("killed", "cases", "shards", "finished then", "begun twice", "written twice", "same")
    return _table(rows, headers)


def write(page: Path, text: str) -> None:
    """UserError: the page has no place for the figures."""
    before, found, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise UserError(f"{page}: lacks {BEGIN} or {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lines", type=Path)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    text = arguments.lines.read_text(encoding="utf-8")
    said = figures(json.loads(line) for line in text.splitlines() if line.startswith("{"))
    if arguments.write:
        write(PAGE, said)
    else:
        print(said)


if __name__ == "__main__":
    with one_line():
        main()
