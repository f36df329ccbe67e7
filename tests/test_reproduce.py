"""`recipes.published_conventions`: published numbers out of recorded answers, what conventions make
of them, and what is refused.
"""

import csv
import importlib.util
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from conftest import ROOT, recorded_rows

from xraygen.core.errors import UserError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "recorded"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("green_score") is None, reason="green-score is not installed"
)
needs_recorded = pytest.mark.skipif(
    not SHARED.is_dir(), reason="no recorded GREEN answers at ../shared/recorded"
)
REGIONS = ("bone", "heart", "lung", "mediastinal")


def report(folder: Path) -> str:
    from recipes.published_conventions import report

    return report(folder)


def tables(markdown: str) -> list[list[dict]]:
    """Published and honest, conventions, pairs, rule against GREEN, differences."""
    found = []
    for part in markdown.split("\n\n"):
        if part.startswith("|"):
            header, _, *rows = (
                [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()
            )
            found.append([dict(zip(header, row, strict=True)) for row in rows])
    return found


@pytest.fixture(scope="module")
def recorded() -> str:
    return report(SHARED)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return recorded_rows()


@needs_recorded
def test_the_sixteen_published_numbers_come_out_of_the_completions(recorded):
    with (SHARED / "published_scores.csv").open(newline="") as file:
        published = {
            (row["approach"], row["region"]): f"{float(row['green_mean']):.6f}"
            for row in csv.DictReader(file)
        }
    shown = {(row["approach"].split()[0], row["region"]): row for row in tables(recorded)[0]}
    assert (
        len(published) == 16
        and len(shown) == 20
        and {region for _, region in shown} == {"macro", *REGIONS}
    )
    for cell, number in published.items():
        assert (
            shown[cell]["published"] == shown[cell]["reproduced"] == number
            and shown[cell][""] == "equal to 6 digits"
        )
    assert "1,784 of 1,784 rows: the completion gives the recorded green_score" in recorded


@needs_recorded
def test_honest_scores_count_silence_and_leave_out_what_cannot_be_read(recorded, rows):
    cells = defaultdict(dict)
    for row in rows:
        pair = (row["reference"].strip(), row["candidate"].strip())
        refused = all(pair) and pair[0] != pair[1] and "[Matched Findings]" not in row["completion"]
        score = None if refused else 1.0 if pair == ("", "") else float(row["green_score"])
        cells[row["approach"], row["region"]][row["id"]] = score
    means = {}
    for cell, by_study in cells.items():
        scored = [score for score in by_study.values() if score is not None]
        means[cell] = sum(scored) / len(scored)
    for row in tables(recorded)[0]:
        approach = row["approach"].split()[0]
        expected = (
            sum(means[approach, region] for region in REGIONS) / 4
            if row["region"] == "macro"
            else None
        )
        score, low, high = (float(number.strip("[],")) for number in row["score"].split())
        assert score == pytest.approx(
            means[approach, row["region"]] if expected is None else expected, abs=0.0006
        )
        assert low <= score <= high and int(row["studies"]) == len(cells[approach, "bone"])
    for row in tables(recorded)[1]:
        approach = row["approach"].split()[0]
        assert float(row["score"]) == pytest.approx(
            sum(means[approach, region] for region in REGIONS) / 4, abs=0.0006
        )


@needs_recorded
def test_what_no_rule_decides_and_cannot_be_read_is_counted(recorded, rows):
    (everything,) = (row for row in tables(recorded)[2] if row["approach"] == "all")
    once = {(row["approach"], row["region"], row["id"]): row for row in rows}.values()
    differ = [
        row
        for row in once
        if row["reference"].strip()
        and row["candidate"].strip() not in ("", row["reference"].strip())
    ]
    assert int(everything["rows"]) == len(rows) and int(everything["pairs"]) == len(once)
    assert int(everything["asked"]) == len(differ)
    assert int(everything["distinct asked"]) == len(
        {(row["reference"], row["candidate"]) for row in differ}
    )
    assert int(everything["unparseable"]) == sum(
        "[Matched Findings]" not in row["completion"] for row in differ
    )


@needs_recorded
def test_the_rule_departs_from_green_in_right_silence_only(recorded):
    another = {
        row["verdict"]: (row["pairs"], *list(row.values())[3:]) for row in tables(recorded)[3]
    }
    for verdict, (pairs, readable, printed) in another.items():
        assert readable == "0" and printed == (pairs if verdict == "both_empty" else "0"), verdict


@needs_recorded
def test_runs_that_measured_their_references_are_named_as_leaks(recorded, rows):
    pairs = defaultdict(set)
    for row in rows:
        pairs[row["approach"]].add(row["reference"] == row["candidate"])
    leaks = {approach for approach, equal in pairs.items() if equal == {True}}
    assert len(leaks) == 2
    for table in tables(recorded)[:3]:
        assert {
            row["approach"].removesuffix(" (leak)")
            for row in table
            if row["approach"].endswith(" (leak)")
        } == leaks
    assert {
        line[2:].split(":")[0]
        for line in recorded.splitlines()
        if "candidate = reference everywhere" in line
    } == leaks
    assert not any(leak in row["approaches"] for row in tables(recorded)[4] for leak in leaks)


@needs_recorded
def test_the_page_shows_what_the_command_prints_and_no_text_of_the_records(recorded, rows, root):
    page = (root / "docs/conventions.md").read_text()
    assert (
        page.partition("<!-- reproduce -->\n")[2].partition("<!-- /reproduce -->")[0].strip()
        == recorded.strip()
    )
    for row in rows:
        for text in (row["reference"], row["candidate"], row["completion"]):
            assert len(text.split()) < 3 or text.strip() not in page
        assert row["id"].isdecimal() or row["id"] not in page


# A folder of our own: two studies, the second twice, so that a published mean has three rows a
# region.

SILENT = "I was given no text for one of the two reports, so there is nothing to compare."
DULL = ("Heart of ordinary size.", "Heart of ordinary size.")


def answer(matched: int, missing: int = 0) -> str:
    return (
        "One thing.\n\n[Clinically Significant Errors]:\n(a) False report: 0.\n"
        f"(b) Missing a finding: {missing}. Something.\n\n"
        "[Clinically Insignificant Errors]:\n(a) False report: 0.\n\n[Matched Findings]:\n"
        f"{matched}. Something.\n"
    )


MINE = {
    ("s1", "bone"): ("", "", SILENT, 0),
    ("s2", "bone"): ("", " ", SILENT, 0),
    ("s1", "heart"): (*DULL, answer(1), 1),
    ("s2", "heart"): (*DULL, answer(1), 1),
    ("s1", "lung"): ("Clear left lung. Scar on the right.", "Clear left lung.", answer(1, 1), 0.5),
    ("s2", "lung"): ("Both lungs quiet.", "Quiet lungs.", SILENT, 0),
    ("s1", "mediastinal"): ("Midline kept.", "", SILENT, 0),
    ("s2", "mediastinal"): ("Midline kept.", "Midline kept.", answer(1), 1),
}
COPY = {(id, region): (*DULL, answer(1), 1) for id in ("s1", "s2") for region in REGIONS}
PUBLISHED = {
    ("mine", "bone"): 0,
    ("mine", "heart"): 1,
    ("mine", "lung"): 0.166667,
    ("mine", "mediastinal"): 0.666667,
}


@pytest.fixture
def folder(tmp_path):
    def write(approaches: dict, published: dict = PUBLISHED, n: object = 3) -> Path:
        with (tmp_path / "green_made-up.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(
                ["approach", "region", "id", "reference", "candidate", "completion", "green_score"]
            )
            for approach, cells in approaches.items():
                for id in ("s1", "s2", "s2"):
                    out.writerows(
                        [approach, cell[1], id, *values]
                        for cell, values in cells.items()
                        if cell[0] == id
                    )
        lines = [
            f"{approach},test,{region},{n},{mean}" for (approach, region), mean in published.items()
        ]
        (tmp_path / "published_scores.csv").write_text(
            "\n".join(["approach,split,region,n,green_mean", *lines, ""])
        )
        return tmp_path

    return write


def test_conventions_by_hand(folder):
    published, conventions, pairs, rule, differences = tables(report(folder({"mine": MINE})))
    (line,) = conventions
    assert list(line.values()) == ["mine", "0.458", "0.438", "0.688", "–", "0.875", "0.750", "–"]
    assert [(row["region"], row["reproduced"], row[""]) for row in published] == [
        ("macro", "0.458333", "equal to 6 digits"),
        ("bone", "0.000000", "equal to 6 digits"),
        ("heart", "1.000000", "equal to 6 digits"),
        ("lung", "0.166667", "equal to 6 digits"),
        ("mediastinal", "0.666667", "equal to 6 digits"),
    ]
    assert [row["score"].split()[0] for row in published] == [
        "0.750",
        "1.000",
        "1.000",
        "0.500",
        "0.500",
    ]
    assert {row["studies"] for row in published} == {"2"}
    assert [row["unscored"] for row in published] == ["1", "0", "0", "1", "0"]
    assert list(pairs[0].values()) == ["mine", "12", "8", "2", "3", "1", "0", "2", "2", "1"]
    assert not differences


def test_a_number_that_is_not_reproduced_is_shown_with_its_distance(folder):
    text = report(folder({"mine": MINE}, PUBLISHED | {("mine", "lung"): 0.17}, n=4))
    lung = next(row for row in tables(text)[0] if row["region"] == "lung")
    assert lung[""] == "off by -0.003333, 3 rows for 4"
    wrong = MINE | {("s1", "lung"): (*MINE["s1", "lung"][:3], 0.75)}
    assert "11 of 12 rows: the completion gives the recorded green_score" in report(
        folder({"mine": wrong})
    )


def test_one_differing_row_is_enough_to_be_no_leak(folder):
    leaky = report(folder({"mine": MINE, "copy": COPY}))
    assert "- copy: candidate = reference everywhere" in leaky and "- mine: " not in leaky
    assert "copy (leak)" in leaky and not tables(leaky)[4]
    honest = report(
        folder(
            {"mine": MINE, "copy": COPY | {("s2", "lung"): ("Both lungs quiet.", "", SILENT, 0)}}
        )
    )
    assert "leak" not in honest
    assert {row["approaches"] for row in tables(honest)[4]} == {"mine - copy"}
    gap = next(row for row in tables(honest)[4] if row["convention"] == "score")
    assert gap["difference"].startswith(
        "-0.250 "
    )  # mine has no score for the lung of s2: it counts on neither side


@pytest.mark.parametrize(
    "name, old, new, said",
    [
        ("green_made-up.csv", "green_score", "green", "green_made-up.csv:1: no 'green_score'"),
        ("green_made-up.csv", "mine,heart,s1", "mine,spleen,s1", "region"),
        ("green_made-up.csv", "mine,heart,s1", "mine,others,s1", "region"),
        ("green_made-up.csv", "mine,heart,s1", "mine,heart,", "id"),
        ("green_made-up.csv", "mine,heart,s1", ",heart,s1", "approach"),
        ("green_made-up.csv", ",0.5\n", ",half\n", "green_made-up.csv:.*green_score"),
        ("green_made-up.csv", ",0.5\n", ",nan\n", "green_score"),
        ("green_made-up.csv", ",0.5\n", ",5\n", "green_score"),
        ("green_made-up.csv", ",0.5\n", ",0.5,more\n", "more fields"),
        ("green_made-up.csv", "Quiet lungs.", "Loud lungs.", "s2 has another row that differs"),
        ("green_made-up.csv", "mine,bone,s2", "mine,heart,s3", "has no row for bone of study s"),
        ("published_scores.csv", "green_mean", "mean", "published_scores.csv:1: no 'green_mean'"),
        ("published_scores.csv", "0.166667", "x", "published_scores.csv:4: green_mean"),
        ("published_scores.csv", "lung,3,", "lung,some,", "published_scores.csv:4: n:"),
        (
            "published_scores.csv",
            "mine,test,lung",
            "mine,test,liver",
            "published_scores.csv:4: region",
        ),
        (
            "published_scores.csv",
            "mine,test,lung",
            "mine,test,heart",
            "heart of approach mine is duplicated",
        ),
        ("published_scores.csv", "mine,test,lung,3,0.166667\n", "", "has no row for lung"),
        (
            "published_scores.csv",
            "mine,test,lung",
            "theirs,test,lung",
            "no recorded answers of approach theirs",
        ),
    ],
)
def test_damage_is_named_with_its_place(folder, name, old, new, said):
    path = folder({"mine": MINE}) / name
    text = path.read_bytes().decode().replace("\r\n", "\n")
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=said):
        report(path.parent)


def test_the_command_ends_a_mistake_in_one_line_with_status_2(folder, tmp_path):
    def refused(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "recipes.published_conventions", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert (
            done.returncode == 2
            and done.stderr.count("\n") == 1
            and done.stderr.startswith("error: ")
        ), done.stderr
        assert done.stdout == ""
        return done.stderr

    assert "nowhere" in refused(str(tmp_path / "nowhere")) and "give one folder" in refused()
    (folder({"mine": MINE}) / "published_scores.csv").unlink()
    assert "published_scores.csv" in refused(str(tmp_path))
