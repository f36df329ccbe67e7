"""The command line: what it writes, and how it speaks of a user's mistakes."""

import contextlib
import csv
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from xraygen.cli import main
from xraygen.core.cases import read_cases, read_pairs
from xraygen.core.errors import UserError


def xraygen(*arguments: str, cwd) -> Result:
    """In this process; the tests of `examine` and of the judges start a separate one."""
    with contextlib.chdir(cwd):
        return CliRunner().invoke(main, arguments)


def one_line(done: Result, *said: str) -> None:
    assert (
        done.exit_code == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
    ), done.stderr
    assert all(words in done.stderr for words in said), done.stderr


def write(path, text: str):
    path.write_bytes(text.encode())
    return path


def test_judge_keeps_rows_order_and_columns(tmp_path):
    rows = [
        ("1", "Heart size is normal.", "Heart size is normal."),
        ("2", "", ""),
        ("3", "", "Small effusion."),
        ("4", "Small effusion, left.", ""),
        ("5", "Small left effusion.", "No effusion."),
        ("1", "Heart size is normal.", "Heart size is normal."),
    ]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("mine", "reference", "candidate"), *rows])
    done = xraygen("judge", "pairs.csv", "--judge", "proxy", "--out", "out.csv", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        out = list(csv.DictReader(file))
    assert [(row["mine"], row["reference"], row["candidate"]) for row in out] == rows
    verdicts = [
        "identical",
        "both_empty",
        "reference_empty",
        "candidate_empty",
        "judged",
        "identical",
    ]
    assert [row["verdict"] for row in out] == verdicts
    assert [float(row["score"]) for row in out[:4]] == [1, 1, 0, 0] and float(out[4]["score"]) < 0.5
    findings = ["clinical", "missed", "invented"]
    assert list(out[0])[3:] == ["score", "verdict", "matched_findings", *"abcdef", *findings]


def test_judge_reads_json_lines_too(tmp_path):
    write(
        tmp_path / "pairs.jsonl",
        '{"reference": null, "candidate": "", "n": 1}\n\n'
        '{"reference": "a", "candidate": "a", "n": 2}\n',
    )
    assert xraygen("judge", "pairs.jsonl", "--out", "out.csv", cwd=tmp_path).exit_code == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith(",,1,1.0,both_empty")


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("pairs.csv", "reference,canddate\na,b\n", ["pairs.csv:1", "no 'candidate'", "canddate"]),
        ("pairs.csv", "reference,candidate\na,b,c\n", ["pairs.csv:2", "more fields"]),
        ("pairs.csv", "reference,candidate\na\n", ["pairs.csv:2", "fewer fields"]),
        ("pairs.csv", 'reference,candidate\na,"b\n', ["pairs.csv", "damaged CSV"]),
        ("pairs.jsonl", '{"reference": "a"\n', ["pairs.jsonl:1", "damaged JSON"]),
        ("pairs.jsonl", '{"reference": "a", "candidate": 3}\n', ["pairs.jsonl:1", "text"]),
        ("pairs.jsonl", "[1]\n", ["pairs.jsonl:1", "not a JSON object"]),
        ("pairs.jsonl", "[" * 100_000 + "\n", ["pairs.jsonl:1", "damaged JSON"]),
        (
            "pairs.jsonl",
            '{"reference": "\\ud800", "candidate": ""}\n',
            ["pairs.jsonl:1", "surrogate"],
        ),
        ("pairs.csv", "reference,reference,candidate\na,b,c\n", ["pairs.csv:1", "twice"]),
        ("pairs.csv", "reference,canddate\n", ["pairs.csv:1", "no 'candidate'"]),
        ("pairs.csv", "", ["pairs.csv:1", "no 'reference'"]),
        ("pairs.txt", "a", ["pairs.txt", ".jsonl"]),
    ],
)
def test_a_damaged_file_is_one_line_and_leaves_nothing(tmp_path, name, content, said):
    write(tmp_path / name, content)
    one_line(xraygen("judge", name, "--out", "out.csv", cwd=tmp_path), *said)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_judge_keeps_columns_that_only_some_rows_have_and_says_what_it_replaces(tmp_path):
    write(
        tmp_path / "p.jsonl",
        '{"reference": "a", "candidate": "a", "score": 7}\n'
        '{"reference": "", "candidate": "", "note": "n"}\n',
    )
    done = xraygen("judge", "p.jsonl", "--out", "o.csv", cwd=tmp_path)
    assert done.exit_code == 0 and "replaces in o.csv: score" in done.stderr
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["note"] for row in rows] == ["", "n"] and rows[0]["score"] == "1.0"


def test_judging_no_rows_leaves_a_header(tmp_path):
    write(tmp_path / "p.csv", "reference,candidate\n")
    assert xraygen("judge", "p.csv", "--out", "o.csv", cwd=tmp_path).exit_code == 0
    header = "score,verdict,matched_findings,a,b,c,d,e,f,clinical,missed,invented\n"
    assert (tmp_path / "o.csv").read_text() == header


def test_a_wrong_option_is_one_line(tmp_path):
    write(tmp_path / "p.csv", "reference,candidate\n")
    one_line(xraygen("judge", "p.csv", cwd=tmp_path), "--out", "--help")
    one_line(
        xraygen("judge", "p.csv", "--judge", "nobody", "--out", "o.csv", cwd=tmp_path),
        "nobody",
        "proxy",
    )
    one_line(xraygen("judge", "p.csv", "--out", "", cwd=tmp_path), "folder")
    one_line(
        xraygen("judge", "p.csv", "--out", "/dev/null", cwd=tmp_path),
        "/dev/null",
        "not a regular file",
    )


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    one_line(
        xraygen("judge", "none.csv", "--out", "out.csv", cwd=tmp_path), "none.csv", "No such file"
    )
    (tmp_path / "folder.csv").mkdir()
    one_line(xraygen("judge", "folder.csv", "--out", "out.csv", cwd=tmp_path), "folder.csv")
    write(tmp_path / "p.csv", "reference,candidate\na,b\n")
    one_line(
        xraygen("judge", "p.csv", "--out", "folder.csv", cwd=tmp_path), "folder.csv", "is a folder"
    )


def test_annotate_outside_a_project_and_by_no_approach(tmp_path, root):
    write(tmp_path / "cases.csv", "id,report\n1,Lungs are clear.\n")
    one_line(
        xraygen("annotate", "cases.csv", "--approach", "router", "--out", "o.jsonl", cwd=tmp_path),
        "params.yaml",
        "project's folder",
    )
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    one_line(
        xraygen("annotate", "cases.csv", "--approach", "rooter", "--out", "o.jsonl", cwd=tmp_path),
        "rooter",
        "router-verbatim",
    )
    one_line(
        xraygen("annotate", "cases.csv", "--approach", "router", "--out", "o.jsonl", cwd=tmp_path),
        "models/router",
        "dvc repro",
    )


def test_cases_hold_no_reference_whatever_the_file_holds(tmp_path):
    write(
        tmp_path / "c.jsonl",
        json.dumps(
            {"id": "1", "report": "r", "reference": {"lung": "PLANTED"}, "images": ["a.png"]}
        )
        + "\n",
    )
    write(tmp_path / "c.csv", "reference,id,report,images\nPLANTED,1,r,a.png; b/c.png\n")
    for name in ("c.jsonl", "c.csv"):
        (case,) = read_cases(tmp_path / name)
        assert "PLANTED" not in case.model_dump_json() and case.images[0].path == "a.png"
    assert case.images[1].path == "b/c.png"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x.png", "a/../../x.png", "..\\x.png", "C:\\x.png"]
)
def test_an_image_path_may_not_leave_its_folder(tmp_path, path):
    write(
        tmp_path / "c.jsonl",
        json.dumps({"id": "1", "report": "r", "images": [{"path": path}]}) + "\n",
    )
    with pytest.raises(UserError, match="leaves the folder"):
        list(read_cases(tmp_path / "c.jsonl"))


def test_files_from_spreadsheets_are_read(tmp_path):
    write(tmp_path / "p.csv", '\ufeffreference,candidate\r\n"two\r\nlines",b\r\n')
    assert read_pairs(tmp_path / "p.csv") == [{"reference": "two\r\nlines", "candidate": "b"}]
    (tmp_path / "l.csv").write_bytes("reference,candidate\né,b\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_pairs(tmp_path / "l.csv")


def test_help_needs_nothing_heavy():
    code = (
        "import sys, xraygen.cli; print({'numpy', 'scipy', 'sklearn', 'pandas', 'torch',"
        " 'PIL'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "set()\n"
    )
