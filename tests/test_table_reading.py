"""What core.tables understands of files that users bring, and what it refuses in one line."""

import os
from datetime import datetime

import pytest
from click.testing import CliRunner

from xraygen.cli import main
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.tables import read_rows, text_of_id
from xraygen.sources.table.table import Table, TableSettings


def refused(path, needed=("id", "report")) -> str:
    with pytest.raises(UserError) as error:
        list(read_rows(path, needed))
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text


# --- Parquet


def parquet(path, **columns):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(arrow.table(columns), path)
    return path


def test_parquet_text_that_is_not_utf_8_is_refused_without_being_quoted(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    cells = arrow.array([b"Clear.", b"Epanchement \xe9tendu."])
    damaged = arrow.Array.from_buffers(arrow.string(), 2, cells.buffers())
    said = refused(parquet(tmp_path / "x.parquet", id=["a", "b"], report=damaged))
    assert "'report'" in said and "Epanchement" not in said


def test_a_parquet_date_after_the_year_9999_is_refused(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    far = arrow.array([0, 10**12], arrow.int64()).cast(arrow.timestamp("s"))
    path = parquet(tmp_path / "x.parquet", id=["a", "b"], report=["r", "s"], seen=far)
    assert "'seen'" in refused(path)


def test_parquet_rows_are_numbered_through_and_keep_their_cells(tmp_path):
    seen = [datetime(2020, 1, 1), None, datetime(2021, 1, 1)]
    columns = {"id": ["a", "b", "c"], "report": ["r", None, "t"], "seen": seen}
    found = list(read_rows(parquet(tmp_path / "x.parquet", **columns), ("id",)))
    assert [number for number, _ in found] == [1, 2, 3]
    assert [row["report"] for _, row in found] == ["r", None, "t"]
    assert [row["seen"] for _, row in found] == seen


# --- quoted lines that look like rows


def table(path, cells: str, columns: str = "id,report,lung"):
    """A table with integer ids, `cells` after the first six rows."""
    rows = [",".join([str(number), *["clear"] * columns.count(",")]) for number in range(6)]
    path.write_text("\n".join([columns, *rows, cells, "8,clear" + ",clear" * 99]) + "\n")
    return path


def damage_of(path) -> list:
    found = []
    list(read_rows(path, ("id", "report"), damaged=lambda *what: found.append(what[0])))
    return found


@pytest.mark.parametrize(
    "line", ["1,5 cm, spiculated.", "1,5 cm.", "3,2 x 2,1 mm, lobulated, new.", "5, maybe more."]
)
def test_a_line_of_a_quoted_report_that_begins_with_a_number_is_no_row(tmp_path, line):
    path = table(tmp_path / "x.csv", f'7,"A nodule:\n{line}\nNo effusion.",clear')
    assert damage_of(path) == ["row_malformed"], "of the last line alone"


def test_the_last_line_of_a_quoted_report_may_begin_with_a_size(tmp_path):
    path = table(tmp_path / "x.csv", '7,"A nodule:\n1,5 cm.",clear')
    assert damage_of(path) == ["row_malformed"], "of the last line alone"


@pytest.mark.parametrize(
    "cells",
    [
        '6,"clear,clear\n7,clear,clear\n9,clear",clear',
        '6,"clear,clear\n7,clear,clear\n",clear',
        '6,"clear,clear\n7,clear",clear',  # as far as the quote that ends the cell
        '6,clear,"clear\n7,clear,clear"',
        '6,"clear,clear\n7,45M,clear\n9,clear",clear',
        '6,2 cm,"clear\n7,3 cm,clear\n9,3 cm,clear"',  # a column of sizes
    ],
)
def test_a_quoted_line_with_the_separators_of_a_row_is_one(tmp_path, cells):
    with pytest.raises(UserError, match="x.csv:8: a quote that is opened here swallows rows"):
        damage_of(table(tmp_path / "x.csv", cells))


# --- what is not a file


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_a_pipe_or_a_folder_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert "not a file" in refused(tmp_path / name)
    (tmp_path / "folder" / name).mkdir(parents=True)
    assert "not a file" in refused(tmp_path / "folder" / name)


@pytest.mark.parametrize(
    ("layout", "name"), [("r2gen", "annotation.json"), ("kaggle-iu", "indiana_reports.csv")]
)
def test_convert_does_not_wait_for_a_pipe(tmp_path, layout, name):
    os.mkfifo(tmp_path / name)
    projections = tmp_path / "indiana_projections.csv"
    projections.write_text("uid,filename,projection\n1,1.png,Frontal\n")
    out = tmp_path / "out.jsonl"
    done = CliRunner().invoke(main, ["convert", layout, str(tmp_path), "--out", str(out)])
    assert done.exit_code == 2 and f"{name}: not a file" in done.output and not out.exists()


# --- ids


@pytest.mark.parametrize(
    "written", ["12", "12.0", "12.00", " 12.0 ", "\u200b12", "12\ufeff", 12, 12.0]
)
def test_one_id_written_in_several_ways_is_one(written):
    assert text_of_id(written) == "12"


@pytest.mark.parametrize("id", ["1.5", "1.0.0", "S1.0", "007", ".0", "1.", "1.0a", "ä 1"])
def test_other_ids_stay_as_they_are(id):
    assert text_of_id(id) == id


def test_a_patient_written_as_a_whole_and_as_a_decimal_number_is_in_one_split(tmp_path):
    patients = ["1", "1.0", "2", "2.0", "3\u200b", "3"] * 5
    rows = [f"S{number},Clear.,{patient},Clear." for number, patient in enumerate(patients)]
    text = "\n".join(["id,report,patient,lung", *rows]) + "\n"
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    settings = TableSettings(file="x.csv", patient="patient", reference={"lung": "lung"})
    regions = Regions.model_validate({"lung": {"about": "lungs"}})
    studies = Table(settings, regions).read(tmp_path, tmp_path / "drawn", tmp_path).studies
    assert {study.patient for study in studies} == {"1", "2", "3"}
    test = {study.patient for study in studies if study.split == "test"}
    assert not test & {study.patient for study in studies if study.split == "train"}
