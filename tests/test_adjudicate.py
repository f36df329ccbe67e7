"""`xraygen adjudicate`: how far readers agree, and the references that follow."""

import json
import random
from pathlib import Path

import krippendorff
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import REGIONS
from exports import SAMPLE, export, item, settled, settlement

from xraygen.commands.adjudicate import adjudicate
from xraygen.core.errors import UserError
from xraygen.language.text import token_f1
from xraygen.readers.agreement import agreement, agreement_table, alpha
from xraygen.readers.exports import read_reviews
from xraygen.readers.references import outcome, read_settled, references, with_former

CODES = {"accepted": 0, "edited": 1, "rejected": 2}


def reviews(folder: Path, **items: list[dict]):
    files = [export(folder / f"{reader}.jsonl", reader, given) for reader, given in items.items()]
    return read_reviews(files, REGIONS.names)


def simulated(seed: int, studies: int = 50, finished: float = 1.0) -> list[dict]:
    """A reader who edits about a fifth of the texts and rejects some."""
    rng = random.Random(seed)
    found = []
    for number in range(studies):
        for region in REGIONS.scored:
            shown = f"finding {number} of the {region}"
            text = rng.choices([shown, f"{shown} on the left", "", None], [75, 15, 5, 5])[0]
            if rng.random() < finished:
                found.append(item(f"S{number:03d}", region, shown, text))
    return found


def test_two_simulated_readers_agree_as_the_packages_say_of_the_same_table(tmp_path):
    ann, ben = simulated(1), simulated(2, finished=0.9)
    found = {row.region: row for row in agreement(reviews(tmp_path, ann=ann, ben=ben))}
    assert list(found) == ["all", *sorted(REGIONS.scored)]
    table = {(one["id"], one["region"]): [CODES[one["decision"]], np.nan] for one in ann}
    for one in ben:
        table[one["id"], one["region"]][1] = CODES[one["decision"]]
    left = {(one["id"], one["region"]): one["text"] for one in ann}
    for region, row in found.items():
        codes = np.array([pair for key, pair in table.items() if region in ("all", key[1])]).T
        both = codes[:, ~np.isnan(codes[1])]
        scores = [
            token_f1(left[one["id"], one["region"]], one["text"])
            for one in ben
            if region in ("all", one["region"])
            and None not in (left[one["id"], one["region"]], one["text"])
        ]
        assert row.items == both.shape[1] < codes.shape[1]
        assert row.alpha.value == pytest.approx(
            krippendorff.alpha(reliability_data=codes, level_of_measurement="nominal"), abs=1e-12
        )
        assert row.same.value == pytest.approx((both[0] == both[1]).mean())
        chance = sum((both[0] == code).mean() * (both[1] == code).mean() for code in range(3))
        assert row.kappa == pytest.approx((row.same.value - chance) / (1 - chance))
        assert row.token_f1.value == pytest.approx(
            np.mean([score for score in scores if score is not None])
        )
        for estimate in (row.alpha, row.same, row.token_f1):
            assert estimate.low < estimate.value < estimate.high


def test_alpha_is_that_of_the_literature(tmp_path):
    """Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, sections A and C
    (repository.upenn.edu/asc_papers/43).
    """
    meg, owen = "0100000010", "1110010000"
    texts = {"0": "as shown", "1": "another one"}
    read = reviews(
        tmp_path,
        **{
            name: [item(f"S{n}", "lung", "clear", texts[code]) for n, code in enumerate(codes)]
            for name, codes in {"meg": meg, "owen": owen}.items()
        },
    )
    row = agreement(read)[0]
    assert row.alpha.value == pytest.approx(0.095, abs=5e-4)
    assert row.same.value == 0.6

    units = ["11 1", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", " 555"]
    units += ["  11", " 3  "]
    counts = np.array([[unit.count(code) for code in "12345"] for unit in units])
    assert alpha(counts) == pytest.approx(0.743, abs=5e-4)


def test_agreement_that_cannot_be_measured_is_said_in_words(tmp_path):
    same = [item("a", "lung", "clear"), item("b", "lung", "clear"), item("b", "heart", "normal")]
    rows = agreement(reviews(tmp_path, ann=same, ben=same))
    assert [(row.alpha.value, row.kappa, row.same.value) for row in rows] == [(None, None, 1)] * 3
    printed = agreement_table(rows, 2)
    assert "nan" not in printed.lower() and printed.count("undefined") == 2 * 3 + 1
    assert agreement(reviews(tmp_path, ann=same[:1], ben=same[1:])) == []
    silent = [item("a", "lung", "", ""), item("b", "lung", "", "")]
    rows = agreement(reviews(tmp_path, ann=silent, ben=silent))
    assert rows[0].token_f1.value is None and "–" in agreement_table(rows, 2)


def test_an_interval_of_alpha_needs_a_second_category_in_almost_every_resample(tmp_path):
    ann = [item(f"S{n:02d}", "lung", "clear") for n in range(40)]
    ben = [item("S00", "lung", "clear", "not clear"), *ann[1:]]
    (row, _) = agreement(reviews(tmp_path, ann=ann, ben=ben))
    assert row.alpha.value == 0.0 and row.alpha.low is None
    assert row.same.low < row.same.value == 0.975


def test_three_readers_have_no_kappa_and_pairs_of_them_count(tmp_path):
    read = reviews(
        tmp_path,
        a=[item("s", "lung", "one two", "one"), item("t", "lung", "x")],
        b=[item("s", "lung", "one two")],
        c=[item("s", "lung", "one two")],
    )
    row = agreement(read)[0]
    assert (row.items, row.kappa) == (1, None)
    assert row.same.value == pytest.approx(1 / 3)
    assert row.token_f1.value == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert "kappa" not in agreement_table([row], 3)
    few = agreement_table([row], 2)
    enough = agreement_table([row._replace(items=10, kappa=0.5)], 2)
    shown = f"{row.alpha.value:.3f}"
    assert shown not in few and "not shown for fewer than 10 items" in few
    assert shown in enough and "| 0.500 " in enough and "not shown" not in enough


def test_resampling_is_by_study(tmp_path):
    """With all regions of a study alike, four times the items add no certainty."""
    rng = random.Random(0)
    edited = [rng.random() < 0.3 for _ in range(30)]

    def given(regions):
        return [
            item(f"S{n:02d}", region, "x", "y" if edited[n] else "x")
            for n in range(30)
            for region in regions
        ]

    widths = []
    for regions in (["lung"], REGIONS.scored):
        ann = given(regions)
        ben = [one | {"decision": "accepted", "text": "x"} for one in ann]
        (row, *_) = agreement(reviews(tmp_path, ann=ann, ben=ben))
        widths.append((row.same.low, row.same.high))
    assert widths[0] == widths[1]


def test_texts_that_differ_in_space_case_or_full_stop_agree_and_the_usual_one_is_kept(tmp_path):
    read = reviews(
        tmp_path,
        a=[item("s", "lung", "Lungs clear", "lungs  clear. "), item("s", "heart", "x", "No. 1")],
        b=[item("s", "lung", "Lungs clear"), item("s", "heart", "x", "No 1")],
        c=[item("s", "lung", "Lungs clear"), item("s", "heart", "x", "No 1")],
    )
    found = outcome(read)
    assert [one.key for one in found.agreed] == [("s", "lung")]
    assert [one.texts() for one in found.differing] == [[("No 1", 2), ("No. 1", 1)]]
    (record,) = references(found, None).records
    assert record.reference == {"lung": "Lungs clear"} and record.readers == ("a", "b", "c")


def test_what_becomes_a_reference(tmp_path):
    read = reviews(
        tmp_path,
        ann=[
            item("s1", "heart", "big", "large"),
            item("s1", "lung", "clear"),
            item("s2", "lung", "fluid", None),
            item("s2", "bone", "old fracture", ""),
            item("s3", "lung", "clear"),
            item("s4", "lung", "nodule", "mass"),
        ],
        ben=[
            item("s1", "heart", "big", "big!"),
            item("s1", "lung", "clear"),
            item("s2", "lung", "fluid"),
            item("s2", "bone", "old fracture", ""),
            item("s4", "lung", "nodule"),
        ],
    )
    found = outcome(read)
    assert [one.key for one in found.agreed] == [("s1", "lung"), ("s2", "bone")]
    assert found.undecided == 1, "s3 had one reader alone"
    bare = references(found, None)
    assert [(one.id, one.reference) for one in bare.records] == [
        ("s1", {"lung": "clear"}),
        ("s2", {"bone": ""}),
    ]
    assert (bare.unsettled, bare.excluded) == (3, 0)

    decided = [
        settlement("s1", "heart", " enlarged\nheart ", decision="written"),
        settlement("s2", "lung", None),
    ]
    by_hand = read_settled(settled(tmp_path / "settled.jsonl", decided), read, REGIONS.names)
    made = references(found, by_hand, REGIONS.names)
    first, second = made.records
    assert list(first.reference.items()) == [("heart", "enlarged heart"), ("lung", "clear")]
    assert (first.settled, first.readers) == (("heart",), ("Chris", "ann", "ben"))
    assert first.approaches == ("router",)
    assert (second.reference, second.readers) == ({"bone": ""}, ("ann", "ben"))
    assert (made.unsettled, made.excluded) == (1, 1)


def test_one_reader_is_enough_where_there_is_one(tmp_path):
    found = outcome(
        reviews(tmp_path, ann=[item("s", "lung", "clear"), item("s", "bone", "x", None)])
    )
    assert references(found, None).records[0].reference == {"lung": "clear"}
    assert [one.key for one in found.differing] == [("s", "bone")]
    done = CliRunner().invoke(adjudicate, [str(tmp_path / "ann.jsonl")], catch_exceptions=False)
    assert "Regions: 1 accepted or edited, 1 rejected. Left out" in done.stdout


def test_a_settlement_wins_over_readers_who_agree(tmp_path):
    read = reviews(tmp_path, ann=[item("s", "lung", "clear")], ben=[item("s", "lung", "clear")])
    path = settled(tmp_path / "settled.jsonl", [settlement("s", "lung", "not clear")])
    made = references(outcome(read), read_settled(path, read, ()))
    assert made.records[0].reference == {"lung": "not clear"}


def test_a_former_reference_goes_only_where_a_decision_replaces_it(tmp_path):
    path = tmp_path / "references.jsonl"
    zoe = {"readers": ["Zoe"]}
    rows = [
        {"id": "s1", "reference": {"lung": "old", "bone": "kept"}} | zoe,
        {"id": "s2", "reference": {"lung": "they differ", "bone": "excluded now"}} | zoe,
        {"id": "s3", "reference": {"lung": "decided by one alone"}, "settled": ["lung"]} | zoe,
        {"id": "s9", "reference": {"lung": "not shown"}, "settled": ["lung"]} | zoe,
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ann = [item("s1", "lung", "new"), item("s2", "lung", "x", None), item("s2", "bone", "x", None)]
    read = reviews(tmp_path, ann=[*ann, item("s3", "lung", "x")], ben=ann)
    decided = settled(tmp_path / "settled.jsonl", [settlement("s2", "bone", None)])
    by_hand = read_settled(decided, read, REGIONS.names)
    made = references(outcome(read), by_hand)
    records, former = with_former(made.records, path, read, by_hand, REGIONS.names)
    assert former == (4, 2, 1, 1), "kept, unsettled, replaced, excluded"
    assert [(one.id, one.reference, one.readers, one.settled) for one in records] == [
        ("s1", {"bone": "kept", "lung": "new"}, ("Zoe", "ann", "ben"), ()),
        ("s2", {"lung": "they differ"}, ("Zoe",), ()),
        ("s3", {"lung": "decided by one alone"}, ("Zoe",), ("lung",)),
        ("s9", {"lung": "not shown"}, ("Zoe",), ("lung",)),
    ]


def test_a_blind_reviews_approach_can_be_named_afterwards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(Path("blind.jsonl"), "Ann", [item("s", "lung", "clear", approach=None)])
    run = ["blind.jsonl", "--out", "out.jsonl"]
    for more, said, approaches in (
        ([], "texts of one approach (blind; name it with --approach)", []),
        (["--approach", "router"], "texts of router.", ["router"]),
    ):
        done = CliRunner().invoke(adjudicate, [*run, *more], catch_exceptions=False)
        assert said in done.stdout
        assert json.loads(Path("out.jsonl").read_text())["approaches"] == approaches
    export(Path("open.jsonl"), "Ann", [A])
    with pytest.raises(UserError, match="--approach brief: the readers were shown .* router;"):
        CliRunner().invoke(
            adjudicate, ["open.jsonl", "--approach", "brief"], catch_exceptions=False
        )


A = item("s", "lung", "clear")


@pytest.mark.parametrize(
    "second, said",
    [
        ({"items": [A], "sample": "other"}, "one.jsonl and .*two.jsonl: .*different samples"),
        ({"items": [A], "reader": "ANN"}, "one.jsonl and .*two.jsonl: both are by Ann"),
        ({"items": [A, A]}, "two.jsonl:3: lung of s is there twice"),
        ({"items": [A | {"reader": "Zoe"}]}, "two.jsonl:2: a decision of Zoe in the export of Ben"),
        ({"items": [A | {"region": "spleen"}]}, "two.jsonl:2: spleen: no such region"),
        ({"items": [A | {"text": None}]}, "two.jsonl:2: not what .*text has to be null"),
        ({"items": [A | {"text": "other"}]}, "two.jsonl:2: not what .*is not the text shown"),
        ({"items": [A | {"decision": "maybe"}]}, "two.jsonl:2: not what .*decision"),
        ({"items": [A | {"shown": "x", "text": "x"}]}, "was shown with different texts"),
        ({"items": [A], "shown": 0}, "1 decisions about 0 items"),
        ({"items": [], "format": "xraygen review 2"}, "two.jsonl:1: not what .*format"),
    ],
)
def test_exports_that_do_not_fit_are_refused_in_one_line(tmp_path, second, said):
    one = export(tmp_path / "one.jsonl", "Ann", [A])
    two = export(tmp_path / "two.jsonl", **({"reader": "Ben"} | second))
    with pytest.raises(UserError, match=said) as caught:
        read_reviews([one, two], REGIONS.names)
    assert "\n" not in str(caught.value)


def test_a_file_without_its_header_is_refused_in_plain_words(tmp_path):
    path = export(tmp_path / "one.jsonl", "Ann", [A])
    path.write_text(path.read_text().partition("\n")[2])
    with pytest.raises(UserError, match=":1: .* the first line, .* is missing; name such"):
        read_reviews([path], ())


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text + "\x00{"])
def test_a_damaged_line_is_named(tmp_path, damage):
    path = export(tmp_path / "one.jsonl", "Ann", [A])
    path.write_text(damage(path.read_text()))
    with pytest.raises(
        UserError, match=r"one.jsonl:[23]: not what the page .* Invalid JSON"
    ) as caught:
        read_reviews([path], ())
    assert "clear" not in str(caught.value), "texts are about patients"


def test_an_empty_and_a_missing_file_are_refused_and_a_windows_editor_does_no_harm(tmp_path):
    path = export(tmp_path / "one.jsonl", "Ann", [A])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert len(read_reviews([path], ())[0].decisions) == 1
    path.write_text("\n")
    for file, said in ((path, "one.jsonl: empty"), (tmp_path / "none", "none: No such file")):
        with pytest.raises(UserError, match=said):
            read_reviews([file], ())


@pytest.mark.parametrize(
    "items, header, said",
    [
        ([settlement("s", "lung", "x")], {"sample": "other"}, "made from different samples"),
        ([settlement("t", "lung", "x")], {}, ":2: lung of t is in no reader's export"),
        ([settlement("s", "lung", "x")] * 2, {}, ":3: lung of s is there twice"),
        ([settlement("s", "lung", None, decision="chosen")], {}, ":2: .*text has to be null"),
        ([], {"format": "xraygen review 1"}, ":1: not what .*format.* it is of another page"),
    ],
)
def test_settlements_that_do_not_fit_are_refused(tmp_path, items, header, said):
    read = reviews(tmp_path, ann=[A])
    with pytest.raises(UserError, match=said):
        read_settled(settled(tmp_path / "settled.jsonl", items, **header), read, REGIONS.names)


def test_the_command_prints_agreement_and_counts_what_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(Path("ann.jsonl"), "Ann", [A, item("t", "lung", "fluid", None)], shown=3)
    export(Path("ben.jsonl"), "Ben", [A, item("t", "lung", "fluid")], shown=3)
    arguments = ["ann.jsonl", "ben.jsonl", "--page", "settle.html", "--out", "new/references.jsonl"]
    done = CliRunner().invoke(adjudicate, arguments, catch_exceptions=False)
    assert "Ann: 2 of 3 regions decided (1 accepted, 0 edited, 1 rejected)" in done.stdout
    assert "| all      | 2       | 50.0 %" in done.stdout
    assert "Regions: 1 agreed, 1 differ or are rejected." in done.stdout
    assert "1 unsettled, 0 excluded by the adjudicator, 1 decided by too few readers" in done.stdout
    assert "The readers were shown texts of router." in done.stdout
    assert "references.jsonl: 1 regions of 1 studies" in done.stderr
    assert "1 studies are shown without report and pictures" in done.stderr
    rows = Path("new/references.jsonl").read_text().splitlines()
    assert [json.loads(row)["reference"] for row in rows] == [{"lung": "clear"}]
    assert SAMPLE in Path("settle.html").read_text()
    settled(Path("settled.jsonl"), [settlement("t", "lung", "fluid")])
    for more in (["--settled", "settled.jsonl"], []):
        done = CliRunner().invoke(adjudicate, [*arguments, *more], catch_exceptions=False)
        assert "2 regions of 2 studies" in done.stderr
    assert "1 of them from the file as it was; on 1 of the former ones these" in done.stderr


def test_references_that_link_into_dvcs_cache_leave_the_cache_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(Path("ann.jsonl"), "Ann", [A])
    cached = '{"id": "r", "reference": {"lung": "old"}, "readers": ["Zoe"]}\n'
    Path("cached").write_text(cached)
    Path("references.jsonl").symlink_to("cached")
    CliRunner().invoke(adjudicate, ["ann.jsonl", "--out", "references.jsonl"])
    assert Path("cached").read_text() == cached
    assert not Path("references.jsonl").is_symlink()
    assert len(Path("references.jsonl").read_text().splitlines()) == 2


def test_a_mistake_leaves_nothing_half_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(Path("ann.jsonl"), "Ann", [A])
    export(Path("ben.jsonl"), "Ben", [A], sample="other")
    for arguments in (["ann.jsonl", "ben.jsonl"], ["ann.jsonl", "--settled", "ben.jsonl"]):
        with pytest.raises(UserError):
            CliRunner().invoke(
                adjudicate, [*arguments, "--out", "out", "--page", "page"], catch_exceptions=False
            )
    given = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert given.keys() == {"ann.jsonl", "ben.jsonl"}
    for written in (
        ["--page", "ann.jsonl"],
        ["--out", "./ann.jsonl"],
        ["--settled", "ben.jsonl", "--out", "ben.jsonl"],
        ["--page", "new", "--out", "new"],
    ):
        with pytest.raises(UserError, match="would be overwritten"):
            CliRunner().invoke(adjudicate, ["ann.jsonl", *written], catch_exceptions=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == given
