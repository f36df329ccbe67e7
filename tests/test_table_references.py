"""Which rows of a table have a reference, where it is JSON or a struct."""

import json

import pytest

from xraygen.core.regions import Regions
from xraygen.sources.table.table import Table, TableSettings

REGIONS = Regions.model_validate({"airway": {"about": "a"}, "skeleton": {"about": "s"}})
PLAIN = {"airway": "Trachea central.", "skeleton": None}


def splits(folder, references: list, name: str) -> dict[str, str]:
    """The split of each study; the first six have a reference that says something."""
    path = folder / name
    rows = [
        {"id": f"S{number}", "report": "Trachea central.", "reference": reference}
        for number, reference in enumerate([PLAIN] * 6 + references)
    ]
    if name.endswith(".parquet"):
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(arrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = Table(TableSettings(file=name, reference="reference"), REGIONS)
    studies = table.read(folder, folder / "drawn", folder).studies
    return {study.id: study.split for study in studies[6:]}


NULLS = dict.fromkeys(REGIONS.names)


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_a_reference_of_nulls_is_none(tmp_path, name):
    found = splits(tmp_path, [NULLS, NULLS | {"skeleton": "Ribs intact."}], name)
    assert found["S6"] == "val" and found["S7"] in ("train", "test")


@pytest.mark.parametrize(
    "reference", [{}, {"airway": ""}, {"airway": None, "skeleton": ""}, {"airway": "none"}]
)
def test_silence_is_a_reference(tmp_path, reference):
    assert splits(tmp_path, [reference], "x.jsonl")["S6"] in ("train", "test")


@pytest.mark.parametrize(
    "reference",
    [NULLS, {"airway": None}, {"airway": float("nan")}, {"liver": None}, NULLS | {"liver": "x"}],
)
def test_nulls_of_some_regions_or_of_others_are_no_reference(tmp_path, reference):
    assert splits(tmp_path, [reference, json.dumps(reference)], "x.jsonl") == {
        "S6": "val",
        "S7": "val",
    }
