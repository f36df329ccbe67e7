"""The input of a run on Ray: shards of any size give the rows that are read without Ray."""

import csv
import io
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xraygen.commands.judge import judge
from xraygen.core.cases import MAX_TEXT, case_of, read_cases
from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Case, Evidence
from xraygen.core.tables import write_csv
from xraygen.judges import Opinion

pytest.importorskip("fsspec")
pq = pytest.importorskip("pyarrow.parquet")
import fsspec
import pyarrow as pa

from xraygen.engines.cluster import formats, lines, parquet
from xraygen.engines.cluster.shards import CASES, PAIRS, Columns, Row, Shard, plan
from xraygen.engines.cluster.source import fingerprint
from xraygen.engines.cluster.urls import Folder, one_line
from xraygen.judges.on_cluster import Judged, Judging

SOME = settings(max_examples=settings.default.max_examples * 2 // 5)
FEW = settings(max_examples=settings.default.max_examples // 5)
TRICKY = ["a", "é", "\U0001f6d1", ",", ";", '"', "\n", "\r", "\r\n", " ", "\t", "|", "\\", "-"]
TEXTS = st.lists(st.sampled_from(TRICKY), max_size=12).map("".join)
ROWS = st.lists(st.tuples(TEXTS, TEXTS), max_size=8)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
STEPS = st.integers(1, 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("input")


@pytest.fixture(scope="module", autouse=True)
def few_bytes_at_once():
    """So that lines and their ends are in several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_PIECE", 64)
        yield


def rows_of(source: Path | str, least: int = 1, columns: Columns = CASES) -> list[Row]:
    return [row for shard in plan(str(source), columns, least) for row in shard.rows()]


def cases_of(rows: list[Row]) -> list[Case]:
    assert [row.problem for row in rows if row.problem] == []
    return [case_of(row.cells, row.place) for row in rows]


def in_memory(name: str, content: bytes) -> str:
    """The same file where it has to be read by URL."""
    with fsspec.open(f"memory://{name}", "wb") as file:
        file.write(content)
    return f"memory://{name}"


@SOME
@given(rows=ROWS, data=st.data())
def test_shards_of_json_lines_give_the_rows_of_the_file(folder, rows, data):
    content = "\ufeff" * data.draw(st.booleans())
    for number, texts in enumerate(rows):
        cells = {"id": number, "report": texts[0], "note": texts[1]}
        content += json.dumps(cells, ensure_ascii=data.draw(st.booleans()))
        content += data.draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n \u2028\n"]))
    content = content.rstrip() if data.draw(st.booleans()) else content
    path = folder / "c.jsonl"
    path.write_bytes(content.encode())
    url = in_memory("c.jsonl", content.encode())
    assert cases_of(rows_of(url, data.draw(STEPS))) == list(read_cases(path))


@SOME
@given(rows=ROWS, end=ENDS, separator=st.sampled_from(",;\t|"), data=st.data())
def test_shards_of_a_table_give_the_rows_of_the_file(folder, rows, end, separator, data):
    text = io.StringIO(newline="")
    declared = data.draw(st.sampled_from(["", "\ufeff"]))
    declared += data.draw(st.sampled_from(["", f"sep={separator}{end}"]))
    # With another end, Python 3.11 leaves line feeds without quotes.
    minimal = end == "\r\n" and data.draw(st.booleans())
    quoting = csv.QUOTE_MINIMAL if minimal else csv.QUOTE_ALL
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow(["id", "two\nlines" if data.draw(st.booleans()) else "note", "report"])
    for number, texts in enumerate(rows):
        writer.writerow([number, *texts])
        text.write(data.draw(st.sampled_from(["", "", end, f"{separator * 2}{end}"])))
    content = (declared + text.getvalue()).encode()
    path = folder / data.draw(st.sampled_from(["c.csv", "C.TSV"]))
    path.write_bytes(content)
    url = in_memory(path.name, content)
    assert cases_of(rows_of(url, data.draw(STEPS))) == list(read_cases(path))


@SOME
@given(st.lists(st.sampled_from([*b'a1",\n\r{}:[] ', 0xE9, 0xC3, 0xA9])).map(bytes), STEPS, STEPS)
@example(b'1,"a\n2,b\n3,c', 1, 5)
@example(b'1,"a\r\n2,"b"x\r3,\xe9\r\n', 2, 9)
def test_what_is_damaged_does_not_depend_on_where_shards_begin(content, one, other):
    for name, start in (("d.csv", b"id,report\n"), ("d.jsonl", b'{"id":"0","report":""}\n')):
        url = in_memory(name, start + content)
        assert rows_of(url, one) == rows_of(url, other) == rows_of(url, 1000)


@FEW
@given(st.lists(TEXTS, max_size=25), st.integers(1, 12), st.integers(1, 9), STEPS)
def test_shards_of_parquet_give_the_rows_of_the_file(folder, reports, group, most, least):
    path = folder / "c.parquet"
    table = pa.table(
        {"ID": pa.array(range(len(reports))), "report": pa.array(reports, pa.string())}
    )
    pq.write_table(table, path, row_group_size=group)
    url = in_memory("c.parquet", path.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "MOST_ROWS", most)
        patch.setattr(parquet, "_BATCH", 3)
        shards = plan(url, least=least)
        assert all(0 < shard.end - shard.start <= most for shard in shards)
        rows = [row for shard in shards for row in shard.rows()]
    assert cases_of(rows) == list(read_cases(path))


def test_small_row_groups_are_joined_and_large_ones_divided(folder):
    path = folder / "g.parquet"
    table = pa.table(
        {"id": [str(number) for number in range(1000, 2000)], "report": ["Clear."] * 1000}
    )
    pq.write_table(table, path, row_group_size=10, use_dictionary=False)
    size = pq.read_metadata(path).row_group(0).total_byte_size
    assert [shard.end for shard in plan(str(path), least=size * 25)] == list(range(250, 1001, 250))
    pq.write_table(table, path, row_group_size=1000, use_dictionary=False)
    third = pq.read_metadata(path).row_group(0).total_byte_size // 3
    assert [shard.end for shard in plan(str(path), least=third)] == [333, 666, 1000]


def test_a_row_that_cannot_be_used_fails_alone_and_keeps_its_id(folder):
    path = folder / "bad.jsonl"
    good = json.dumps({"id": "good", "report": "Clear."}).encode()
    deep = b'{"id": "deep", "report": ' + b"[" * 100_000 + b"}"
    bad = {
        b'{"id": "b1", "report": "Clea': "damaged JSON: Invalid control character",
        b'["Clear."]': "not a JSON object",
        b'{"id": "b3", "text": "Clear."}': "no 'report'; there are: id, text",
        b'{"id": "b4", "report": "Caf\xe9"}': "not UTF-8 text",
        b'{"id": "b5", "report": "\\ud83d"}': "a lone surrogate",
        deep: "damaged JSON: maximum recursion depth exceeded",
    }
    path.write_bytes(good + b"\n" + b"".join(line + b"\n" + good + b"\n" for line in bad))
    rows = rows_of(path, 50)
    assert [row.problem is None for row in rows] == [True, *[False, True] * len(bad)]
    for row, (line, said) in zip(rows[1::2], bad.items(), strict=True):
        at = path.read_bytes().index(line)
        assert row.place == f"bad.jsonl at byte {at:,}"
        assert row.problem and row.problem.startswith(said) and "Clea" not in row.problem
    assert [row.cells.get("id") for row in rows[1::2]] == [None, None, "b3", "b4", "b5", None]


def test_a_damaged_row_of_a_table_fails_alone(folder):
    path = folder / "bad.csv"
    path.write_bytes(
        b'id,report\n1,a\n2,"never closed\n3,c\n4\n5,d,e\n6,"The "boot" heart."\n7,caf\xe9\n'
        b'8,"two\nlines"\n9,"also not closed'
    )
    rows = rows_of(path)
    assert [row.cells.get("id") for row in rows if not row.problem] == ["1", "3", "8"]
    assert [(row.place, row.problem) for row in rows if row.problem] == [
        ("bad.csv at byte 14", lines.DAMAGED),
        ("bad.csv at byte 34", "fewer fields than the header has columns"),
        ("bad.csv at byte 36", "more fields than the header has columns"),
        ("bad.csv at byte 42", lines.DAMAGED),
        ("bad.csv at byte 64", "not UTF-8 text"),
        ("bad.csv at byte 85", lines.DAMAGED),
    ]
    assert [row.cells for row in rows if row.problem == "not UTF-8 text"] == [
        {"id": "7", "report": None}
    ]


def test_values_of_parquet_that_are_no_text_fail_their_rows(folder):
    path = folder / "bad.parquet"
    texts = pa.array([b"Clear.", b"caf\xe9", b"Clear."]).view(pa.string())
    pq.write_table(pa.table({"id": ["1", "2", "3"], "report": texts}), path)
    rows = rows_of(path)
    assert [(row.cells["id"], bool(row.problem)) for row in rows] == [
        ("1", False),
        ("2", True),
        ("3", False),
    ]
    content = bytearray(path.read_bytes())
    content[30:40] = b"\xff" * 10
    path.write_bytes(content)
    rows = rows_of(path)
    assert [row.place for row in rows] == [f"bad.parquet row {row}" for row in range(3)]
    assert all(row.problem and "cannot be read" in row.problem for row in rows)


@pytest.mark.parametrize("name", ["l.jsonl", "l.csv"])
def test_a_line_that_is_too_long_for_memory_fails_alone(folder, monkeypatch, name):
    monkeypatch.setattr(lines, "LONGEST", 100)
    start = b"" if name == "l.jsonl" else b"id,report\r\n"
    row = b'{"id": "%d", "report": "%b"}\r\n' if name == "l.jsonl" else b"%d,%b\r\n"
    content = b"".join(row % (id, b"x" * size) for id, size in enumerate([3, 500, 1, 60, 118, 2]))
    (folder / name).write_bytes(start + content)
    for least in (1, 37, 10_000):
        rows = rows_of(folder / name, least)
        assert [row.cells.get("id") for row in rows] == ["0", None, "2", "3", None, "5"]


def test_a_line_end_in_two_pieces_is_one(folder, monkeypatch):
    monkeypatch.setattr(lines, "_PIECE", 6)
    (folder / "two.csv").write_bytes(b"sep=;\r\nid;report\r\n1;a\r\n")
    assert [row.cells for row in rows_of(folder / "two.csv")] == [{"id": "1", "report": "a"}]


def test_a_folder_is_read_in_the_order_of_its_names(folder):
    root = folder / "many"
    for name in (
        "b.csv",
        "a/2.csv",
        "a/10.csv",
        ".hidden/x.csv",
        "a/.y.csv",
        "_counts/z.csv",
        "a/README.md",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"id,report\n{name},Clear.\n")
    rows = rows_of(root)
    assert [row.cells["id"] for row in rows] == ["a/10.csv", "a/2.csv", "b.csv"]
    assert [row.folder for row in rows] == ["a", "a", ""]
    assert [shard.index for shard in plan(str(root))] == [0, 1, 2]
    before = fingerprint(str(root))
    assert [name for name, *_ in before] == ["a/10.csv", "a/2.csv", "b.csv"]
    (root / "b.csv").write_text("id,report\nb.csv,Cloud.\n")
    assert fingerprint(str(root))[:2] == before[:2] and fingerprint(str(root)) != before
    (root / "c.jsonl").write_text("")
    with pytest.raises(UserError, match=r"several kinds \(\.csv, \.jsonl\)"):
        plan(str(root))
    (root / "c.jsonl").unlink()


def test_a_link_to_a_file_is_followed_and_no_other_is_skipped_silently(folder):
    root = folder / "links"
    root.mkdir()
    (folder / "target.csv").write_text("id,report\n1,Clear.\n")
    (root / "a.csv").symlink_to(folder / "target.csv")
    assert [row.cells["id"] for row in rows_of(root)] == ["1"]
    for target, said in ((folder, "a link to a folder"), (folder / "absent", "a link to nothing")):
        (root / "b").unlink(missing_ok=True)
        (root / "b").symlink_to(target)
        with pytest.raises(UserError, match=f"links/b: {said}"):
            plan(str(root))


class Server(BaseHTTPRequestHandler):
    """Of one file, by its path: with `dated`, it says when the file was changed."""

    def do_HEAD(self):
        if "absent" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "5")
        if "dated" in self.path:
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args):
        pass


def test_a_file_by_http_has_a_date_and_no_signature_is_shown():
    pytest.importorskip("aiohttp")
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert fingerprint(f"{url}/dated.jsonl?X-Signature=secret") == [
            ["dated.jsonl", 5, "Thu, 01 Jan 2026 00:00:00 GMT"]
        ]
        with pytest.raises(UserError, match="when it was changed"):
            fingerprint(f"{url}/plain.jsonl")
        read_only = Folder(f"{url}/out?X-Signature=secret")
        with (
            pytest.raises(UserError, match="cannot be written") as raised,
            read_only.replacing("a"),
        ):
            pass
        assert "secret" not in str(raised.value)
        server.shutdown()
    error = FileNotFoundError("http://user:secret@host/a.jsonl?X-Signature=secret")
    assert one_line(error) == "FileNotFoundError http://host/a.jsonl"


class Unreachable(io.BytesIO):
    """From some byte on."""

    def read(self, size=-1):
        if self.tell() < 100_000:
            raise self.error
        return super().read(size)


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError("reset"), OSError(5, "x")])
def test_an_error_of_the_network_fails_no_row_of_parquet(error):
    file = Unreachable()
    reports = [str(number) * 20 for number in range(20_000)]
    pq.write_table(pa.table({"id": reports, "report": reports}), file, compression="none")
    file.error = error
    with pytest.raises(type(error)):
        list(parquet.parquet_rows(file, 0, 20_000, ("id", "report"), ()))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("memory://absent.csv", "no such file or folder"),
        ("absent.csv", "absent.csv: no such file or folder"),
        ("s3://key:secret@bucket/c.csv", "^s3://bucket/c.csv: Install s3fs"),
        (
            "ftp://user:secret@127.0.0.1:1/c.csv",
            "^ftp://127.0.0.1:1/c.csv: cannot be reached: Conn",
        ),
        ("nope://c.csv", "nope://c.csv: Protocol not known"),
        ("memory://c.xlsx", "neither .csv, .tsv nor .jsonl"),
        ("memory://h.csv", "h.csv:1: no 'report'; there are: id, text"),
        ("memory://h.jsonl", "h.jsonl: no 'report'; there are: id, text"),
        ("memory://h.parquet", "h.parquet: no 'report'; there are: id"),
        ("memory://utf16.csv", "not UTF-8 text|UTF-16"),
        ("memory://empty/", "no .csv, .tsv, .jsonl or .parquet file in it"),
    ],
)
def test_what_is_wrong_with_the_input_as_a_whole_is_said_when_it_is_planned(source, said):
    in_memory("c.xlsx", b"PK")
    in_memory("h.csv", b"id,text\n1,a\n")
    in_memory("h.jsonl", b'{"id": "1", "text": "a"}\n' * 3)
    in_memory("utf16.csv", "id,report\n1,é\n".encode("utf-16"))
    in_memory("empty/notes.md", b"")
    with fsspec.open("memory://h.parquet", "wb") as file:
        pq.write_table(pa.table({"id": ["1"]}), file)
    with pytest.raises(UserError, match=said) as raised:
        plan(source)
    assert "secret" not in str(raised.value)


def test_an_empty_row_is_no_case_and_a_pair(folder):
    (folder / "e.csv").write_text("reference,candidate,id,report\n,nan,,\n")
    assert rows_of(folder / "e.csv", 1, CASES) == []
    assert len(rows_of(folder / "e.csv", 1, PAIRS)) == 1


def test_a_completion_that_first_rows_have_is_null_where_others_lack_it(folder):
    path = folder / "p.jsonl"
    pair = {"reference": "Clear.", "candidate": ""}
    rows = [pair, pair | {"Completion": "c"}, pair]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row.cells["completion"] for row in rows_of(path, 1, PAIRS)] == [None, "c", None]


def test_a_file_that_changes_while_it_is_read_ends_the_run(folder):
    path = folder / "changed.jsonl"
    path.write_text('{"id": "1", "report": ""}\n')
    (shard,) = plan(str(path))
    path.write_text('{"id": "1", "report": ""}\n' * 2)
    with pytest.raises(UserError, match="changed.jsonl: has changed"):
        list(shard.rows())


def test_a_file_of_which_nothing_can_be_used_is_no_input(folder):
    path = folder / "utf16.jsonl"
    path.write_bytes('{"id": "1", "report": "é"}\n'.encode("utf-16") * 100)
    with pytest.raises(UserError, match="none of its first 100 rows can be used: not UTF-8"):
        plan(str(path))


def test_a_shard_is_the_same_after_it_has_been_sent(folder):
    path = folder / "s.csv"
    path.write_text("id;report\n1;a\n2;b\n")
    for shard in plan(str(path), least=1):
        assert Shard.model_validate_json(shard.model_dump_json()) == shard


PAIRS_OF_ALL_KINDS = [
    ("The heart is large.", "Heart size is normal."),
    ("Lungs are clear.", "Lungs are clear."),
    ("", "nan"),
    ("No effusion.", ""),
    ("Small left effusion.", "Small effusion on the left."),
]


def judged_on_the_cluster(source: Path, least: int, name: str = "proxy") -> list[Judged]:
    """Shard by shard, as the actors do it."""
    work = Judging(name, None, source.parent).start(None)
    shards = plan(str(source), PAIRS, least)
    return [record for shard in shards for record in work(shard.rows())]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_judge_says_on_the_cluster_what_it_says_without(folder, kind):
    """Duplicates are in several shards; columns of the input stay, but those of the judgement."""
    pairs = [*PAIRS_OF_ALL_KINDS * 3]
    rows = [
        {"note": f"n{number}", "reference": one, "candidate": other, "score": "old", "f": "old"}
        for number, (one, other) in enumerate(pairs)
    ]
    source = folder / f"pairs.{kind}"
    if kind == "csv":
        write_csv(source, rows)
    elif kind == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), source, row_group_size=2)
    done = CliRunner().invoke(judge, [str(source), "--out", str(folder / "judged.csv")])
    assert done.exit_code == 0, done.output
    with (folder / "judged.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    assert len(plan(str(source), PAIRS, 50)) > 3
    records = judged_on_the_cluster(source, 50)
    as_text = [
        {name: "" if cell is None else str(cell) for name, cell in record.root.items()}
        for record in records
    ]
    assert [list(row) for row in as_text] == [list(row) for row in expected]
    assert as_text == expected


@pytest.mark.parametrize(
    "given", [["memory://p.csv", "--out", "o.csv"], ["p.csv", "--out", "s3://o"]]
)
def test_urls_are_for_ray(given):
    done = CliRunner().invoke(judge, given)
    assert done.exit_code == 2 and "URLs are for --ray" in done.output


def test_answers_in_a_column_are_read_on_the_cluster_too(folder):
    (folder / "a.csv").write_text(
        "reference,candidate,completion\n"
        + "Heart is large.,Heart is normal.,no answer of CRIMSON\n" * 2
    )
    done = CliRunner().invoke(
        judge, [str(folder / "a.csv"), "--judge", "crimson", "--out", str(folder / "a.out.csv")]
    )
    assert done.exit_code == 0, done.output
    with (folder / "a.out.csv").open(newline="") as file:
        expected = [row["verdict"] for row in csv.DictReader(file)]
    records = judged_on_the_cluster(folder / "a.csv", 1, "crimson")
    assert [record.root["verdict"] for record in records] == expected == ["unparseable"] * 2


def test_a_row_that_is_no_pair_is_not_judged_and_says_why(folder):
    long = "x" * (MAX_TEXT + 1)
    source = folder / "p.jsonl"
    rows = [{"id": "1", "candidate": "b"}, {"id": "2", "reference": 5, "candidate": "b"}]
    rows += [{"id": "3", "reference": "a", "candidate": long}]
    rows += [{"id": "4", "reference": "a", "candidate": "b", "note": ["\ud83d"]}]
    good = {"id": "5", "reference": "a", "candidate": "a"}
    rows += [
        {"id": "6", "reference": "a", "candidate": "b", "note": json.loads("[" * 500 + "]" * 500)}
    ]
    rows += [{"id": "7", "reference": "a", "candidate": "b", "\ud83d": ""}]
    rows += [{"id": "8", "\ud83d": ""}]
    source.write_text("".join(json.dumps(row) + "\n" for row in [good, *rows, good]))
    records = [record.root for record in judged_on_the_cluster(source, 50)]
    assert [record["id"] for record in records] == ["5", *"1234678", "5"]
    assert [record["verdict"] for record in records] == ["identical", *["failed"] * 7, "identical"]
    assert [record.get("judge_error", "").partition(": ")[2] for record in records] == [
        "",
        "no 'reference'; there are: id, candidate",
        "reference has to be text",
        f"candidate has {MAX_TEXT + 1:,} characters; at most {MAX_TEXT:,} are taken",
        "a column has a lone surrogate, or lists nested too deeply",
        "a column has a lone surrogate, or lists nested too deeply",
        "a lone surrogate, which is not a character; remove it",
        "no 'reference'; the first line does not look like names of columns",
        "",
    ]
    assert all(record.model_dump_json() for record in judged_on_the_cluster(source, 50))


# The files of results


NAMES = ["bone", "heart", "lung"]
EVIDENCE = st.builds(
    Evidence,
    support=st.sampled_from([None, "verbatim"]),
    spans=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=2).map(tuple),
    confidence=st.none() | st.floats(0, 1),
)
RECORDS = st.builds(
    AnnotationRecord,
    id=st.text(min_size=1),
    annotation=st.none() | st.fixed_dictionaries({name: st.text() for name in NAMES}),
    evidence=st.dictionaries(st.sampled_from(NAMES), EVIDENCE),
    error=st.none() | st.text(),
    raw=st.text(),
    usage=st.dictionaries(st.text(), st.floats(allow_nan=False)),
)


@FEW
@given(st.lists(RECORDS, max_size=5))
def test_annotations_are_the_same_after_parquet(records):
    regions = Regions.model_validate({name: {"about": name} for name in NAMES})
    tables = partial(formats.annotation_tables, regions=regions)
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "_ROWS", 2)
        assert formats.write(file, records, "parquet", tables) == len(records)
    assert list(formats.read_annotations(file)) == records


def test_duckdb_and_pandas_read_annotations_as_they_are_meant(folder):
    record = AnnotationRecord(
        id="1",
        annotation={"bone": "", "heart": "Large.", "lung": "Clear."},
        evidence={"heart": Evidence(support="verbatim", spans=((4, 10),), confidence=0.5)},
        usage={"tokens": 7},
    )
    failed = AnnotationRecord(id="2", annotation=None, error="why")
    regions = Regions.model_validate({name: {"about": name} for name in NAMES})
    path = folder / "part.parquet"
    with path.open("wb") as file:
        tables = partial(formats.annotation_tables, regions=regions)
        formats.write(file, [record, failed], "parquet", tables)
    duckdb = pytest.importorskip("duckdb")
    asked = f"""SELECT id, annotation.heart, evidence.heart.spans[1].start, usage['tokens'], error,
        evidence IS NULL FROM '{path}'"""
    assert duckdb.sql(asked).fetchall() == [
        ("1", "Large.", 4, 7.0, None, False),
        ("2", None, None, None, "why", True),
    ]
    import pandas

    frame = pandas.read_parquet(path)
    assert frame.annotation[0] == record.annotation and frame.annotation[1] is None


def test_judged_rows_have_one_type_a_column_in_parquet(folder):
    """Whichever rows a part has."""
    rows = [
        Judged({"id": 1, "x": [1], **Opinion(0.5, 1).columns()}),
        Judged({"x": "a", "id": None}),
    ]
    job = Judging("proxy", None, folder)
    whole, first, second = (next(job.tables(part)) for part in (rows, rows[:1], rows[1:]))
    assert whole.schema == first.schema and sorted(whole.schema.names) == sorted(
        second.schema.names
    )
    assert whole.to_pydict()["id"] == ["1", None] and whole.to_pydict()["x"] == ["[1]", "a"]
    assert whole.schema.field("score").type == pa.float64()
