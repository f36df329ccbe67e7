"""The overview of the report: its words say what the numbers hold, and its charts need nothing but
the page.
"""

import copy
import re
from html.parser import HTMLParser

import pytest
from conftest import REGIONS, annotation

from xraygen import judges
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Study
from xraygen.evaluation import evaluate
from xraygen.evaluation.compare import report_of
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.scores import scores_of
from xraygen.pages import charts, report, verdict

PARAMS = CompareParams(resamples=200, alpha=0.05, power=0.8, seed=0)
COST = "cost_usd_per_1000_reports"


def cell(score: float | None, low: float | None = 0.1, high: float | None = 0.9) -> dict:
    return {"score": score, "ci_low": low, "ci_high": high, "n": 40}


def on_test(score: float | None, **more) -> dict:
    return {"test": {"macro": cell(score), "failed_annotations": 0} | more}


def difference(value: float | None, holds: bool) -> dict:
    ends = (None, None) if value is None else (value - 0.05, value + 0.05)
    macro = {"difference": value, "ci_low": ends[0], "ci_high": ends[1], "holds": holds}
    return {"score": {"macro": macro}}


def from_curators(f1: float, low: float | None, high: float | None) -> dict:
    """A cell of repeated reports; its difference lies from `low` to `high`."""
    return {
        "token_f1": f1,
        "ci_low": f1 - 0.1,
        "ci_high": f1 + 0.1,
        "difference": f1 - 0.82,
        "difference_low": low,
        "difference_high": high,
    }


def comparison(**changes) -> dict:
    """Of the floor `constant`, of `mine`, which leads significantly, and of `other`."""
    f1 = {"constant": 0.2, "mine": 0.8, "other": 0.6}
    repeated = {name: {"macro": from_curators(one, -0.05, 0.05)} for name, one in f1.items()}
    made = {
        "approaches": {
            "constant": on_test(0.5),
            "mine": on_test(0.9),
            "other": on_test(0.7),
        },
        "pairs": {
            "test": {
                "constant vs mine": difference(-0.4, True),
                "constant vs other": difference(-0.2, True),
                "mine vs other": difference(0.2, True),
            }
        },
        "detectable": {"test": {"score": {"median": 0.123, "least": 0.1, "most": 0.2}}},
        "repeated": {
            "studies": 12,
            "curators": {"macro": {"token_f1": 0.82, "ci_low": 0.75, "ci_high": 0.9}},
            "approaches": repeated,
        },
        "confidence": {},
    }
    return made | changes


def pairs(**found: dict) -> dict:
    named = {name.replace("_vs_", " vs "): one for name, one in found.items()}
    return {"test": comparison()["pairs"]["test"] | named}


NONE = {name: {"studies": 0} for name in ("constant", "mine", "other")}
FREE: dict = {"constant": {}, "mine": {}, "other": {}}


def words(made: dict, floor: str | None = "constant", audits: dict = NONE) -> str:
    return "\n".join(verdict.holds(made, audits, floor))


def open_points(made: dict, floor: str | None = "constant", usage: dict = FREE, **more) -> str:
    audits, source = more.get("audits", NONE), more.get("source", "iu_xray")
    return "\n".join(verdict.undetermined(made, usage, audits, source, floor))


def test_a_significant_lead_is_one_and_says_by_how_much():
    text = words(comparison())
    assert text.startswith("**mine is the best approach on test**: its score is 0.900 [0.100")
    assert "+0.200 [+0.150, +0.250] against the next, other, which is significant" in text
    assert "Which approach is the best is not determined" not in text


def test_a_lead_that_is_not_significant_names_those_it_is_not_told_from():
    close = comparison(pairs=pairs(mine_vs_other=difference(0.2, False)))
    text = words(close)
    assert "**Which approach is the best is not determined**: mine" in text
    assert "over other (+0.200 [+0.150, +0.250]) is not significant at 40 studies" in text
    assert "about 0.123 would be detected" in text and "is the best approach" not in text
    # The next one is told from it, a later one that varies more is not.
    further = comparison(pairs=pairs(constant_vs_mine=difference(-0.4, False)))
    text = words(further)
    assert "not determined" in text and "over constant (+0.400" in text
    assert "other (" not in text.splitlines()[0]
    unknown = comparison(pairs=pairs(mine_vs_other=difference(None, False)))
    assert "over other (not known) is not significant" in words(unknown)


def test_one_approach_has_nothing_to_be_compared_with():
    alone = comparison(approaches={"mine": on_test(0.9)}, pairs={"test": {}}, repeated=None)
    assert "**mine is the only approach with a score**: 0.900" in words(alone, None)
    silent = comparison(approaches={"mine": on_test(None)}, pairs={"test": {}}, repeated=None)
    assert words(silent, None) == "**No approach has a score on test.**"


@pytest.mark.parametrize(
    "mine, other, said",
    [
        ((0.4, True), (0.2, True), ["Every other approach is significantly above the floor"]),
        (
            (0.4, True),
            (0.2, False),
            ["1 of the 2 other", "Not significantly different from it: ot"],
        ),
        ((0.4, False), (0.2, False), ["No approach is significantly above the floor", "and other"]),
    ],
)
def test_who_is_above_the_floor(mine, other, said):
    found = pairs(
        constant_vs_mine=difference(-mine[0], mine[1]),
        constant_vs_other=difference(-other[0], other[1]),
    )
    text = words(comparison(pairs=found))
    assert all(one in text for one in said)
    assert ("the best, mine, by +0.400 [+0.350, +0.450]." in text) == mine[1]


def test_who_is_below_the_floor():
    below = comparison(pairs=pairs(constant_vs_other=difference(0.1, True)))
    below["approaches"]["other"] = on_test(0.4)
    assert "Significantly below it: other (-0.100 [-0.150, -0.050])." in words(below)
    best = comparison(pairs=pairs(constant_vs_mine=difference(0.1, True)))
    best["approaches"] |= {"mine": on_test(0.4), "other": on_test(0.45)}
    best["pairs"] = pairs(
        constant_vs_mine=difference(0.1, True), constant_vs_other=difference(0.05, False)
    )
    text = words(best)
    assert "No approach is significantly above the floor" in text
    assert "Significantly below it: mine" in text


@pytest.mark.parametrize(
    "f1, low, high, said",
    [
        (0.7, -0.2, -0.01, "further from the curators than they are from each other"),
        (0.95, 0.01, 0.2, "closer to the curators than they are to each other"),
        # Inside the interval of the curators, and yet further: the two are compared in pairs.
        (0.79, -0.04, -0.02, "further from the curators than"),
    ],
)
def test_a_distance_from_the_curators_is_one_if_its_interval_is_beyond_zero(f1, low, high, said):
    made = comparison()
    made["repeated"]["approaches"]["mine"]["macro"] = from_curators(f1, low, high)
    text = words(made)
    assert f"**mine is {said}" in text and f"[{low:+.3f}, {high:+.3f}]" in text
    assert "curators" not in open_points(made)


def test_no_difference_from_the_curators_is_not_called_equality():
    made = comparison()
    assert "curators" not in words(made)
    text = open_points(made)
    assert "Whether mine is as close to the curators as they are to each other: the two" in text
    assert "cannot be told apart on the 12 test studies" in text
    assert "0.800 [0.700, 0.900] for mine and 0.820 [0.750, 0.900] for the curators" in text
    assert "a difference of -0.020 [-0.050, +0.050]" in text
    made["repeated"]["approaches"]["mine"]["macro"] = from_curators(0.8, None, None)
    assert "curators" not in words(made) and "allow no interval" in open_points(made)


def test_findings_review_and_failures_are_in_words():
    made = comparison()
    counted = {"recall": 0.75, "precision": 1.0, "matched": 3, "missed": 1, "invented": 0}
    made["approaches"]["mine"]["test"] |= {"abnormal_findings": counted, "failed_annotations": 2}
    review = {"risk": 0.05, "threshold": 0.9, "coverage": 0.8, "wrong_kept": 0.01}
    made["confidence"] = {"mine": {"review": review}}
    text = words(made)
    assert "mine reports 3 of 4 (75.0 %) and invents none" in text
    assert "**80.0 % of the regions need no review** with mine if at most 5 %" in text
    assert "judged as empty: mine 2." in text
    made["confidence"]["mine"]["review"] = review | dict.fromkeys(
        ("threshold", "coverage", "wrong_kept")
    )
    assert "**All regions need review**" in words(made)
    assert "review" not in words(comparison()) and "annotation" not in words(comparison())


def test_what_is_not_determined_is_named():
    missing = open_points(comparison(repeated=None), None, source="phantom")
    for said in (
        "constant text",
        "curators agree",
        "Abnormal",
        "review",
        "pictures",
        "Cost",
        "gen",
    ):
        assert said in missing
    known = comparison(confidence={"mine": {}})
    for content in known["approaches"].values():
        content["test"]["macro"]["clinical"] = 0.5
    priced = FREE | {"mine": {COST: 0.0}}
    audited = NONE | {"mine": {"studies": 3}}
    known["repeated"]["approaches"]["mine"]["macro"] = from_curators(0.7, -0.2, -0.1)
    assert open_points(known, usage=priced, audits=audited) == ""


class Elements(HTMLParser):
    """The elements of a page, and the text in each kind."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.found if "id" in attributes]


FINDING = "Fracture of the left rib."
SAID = {"constant": "Lungs are clear.", "mine": FINDING, "other": "Normal <b>bones</b>."}


@pytest.fixture(scope="module")
def results() -> report.Results:
    """Of three approaches, judged and compared as the graph does it."""
    judge = judges.load("proxy")
    members = {
        split: [
            Study(
                id=f"{split}{number}",
                uid=str(number),
                split=split,
                report="Report.",
                reference=annotation(bone=FINDING if number % 2 else "", lung="Lungs are clear."),
                novel=True,
            )
            for number in range(count)
        ]
        for split, count in {"dev": 2, "test": 12}.items()
    }
    judged = {
        name: {
            split: evaluate.judge_annotations(
                studies,
                [
                    AnnotationRecord(id=one.id, annotation=annotation(bone=text, lung=text))
                    for one in studies
                ],
                judge,
                REGIONS,
            )
            for split, studies in members.items()
        }
        for name, text in SAID.items()
    }
    summaries = {
        name: evaluate.details(by_split, members, judge, REGIONS, 50, 0)
        for name, by_split in judged.items()
    }
    scores = {
        name: scores_of(by_split, members, REGIONS.scored) for name, by_split in judged.items()
    }
    made = report_of(scores, summaries, [], PARAMS)
    curve = [[(step + 1) / 20, 0.01 * step] for step in range(20)]
    review = {"risk": 0.05, "delta": 0.05, "threshold": None, "coverage": None, "wrong_kept": None}
    known = {"raw": 0.1, "calibrated": 0.1}
    found = {"wrong": 0.2, "ece": known, "aurc": 0.1, "curve": curve, "review": review}
    made["confidence"] = {"mine": found, "other": found}
    losses = {"train": [(1, 2.5), (2, 0.5)], "dev": [(2, 0.7)]}
    return report.Results(made, FREE, NONE, losses, "iu_xray", "constant")


def test_the_page_reads_without_javascript_and_loads_nothing(results):
    page = report.page(results, PARAMS, 120)
    elements = Elements(page)
    start, end = (page.index(f'<section id="{name}') for name in ("overview", "studies"))
    overview = Elements(page[start:end])
    links = {one["href"] for one in overview.all("a")}
    assert {"#verdict", "#scores", "#charts", "#details-test"} <= links
    assert links <= {f"#{id}" for id in overview.ids()}
    assert len(elements.ids()) == len(set(elements.ids()))
    assert not any("src" in one for one in elements.all("img") + elements.all("script"))
    assert "<li><strong>" in page and "0.05" in page
    assert '"studies/0002.js"' in page and '"studies/0003.js"' not in page
    regions = [one["aria-label"] for one in overview.all("div") if one.get("role") == "region"]
    assert len(regions) == len(set(regions)) == len(overview.all("table"))
    assert page == report.page(copy.deepcopy(results), PARAMS, 120)


def test_names_and_words_from_data_are_no_markup(results):
    evil = '<img src=x onerror="y()">'
    made = copy.deepcopy(results)
    for content in made.comparison["approaches"].values():
        content["about"] = evil
    made.comparison["approaches"]["mine"]["test"]["abnormal_findings"]["misses"] = {evil: 3}
    page = report.page(made._replace(source=evil), PARAMS, 1)
    assert "onerror" in page and "<img src=x" not in page


def test_charts_take_colours_and_font_from_the_page(results):
    drawn = [
        *charts.scores(results.comparison, "constant"),
        charts.risk_coverage(results.comparison["confidence"]),
        charts.losses(results.losses),
        charts.costs(results.comparison, {"mine": {COST: 1.5}, "other": {}}),
    ]
    assert len(drawn) == 5, "score and clinical score, and one of each"
    together = Elements("".join(chart.svg for chart in drawn))
    assert len(together.ids()) == len(set(together.ids()))
    named = {f"#{id}" for id in together.ids()}
    for tag, attributes in together.found:
        assert tag not in ("style", "metadata", "image") and "style" not in attributes
        assert "font-family" not in attributes
        for key in ("fill", "stroke"):
            color = attributes.get(key, "none")
            assert color in ("none", "currentColor") or color.startswith("var(--series-"), color
        references = re.findall(r"#[\w.-]+", " ".join(map(str, attributes.values())))
        assert set(references) <= named
    assert all(one["fill"] == "currentColor" for one in together.all("text"))
    for chart in drawn:
        (svg,) = Elements(chart.svg).all("svg")
        assert svg["role"] == "img" and "viewbox" in svg
        title, description = svg["aria-labelledby"].split()
        assert f'<title id="{title}">{chart.caption}</title>' in chart.svg
        assert f'<desc id="{description}">' in chart.svg
    assert "mine 0." in drawn[0].svg and "dashed line at the floor" in drawn[0].svg
    assert drawn[2].rows[0][1:] == ["3.0 %", "7.0 %", "11.0 %", "15.0 %", "19.0 %"]
    assert [list(row) for row in drawn[3].rows] == [
        ["train", "2.500", "0.500", "0.500"],
        ["dev", "0.700", "0.700", "0.700"],
    ]
    assert "at 1.50" in drawn[4].svg and ">other<" not in drawn[4].svg


def test_a_chart_of_nothing_is_left_out(results):
    assert charts.costs(results.comparison, {"mine": {}, "other": {}}) is None
    assert charts.risk_coverage({}) is charts.losses({}) is charts.losses({"dev": []}) is None
    bare = results.comparison | {"confidence": {}}
    page = report.page(results._replace(comparison=bare, losses={}, floor=None), PARAMS, 1)
    assert page.count("<figure>") == 2 and "chart-loss" not in page
    assert "no approach is <code>constant</code>" in page


def test_losses_are_read_where_fine_tuning_left_them(tmp_path):
    assert report.losses(tmp_path) == {}
    path = tmp_path / "plots/metrics/train/loss.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("step\tloss\n1\t2.5\n2\tnan\n3\t0.5\n")
    assert report.losses(tmp_path) == {"train": [(1, 2.5), (3, 0.5)]}
    path.write_text("step\tloss\n1\tmuch\n")
    with pytest.raises(UserError, match="loss.tsv: .*dvc repro finetune"):
        report.losses(tmp_path)
