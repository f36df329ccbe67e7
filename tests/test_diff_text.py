"""What `xraygen diff` prints, whatever is in the files that it reads: short enough for a comment,
and nothing in it that becomes markup, a link, a mention or a command to a terminal.
"""

import json
import re

import pytest
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from xraygen.revisions import approaches
from xraygen.revisions.approaches import changes
from xraygen.revisions.difference import Difference
from xraygen.revisions.digits import end, exact, score, step
from xraygen.revisions.escaping import code, fence, listed, plain, visible
from xraygen.revisions.rendering import LIMIT, markdown, terminal
from xraygen.revisions.rules import decides, gate, rules_of
from xraygen.revisions.settings import changed
from xraygen.revisions.side import Side
from xraygen.revisions.snapshot import Snapshot
from xraygen.revisions.stale import Stale, stale

PARSER = MarkdownIt("commonmark").enable("table")
HOSTILE = [
    "<script>alert(1)</script>",
    "![x](https://example.org/x.png)",
    "[x](javascript:alert(1))",
    "@octocat",
    "#1",
    "https://example.org",
    "a | b",
    "a\n\n# b",
    "```\n</details>",
    "`",
    "``a`",
    "**b**",
    "</details></sub>",
    "\x1b[2Jgone",
    "\u202eevil",
    "a\u2028b",
    "{0.__class__}",
    "-->",
    " ",
    "",
    "x" * 5000,
]


class Files(Side):
    """A side whose files are in memory."""

    def __init__(self, label: str, files: dict[str, str], commit: str | None = "c" * 40):
        super().__init__(ROOT, label)
        self.files = files
        self.commit = commit

    def read(self, path: str) -> bytes | None:
        text = self.files.get(path)
        return None if text is None else text.encode("utf-8", "surrogatepass")

    def names(self, folder: str) -> list[str]:
        return []


def side(label: str, names: list[str], text: str, score: float) -> Files:
    """With a name or text wherever the command reads one."""
    params = {
        "approaches": {name: {"annotator": "constant", "try": score} for name in names},
        "compare": {"gate": text},
        text: {"key": text},
    }
    files = {
        "params.yaml": yaml.safe_dump(params),
        "metrics/data.json": json.dumps({"source": text, "splits": {"test": {"studies": 5}}}),
        "metrics/release.json": json.dumps({"approach": text, "measure": text, "score": text}),
    }
    for name in names:
        files[f"metrics/scores/{name}.json"] = json.dumps(
            {"judge": text, "test": {"macro": {"score": score}, "failed_annotations": 1}}
        )
    return Files(label, files)


def difference(old: Side, new: Side) -> Difference:
    before, after = Snapshot(old), Snapshot(new)
    rules = rules_of(before, after)
    found = tuple(changes(before, after, rules.compare))
    stale = ((before, Stale()), (after, Stale(again=(old.label,), unknown=old.label)))
    return Difference(before, after, rules, found, decides(rules, found), stale)


texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))
differences = st.builds(
    lambda old, new, one, other, label: difference(
        side(label, old, one, 0.5), side("new", new, other, 0.6)
    ),
    st.lists(texts | st.sampled_from(["router", "brief"]), max_size=6, unique=True),
    st.lists(texts | st.sampled_from(["router", "brief"]), max_size=6, unique=True),
    texts,
    texts,
    texts,
)


def tokens(text: str) -> list:
    """All tokens of a Markdown text, those inside lines too."""
    found = []
    for token in PARSER.parse(text):
        found += [token, *(token.children or ())]
    return found


@settings(max_examples=100)
@given(differences)
def test_nothing_from_data_is_markup_in_a_comment(found):
    text = markdown(found)
    kinds = {token.type for token in tokens(text)}
    allowed = (
        "paragraph inline text strong bullet_list list_item softbreak code_inline "
        "table thead tbody tr th td fence html_block html_inline"
    ).split()
    assert {kind.removesuffix("_open").removesuffix("_close") for kind in kinds} <= set(allowed)
    for token in tokens(text):
        if token.type == "html_block":
            assert re.fullmatch(
                r"<details><summary>[\w ,:]+</summary>|</details>", token.content.strip()
            )
        elif token.type == "html_inline":
            assert token.content in ("<sub>", "</sub>")
        elif token.type == "text":
            assert "@" not in token.content and "://" not in token.content
            assert "#" not in token.content
    opened = len(re.findall("^<details>", text, re.MULTILINE))
    assert opened == len(re.findall("^</details>$", text, re.MULTILINE))


@settings(max_examples=50)
@given(differences)
def test_nothing_from_data_commands_a_terminal(found):
    text = terminal(found)
    assert all(char == "\n" or char.isprintable() for char in text)
    head = text.split("\n\nParams and prompts")[0]
    assert max(map(len, head.splitlines())) <= 100


@settings(max_examples=8)
@given(
    st.sampled_from([0, 1, 29, 30, 300]),
    st.sampled_from(HOSTILE),
    st.sampled_from([1, 100, 300]),
    st.sampled_from(["line\n", "`" * 50, f"{'long ' * 100}\n", "\U0001f600", "|"]),
)
def test_a_comment_is_short_and_its_verdict_and_table_are_whole(count, name, times, piece):
    names = [f"{number}{name}" for number in range(count)] + ["router"]
    old = side("old", names, piece * times, 0.5)
    new = side("new", names[count // 2 :] + ["other"], f"x{piece}" * times, 0.6)
    found = difference(old, new)
    for text in (markdown(found), terminal(found)):
        assert len(text) <= LIMIT
    text = markdown(found)
    assert text.startswith("**") and ".**\n\n| approach" in text
    assert len(re.findall(r"^\| `", text.split("<details>")[0], re.MULTILINE)) == min(
        30, len(found.changes)
    )
    assert text.count("<details>") == text.count("</details>")


@given(st.text())
def test_a_code_span_holds_what_is_visible_of_a_text(text):
    (line,) = [token for token in PARSER.parse(f"a {code(text)} b") if token.type == "inline"]
    assert [child.type for child in line.children] == ["text", "code_inline", "text"]
    assert line.children[1].content.strip() == plain(text).replace("|", "¦").strip()
    cells = [
        token.content
        for token in PARSER.parse(f"| a | b |\n|---|---|\n| {code(text)} | end |")
        if token.type == "inline"
    ]
    assert len(cells) == 4 and cells[3] == "end"


@given(st.lists(st.text(alphabet="`~ a>-"), max_size=5))
def test_no_line_closes_its_fence(lines):
    lines = [visible(line) for line in lines]
    row = fence(lines)
    (token,) = PARSER.parse("\n".join([row, *lines, row]))
    assert token.type == "fence" and token.content.splitlines() == lines


def test_lists_of_names_are_short():
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefgh")) == "a, b, c, d, e and 3 others"
    assert listed(list("abcdef")) == "a, b, c, d, e and 1 other"


# Numbers


@pytest.mark.parametrize(
    "old, new, shown",
    [
        (0.9871, 0.9712, "0.987 0.971 -0.016"),
        (0.98651, 0.98649, "0.9865 0.9865 <0.0001"),  # 0.987 and 0.986 look like -0.001
        (0.55838, 0.55758, "0.5584 0.5576 -0.0008"),
        (0.95849, 0.94886, "0.9585 0.9489 -0.0096"),  # 0.958 and 0.949 look like -0.009
        (0.98654, 0.98656, "0.9865 0.9866 +0.0001"),
        (0.9585, 0.9, "0.9585 0.9000 -0.0585"),
        (0.1 + 0.2, 0.3, "0.300 0.300 0.000"),
        (0.9585, 0.9585, "0.9585 0.9585 0.000"),
        (0.0, 1.0, "0.000 1.000 +1.000"),
    ],
)
def test_a_difference_fits_the_numbers_next_to_it(old, new, shown):
    assert " ".join(step(old, new)) == shown


@given(st.floats(0, 1), st.floats(0, 1))
def test_no_two_numbers_contradict_their_difference(old, new):
    shown = step(old, new)
    if shown.difference.startswith("<"):
        assert shown.old == shown.new and old != new
    else:
        apart = round(float(shown.new) - float(shown.old), 4)
        assert float(shown.difference) == apart
        assert apart != 0 or abs(new - old) < 1e-12


def test_a_score_of_four_digits_is_not_rounded_twice():
    assert (score(0.95849), score(0.9585), score(0.9584)) == ("0.958", "0.9585", "0.958")
    assert score(None) == "–"


def test_details_have_four_digits():
    assert (exact(-0.00078), exact(-0.00001), exact(0.0)) == ("-0.0008", "<0.0001", "0.0000")
    assert (end(0.00001), end(-0.02)) == ("0.0000", "-0.0200")


# Details


def test_data_cost_agreement_and_release_are_shown_where_they_changed():
    def files(cost: float, test: int, best: str, agreed: float) -> dict[str, str]:
        macro = {"macro": {"token_f1": agreed}}
        content = {
            "params.yaml": {"approaches": {"a": {"annotator": "constant"}, "b": {}}},
            "metrics/scores/a.json": {"test": {"macro": {"score": 0.5}, "failed_annotations": 0}},
            "metrics/usage/a.json": {"cost_usd_per_1000_reports": cost},
            "metrics/data.json": {"source": "table", "splits": {"test": {"studies": test}}},
            "metrics/release.json": {"approach": best, "measure": "score", "holds": True},
            "reports/comparison.json": {"repeated": {"curators": macro}, "attainable": None},
        }
        return {name: json.dumps(value) for name, value in content.items()}

    old, new = files(0.25, 300, "a", 0.9), files(1.5, 1200, "b", 0.95)
    text = terminal(difference(Files("x", old), Files("y", new)))
    for row in (
        "a: US dollars for 1,000 reports 0.25 1.50",
        "test studies 300 1,200",
        "approach a b",
        "floor a, score 0.500 a, score 0.500",
        "curators' agreement, token F1 0.900 0.950",
    ):
        assert row in " ".join(text.split())
    assert "attainable" not in text and "holds" not in text
    assert "without an annotation" not in text
    assert "Data" not in terminal(difference(Files("x", old), Files("y", old)))


def test_an_interval_that_is_not_known_is_a_dash():
    """As where a region has a value for few studies, so that a resample has none."""
    nan = float("nan")
    found = difference(side("old", ["a"], "x", 0.5), side("new", ["a"], "x", 0.4))
    change = found.changes[0]
    change.tested["token_f1"] = approaches.Tested(0.5, 0.4, -0.1, nan, nan, 0.5)
    change.yardstick = approaches.Yardstick(4, 1, 0, 0, None, ())
    assert "a token F1 -0.1000 – .500 1 1 of 4 differ" in " ".join(terminal(found).split())


def corrected(references: int, answers: int = 0, **reviewed) -> Difference:
    """By other references, five approaches of nine have other scores, most of all the fifth."""
    old, new = (side(label, list("abcdefghi"), "x", 0.5) for label in ("old", "new"))
    data = {"source": "x", "splits": {}} | ({"reviewed": reviewed} if reviewed else {})
    new.files["metrics/data.json"] = json.dumps(data)
    found = difference(old, new)
    for number, change in enumerate(found.changes):
        change.missing = ()
        change.same = number >= 5
        if not change.same:
            lower = -0.01 * (number + 1)
            change.tested["score"] = approaches.Tested(0.5, 0.5 + lower, lower, -1, 1, 0.5)
            given = answers if number == 0 else 0
            change.yardstick = approaches.Yardstick(8, given, references, 0, None, ())
    return found


@pytest.mark.parametrize(
    "references, answers, cause",
    [
        (4, 0, "4 references changed and the answers are the same: no"),
        (1, 0, "1 reference changed and the answers are the same: no"),
        (4, 2, "4 references and the answers of a changed: no"),
        (0, 2, "No"),
    ],
)
def test_changed_references_are_said_first(references, answers, cause):
    text = " ".join(terminal(corrected(references, answers)).split())
    assert text.startswith(
        f"{cause} approach changed significantly on test; five differ, most of all e, score 0.500 "
        "to 0.450 (-0.050, p = 1); the other four did not change; "
    )


def test_a_table_of_four_digits_fits_a_terminal():
    found = corrected(4)
    for change in found.changes:
        for measure in ("score", "clinical", "token_f1"):
            tiny = approaches.Tested(0.5, 0.4998, -0.0002, -1, 1, 0.5, p_holm=0, holds=True)
            change.tested[measure] = tiny
        change.old = change.new = dict.fromkeys(change.tested, 0.5)
        change.name = f"approach-{change.name}"
    head = terminal(found).split("\n\nTests")[0]
    assert "approach-a  0.5000→0.4998 -0.0002*  0.5000→0.4998 " in head
    assert max(map(len, head.splitlines())) <= 100


def test_answers_that_nobody_read_are_not_said_to_be_the_same():
    found = corrected(4)
    found.changes[8].same = False
    found.changes[8].missing = (approaches.Missing("old", approaches.NOT_CACHED),)
    assert terminal(found).startswith("4 references changed: no approach changed significantly")


def test_corrected_references_are_said_to_favour_an_approach():
    favour = "References made by correcting an approach's texts favour that approach"
    named = {"regions": 7, "studies": 4, "settled": 1, "approaches": "router, brief"}
    text = " ".join(terminal(corrected(4, **named)).split())
    assert f"{favour}; here they are those of router and brief. " in text
    row = "reviewed references – regions: 7, studies: 4, settled: 1, in texts of router and brief"
    assert row in text
    del named["approaches"]
    text = " ".join(terminal(corrected(4, **named)).split())
    assert f"{favour}. " in text and "settled: 1 " in text
    assert favour not in terminal(corrected(4)) and "reviewed" not in terminal(corrected(4))
    assert "`@all`" in markdown(corrected(4, approaches="@all", studies="@all", regions=[]))


# Changed params


def lines(old: dict, new: dict) -> list[str]:
    return [line for block in changed(old, new) for line in block]


def test_values_stand_next_to_their_keys():
    old = {"fit": {"price": 0.75, "same": 1}, "gone": [1, 2], "kind": 1}
    new = {"fit": {"price": 0.5, "same": 1}, "added": None, "kind": True}
    assert lines(old, new) == [
        "- fit.price: 0.75",
        "+ fit.price: 0.5",
        "+ added: null",
        "- kind: 1",
        "+ kind: True",
        "- gone: 1, 2",
    ]


def test_a_value_of_another_type_is_shown_as_such():
    assert lines({"a": "1"}, {"a": 1}) == ["- a: '1'", "+ a: 1"]
    assert lines({"a": "b"}, {"a": "b "}) == ["- a: b", "+ a: b "]


def test_prompts_are_shown_by_the_lines_and_words_that_differ():
    words = [f"word{number}" for number in range(40)]
    long = " ".join(words)
    words[20] = "other"
    old = {"prompt": f"first\nsecond\n{long}\nlast"}
    new = {"prompt": f"first\nsecond\n{' '.join(words)}\nlast"}
    around = (
        "… word14 word15 word16 word17 word18 word19 {} word21 word22 word23 word24 word25 word26 …"
    )
    assert lines(old, new) == [
        "  prompt:",
        "  second",
        f"- {around.format('word20')}",
        f"+ {around.format('other')}",
        "  last",
    ]


def test_very_long_prompts_are_compared_by_their_start():
    old = "".join(f"line {number}\n" for number in range(1000))
    assert lines({"prompt": old}, {"prompt": f"first\n{old}"}) == [
        "  prompt:",
        "+ first",
        "  line 0",
        "  line 298",
        "- line 299",
        "  … 701 more lines are not compared",
    ]


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
        lambda part: (
            st.dictionaries(st.text(max_size=3), part, max_size=3) | st.lists(part, max_size=2)
        ),
    )
)
def test_equal_params_have_no_difference(value):
    section = {"a": value}
    assert changed(section, json.loads(json.dumps(section))) == []


# Results that are out of date


def locked(*changed: str) -> Snapshot:
    """A graph in dvc.lock, with stages that ran with other params."""
    graph = {
        "prepare": ("data/raw", "data/prepared/test.jsonl"),
        "annotate@a": ("data/prepared", "data/annotations/a/test.jsonl"),
        "evaluate@a": ("data/annotations/a/test.jsonl", "data/judgements/a/test.jsonl"),
        "compare": ("data/judgements", "reports/comparison.json"),
        "report": ("reports/comparison.json", "reports/index.html"),
        "release": ("data/prepared/test.jsonl", "data/release"),
        "cards": ("data/release", "data/cards"),
        "odd": (3, None),
    }
    stages = {
        name: {
            "deps": [{"path": dep}],
            "outs": [{"path": out}],
            "params": {"params.yaml": {"seed": 1 if name in changed else 0}},
        }
        for name, (dep, out) in graph.items()
    }
    stages |= {"damaged": {"deps": 3, "outs": "x"}, "none": None}
    lock = yaml.safe_dump({"stages": stages}, sort_keys=False)
    return Snapshot(Files("x", {"params.yaml": "approaches: {}\nseed: 0", "dvc.lock": lock}))


def outdated(*changed: str) -> str:
    one = locked(*changed)
    rules = rules_of(one, one)
    return terminal(Difference(one, one, rules, (), "score", ((one, stale(one)),)))


@pytest.mark.parametrize("stage", ["prepare", "annotate@a", "evaluate@a", "compare"])
def test_scores_are_out_of_date_with_what_they_come_from(stage):
    assert stale(locked(stage, "report")) == Stale(again=(stage,), later=("report",))


def test_scores_are_not_out_of_date_with_what_comes_after_them():
    after = ("report", "release", "cards")
    assert stale(locked(*after)) == Stale(later=after)


def test_three_stages_are_named():
    assert "in x the stages report and release ran with other params." in " ".join(
        outdated("report", "release").split()
    )
    all_five = " ".join(outdated("prepare", "annotate@a", "compare", "report", "cards").split())
    assert "of x are out of date: the stages prepare, annotate@a, compare and 2 more " in all_five


# Files that no stage wrote


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "params",
    [
        BOMB,
        "a: " + "[" * 90 + "]" * 90,
        "a: 0x" + "f" * 6000,
        "\0",
        "é".encode("latin-1").decode("latin-1"),
    ],
)
def test_params_that_would_not_end_are_not_compared(params):
    snapshot = Snapshot(Files("x", {"params.yaml": params}))
    assert snapshot.params == {} and snapshot.problems[0].startswith("has a")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"test": 3}',
        '{"test": {"macro": {"score": 1e999}}}',
        '{"test": {"macro": {"score": true}}}',
        '{"test": {"macro": {"score": "x"}}}',
        f'{{"test": {{"macro": {{"score": {"9" * 400}}}}}}}',
    ],
)
def test_damaged_scores_are_no_scores(content):
    files = {"params.yaml": "approaches: {a: {}}", "metrics/scores/a.json": content}
    found = difference(Files("x", files), Files("y", files))
    assert found.changes[0].old["score"] is None
    assert "cannot be determined for a (score – to –)" in terminal(found)


@pytest.mark.parametrize("name", ["../a", "a/b", ".a", "a b", "", "a\n", "é"])
def test_names_that_are_no_names_are_in_no_path(name):
    read = set()

    class Watched(Files):
        def read(self, path: str) -> bytes | None:
            read.add(path)
            return super().read(path)

    files = {"params.yaml": yaml.safe_dump({"approaches": {name: {}}})}
    found = difference(Watched("x", files), Watched("y", files))
    assert "no file can have such a name" in terminal(found)
    assert read == {
        "params.yaml",
        "dvc.lock",
        "data/prepared/test.jsonl",
        "metrics/data.json",
        "metrics/release.json",
        "reports/comparison.json",
    }


def test_the_gate_quotes_what_stands_in_its_place():
    found = difference(side("old", ["router"], "@all", 0.5), side("new", ["router"], "b", 0.5))
    assert "`@all`" in gate(found.rules, found.old, found.changes, code).text
