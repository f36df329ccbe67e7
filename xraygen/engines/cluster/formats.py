"""Records in the files of results: JSON Lines, or Parquet whose columns DuckDB and pandas read as
they are meant.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord
from xraygen.core.tables import parquet_module

if TYPE_CHECKING:
    from pyarrow import Schema, Table

Format = Literal["jsonl", "parquet"]
Tables = Callable[[Iterable[BaseModel]], "Iterator[Table]"]  # at least one, all with one schema

_ROWS = 10_000  # of a row group


def write(file: IO[bytes], records: Iterable[BaseModel], form: Format, tables: Tables) -> int:
    """Returns the number of records. `tables`: the records as Arrow tables."""
    count = 0

    def counted() -> Iterator[BaseModel]:
        nonlocal count
        for record in records:
            count += 1
            yield record

    if form == "jsonl":
        for record in counted():
            file.write(record.model_dump_json().encode() + b"\n")
        return count
    parquet = parquet_module("--format parquet")
    made = tables(counted())
    first = next(made)
    with parquet.ParquetWriter(file, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in made:
            writer.write_table(table)
    return count


def annotation_tables(records: Iterable[BaseModel], regions: Regions) -> "Iterator[Table]":
    """Annotation records as tables. `annotation` and `evidence` are structs with a field for each
    region, null where there is none; a span is a struct of start and end; `usage` is a map.
    """
    parquet_module("--format parquet")
    import pyarrow

    schema = _annotation_schema(regions)
    rows = (_row(record) for record in records)
    block = list(islice(rows, _ROWS))
    while True:
        yield pyarrow.Table.from_pylist(block, schema)
        block = list(islice(rows, _ROWS))
        if not block:
            return


def _annotation_schema(regions: Regions) -> "Schema":
    import pyarrow as pa

    span = pa.struct({"start": pa.int32(), "end": pa.int32()})
    evidence = pa.struct(
        {"support": pa.string(), "spans": pa.list_(span), "confidence": pa.float64()}
    )
    return pa.schema(
        {
            "id": pa.string(),
            "annotation": pa.struct({region: pa.string() for region in regions}),
            "evidence": pa.struct({region: evidence for region in regions}),
            "error": pa.string(),
            "raw": pa.string(),
            "usage": pa.map_(pa.string(), pa.float64()),
        }
    )


def _row(record: BaseModel) -> dict:
    assert isinstance(record, AnnotationRecord)
    row = record.model_dump()
    for evidence in row["evidence"].values():
        evidence["spans"] = [{"start": start, "end": end} for start, end in evidence["spans"]]
    return row | {"evidence": row["evidence"] or None, "usage": list(row["usage"].items())}


def read_annotations(file: IO[bytes]) -> Iterator[AnnotationRecord]:
    """The records of a Parquet file that `annotation_tables` made."""
    for batch in parquet_module("--format parquet").ParquetFile(file).iter_batches():
        for row in batch.to_pylist():
            yield AnnotationRecord.model_validate(_fields(row))


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    annotation = row["annotation"]
    if annotation is not None:
        annotation = _without_nulls(annotation)
    evidence = _without_nulls(row["evidence"] or {})
    for found in evidence.values():
        found["spans"] = [(span["start"], span["end"]) for span in found["spans"]]
    return row | {"annotation": annotation, "evidence": evidence, "usage": dict(row["usage"])}


def _without_nulls(cells: dict[str, Any]) -> dict[str, Any]:
    return {name: cell for name, cell in cells.items() if cell is not None}
