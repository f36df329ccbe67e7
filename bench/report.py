"""What the report costs to write and how fast a browser shows it: for the test studies of the last
run, and for many more.

    python -m bench.report [--studies 10000] [--loads 5]

Runs the stage `report` in a separate folder on the results in data/ (after `dvc repro`, or
`dvc pull` and `dvc checkout`), then on as many studies as asked for: the same ones again and again
under other ids, pictures included. Prints one JSON line, with a part for each number of studies.

`write_seconds`, of which `cpu_seconds` are the processor's, and `peak_mib` are those of the stage's
process. The times in the browser are medians over new windows, in milliseconds; the files are in
the system's cache by then, and nothing else is. `first_paint_ms`: until the overview is painted, as
the browser measures it. `list_ms`: until the list can be used, in a window that is opened with it.
`open_ms`: until the last study is shown, whose file is not loaded yet. `first_search_ms`: until the
list has what a search in all texts finds, which reads every file; `search_ms`: the same when they
have been read. Both begin with the last letter, after which the page waits 250 ms for another one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from recipes import chromium
from xraygen import params
from xraygen.core.errors import UserError, one_line

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]


def repeated(path: Path, count: int) -> Iterator[str]:
    """The lines of a JSON Lines file for `count` studies: its own, from the start again and again,
    with the number of the round behind each id.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    studies = len({line["id"] for line in lines})
    for again in range(-(-count // studies)):
        left = count - again * studies
        kept = set(list(dict.fromkeys(line["id"] for line in lines))[:left])
        for line in lines:
            if line["id"] in kept:
                number = f"{line['id']}-{again}" if again else line["id"]
                yield json.dumps(line | {"id": number}, ensure_ascii=False) + "\n"


def inputs(folder: Path, approaches: list[str], count: int | None) -> None:
    """What the stage reads, in a separate folder. `count`: of studies; None: those there are."""
    records = [Path("data/prepared/test.jsonl")] + [
        Path("data", kind, approach, "test.jsonl")
        for kind in ("annotations", "judgements")
        for approach in approaches
    ]
    if count is None:
        records = []
    link(folder, {Path(".git"), Path("reports/index.html"), Path("reports/studies"), *records})
    for path in records:
        with (folder / path).open("w", encoding="utf-8") as file:
            file.writelines(repeated(ROOT / path, count))


def link(folder: Path, own: set[Path]) -> None:
    """Links in the folder to all of the project but these paths."""
    parents = {parent for path in own for parent in path.parents}
    for parent in sorted(parents):
        (folder / parent).mkdir(exist_ok=True)
        for path in sorted((ROOT / parent).iterdir()):
            relative = path.relative_to(ROOT)
            if relative not in parents | own:
                (folder / relative).symlink_to(path)


def write(folder: Path) -> dict:
    """Runs the stage there."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "stages.report"], cwd=folder, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(os.waitstatus_to_exitcode(status))  # the stage has said why
    written = [path for path in (folder / "reports/studies").rglob("*") if path.is_file()]
    page = folder / "reports/index.html"
    return {
        "write_seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 2**10),
        "mib": round(sum(path.stat().st_size for path in (page, *written)) / 2**20, 1),
        "page_kib": round(page.stat().st_size / 2**10),
        "index_kib": round((folder / "reports/studies/index.js").stat().st_size / 2**10),
    }


# Notes when the list first has a study; to be run before the page's own script.
NOTE_THE_LIST = """
new MutationObserver((_, observer) => {
  if (!document.querySelector("#list a")) return;
  observer.disconnect();
  requestAnimationFrame(() => { window.listed = performance.now(); });
}).observe(document, { childList: true, subtree: true });
"""
FIRST_PAINT = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    for (const { name, startTime } of list.getEntries()) {
      if (name === "first-contentful-paint") resolve(startTime);
    }
  }).observe({ type: "paint", buffered: true });
})"""
# Milliseconds from a change to the frame that shows what it asks for.
OPEN = """id => new Promise((resolve, reject) => {
  const start = performance.now();
  const look = () => {
    if (document.getElementById("study").dataset.id === id) resolve(performance.now() - start);
    else if (performance.now() - start > 120000) reject(new Error("the study is not shown"));
    else requestAnimationFrame(look);
  };
  location.hash = `#study=${encodeURIComponent(id)}`;
  look();
})"""
SEARCH = """words => new Promise((resolve, reject) => {
  const start = performance.now();
  const matches = document.getElementById("matches");
  const before = matches.textContent;
  const look = () => {
    const after = matches.textContent;
    if (after !== before && /^[0-9,]+ of /.test(after)) resolve(performance.now() - start);
    else if (performance.now() - start > 120000) reject(new Error("the search does not end"));
    else requestAnimationFrame(look);
  };
  const field = document.getElementById("filter-text");
  field.value = words;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  look();
})"""


def shown(browser: "Browser", page: Path, last: str, loads: int) -> dict:
    """How fast the browser shows it. `last`: the id of the last study."""
    every = [load(browser, page, last) for _ in range(loads)]
    return {name: round(statistics.median(one[name] for one in every)) for name in every[0]}


def load(browser: "Browser", path: Path, last: str) -> dict[str, float]:
    times = {}
    with closing(browser.new_context()) as window:
        page = window.new_page()
        page.goto(path.as_uri())
        times["first_paint_ms"] = page.evaluate(FIRST_PAINT)
    with closing(browser.new_context()) as window:
        page = window.new_page()
        page.add_init_script(NOTE_THE_LIST)
        page.goto(f"{path.as_uri()}#studies")
        page.locator("#study[data-id]").wait_for()
        times["list_ms"] = page.evaluate("window.listed")
        times["open_ms"] = page.evaluate(OPEN, last)
        times["first_search_ms"] = page.evaluate(SEARCH, "pneumothorax effusion")
        times["search_ms"] = page.evaluate(SEARCH, "nodule")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--loads", type=int, default=5)
    arguments = parser.parse_args()
    path = chromium.executable()
    if path is None:
        raise UserError("needs Chromium or Chrome; on Debian: apt-get install chromium")
    if not (ROOT / "reports/comparison.json").is_file():
        raise UserError("reports/comparison.json: is missing; run `dvc repro` or `dvc pull`")
    approaches = list(params.load(ROOT / "params.yaml").approaches)
    result: dict = {}
    with chromium.launched(path) as browser:
        result["browser"] = browser.version
        for name, count in (("test", None), (str(arguments.studies), arguments.studies)):
            with tempfile.TemporaryDirectory() as folder:
                inputs(Path(folder), approaches, count)
                result[name] = write(Path(folder))
                records = (Path(folder) / "data/prepared/test.jsonl").read_text(encoding="utf-8")
                last = json.loads(records.splitlines()[-1])["id"]
                page = Path(folder) / "reports/index.html"
                result[name] |= shown(browser, page, last, arguments.loads)
    print(json.dumps(result))


if __name__ == "__main__":
    with one_line():
        main()
