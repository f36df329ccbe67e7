"""What core.tables understands of files that users bring, and what it refuses in one line."""

from datetime import datetime

import pytest

from xraygen.core.errors import UserError
from xraygen.core.tables import read_rows


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
