"""Published GREEN scores, recomputed from GREEN's recorded answers under several conventions of
counting.

    python -m recipes.published_conventions FOLDER

reads FOLDER/green_*.csv and FOLDER/published_scores.csv. docs/conventions.md shows the output.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import chain, combinations, product
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, Field, PositiveInt, ValidationError
from tabulate import tabulate

from xraygen.core.errors import UserError, one_line
from xraygen.core.json_lines import first_problem
from xraygen.core.study import Judgement, NonEmpty
from xraygen.core.tables import read_rows
from xraygen.evaluation.resampling import compare, macro
from xraygen.evaluation.scores import StudyScores, by_study, summarise
from xraygen.judges import Opinion, decide
from xraygen.judges.green.answers import as_published, read

RESAMPLES = 5000
SEED = 0
ALPHA = 0.05
DECIDED = ("both_empty", "identical", "candidate_empty", "reference_empty")
LEAK = (
    "candidate = reference everywhere: this run measured its own references (a leak), its numbers"
    " say nothing about the approach."
)
# Cached, because many answers are the same.
_read = cache(read)
_as_published = cache(as_published)

Region = Literal["bone", "heart", "lung", "mediastinal"]
REGIONS = get_args(Region)
Share = Annotated[float, Field(ge=0, le=1)]


class Published(BaseModel):
    """A row of published_scores.csv: the mean over n rows."""

    approach: NonEmpty
    region: Region
    n: PositiveInt
    green_mean: Share


class Answer(BaseModel):
    """A row of green_*.csv: GREEN's recorded answer to a pair, and what green-score made of it."""

    approach: NonEmpty
    region: Region
    id: NonEmpty
    reference: str
    candidate: str
    completion: str
    green_score: Share

    @property
    def printed(self) -> float:
        return _as_published(self.completion)

    @property
    def opinion(self) -> Opinion:
        return _read(self.completion)

    @property
    def rule(self) -> Opinion | None:
        return decide(self.reference, self.candidate)

    @property
    def verdict(self) -> str:
        return (self.rule or self.opinion).verdict


Row = TypeVar("Row", Published, Answer)
Answers = dict[str, list[Answer]]  # by approach

# The score that counts for an answer; None is excluded. A study that is duplicated in the file
# counts once under all of them.
CONVENTIONS = {
    "each study once": lambda answer: answer.printed,
    "right silence 1": lambda answer: 1.0 if answer.verdict == "both_empty" else answer.printed,
    "both empty left out": lambda answer: (
        None if answer.verdict == "both_empty" else answer.printed
    ),
    "unreadable left out": lambda answer: (
        1.0 if answer.verdict == "both_empty" else answer.opinion.score
    ),
    "score": lambda answer: (answer.rule or answer.opinion).score,
    "asked only": lambda answer: None if answer.rule else answer.opinion.score,
}


def report(folder: Path) -> str:
    """The tables, as markdown. UserError: a file, column, study or number is missing or damaged."""
    rows = recorded(folder)
    published = published_means(folder, rows)
    once = {
        name: list({(answer.id, answer.region): answer for answer in answers}.values())
        for name, answers in rows.items()
    }
    scores = {
        name: {key: _scores(answers, key) for key in CONVENTIONS} for name, answers in once.items()
    }
    leaks = [
        name
        for name, answers in once.items()
        if {answer.verdict for answer in answers} <= {"identical", "both_empty"}
    ]
    titles = {name: f"{name} (leak)" if name in leaks else name for name in rows}
    everything = list(chain(*rows.values()))
    agree = sum(_six(answer.printed) == _six(answer.green_score) for answer in everything)
    notes = [f"{name}: {LEAK}" for name in leaks]
    notes.append(
        f"{agree:,} of {len(everything):,} rows: "
        "the completion gives the recorded green_score to 6 digits."
    )
    comparable = {
        name: by_convention for name, by_convention in scores.items() if name not in leaks
    }
    return "\n\n".join(
        [
            "**Published, reproduced, and the project's score**",
            _published_table(published, rows, scores, titles),
            "\n".join(f"- {note}" for note in notes),
            "**Macro under each convention**",
            _convention_table(rows, scores, titles),
            "**Pairs by verdict, each study once**",
            _pair_table(rows, once, titles),
            "**Rule against GREEN, each study once**",
            _exception_table([answer for answer in chain(*once.values()) if answer.rule]),
            "**Difference of macro, approaches over the same studies**",
            _difference_table(comparable),
        ]
    )


def _records(path: Path, record: type[Row]) -> Iterator[tuple[str, Row]]:
    """("file:line", record) of each row."""
    for line, row in read_rows(path, list(record.model_fields)):
        try:
            yield f"{path}:{line}", record.model_validate(row)
        except ValidationError as error:
            raise UserError(f"{path}:{line}: {first_problem(error)}; correct the row") from None


def recorded(folder: Path) -> Answers:
    """One answer a row. A study may be duplicated, in equal rows; it has a row for every scored
    region.
    """
    files = sorted(folder.glob("green_*.csv"))
    if not files:
        raise UserError(
            f"{folder}: no green_*.csv there; give the folder with GREEN's recorded answers"
        )
    cells: dict[str, dict[tuple[str, str], list[Answer]]] = {}
    for where, answer in chain.from_iterable(_records(path, Answer) for path in files):
        same = cells.setdefault(answer.approach, {}).setdefault((answer.id, answer.region), [])
        same.append(answer)
        if answer != same[0]:
            raise UserError(
                f"{where}: {answer.region} of study {answer.id} has another row that differs; "
                "keep one of them"
            )
    for name, known in cells.items():
        ids = dict.fromkeys(id for id, _ in known)
        for id, region in product(ids, REGIONS):
            if (id, region) not in known:
                raise UserError(
                    f"{folder}: approach {name} has no row for {region} of study {id}; add it"
                )
    return {name: list(chain(*known.values())) for name, known in cells.items()}


def published_means(folder: Path, rows: Answers) -> dict[str, dict[str, Published]]:
    """The published numbers by approach and region."""
    path = folder / "published_scores.csv"
    published: dict[str, dict[str, Published]] = {}
    for where, row in _records(path, Published):
        if row.approach not in rows:
            names = ", ".join(rows) or "none"
            raise UserError(
                f"{where}: no recorded answers of approach {row.approach}; there are: {names}"
            )
        if row.region in published.setdefault(row.approach, {}):
            raise UserError(
                f"{where}: {row.region} of approach {row.approach} is duplicated; keep one of them"
            )
        published[row.approach][row.region] = row
    for name, means in published.items():
        if missing := set(REGIONS) - means.keys():
            raise UserError(
                f"{path}: approach {name} has no row for {', '.join(sorted(missing))}; add it"
            )
    return published


def _scores(answers: list[Answer], convention: str) -> StudyScores:
    def judgement(answer: Answer) -> Judgement:
        score = CONVENTIONS[convention](answer)
        fields = answer.model_dump(exclude={"approach", "green_score"})
        return Judgement(**fields, score=score, verdict=answer.verdict, judge="green")

    return by_study(map(judgement, answers), REGIONS)


def _as_printed(answers: list[Answer]) -> dict[str, float]:
    """Region and macro means as green-score computes them: over all rows, with 0 for right silence
    and for answers that cannot be read.
    """
    means = {
        key: np.mean([answer.printed for answer in answers if answer.region == key])
        for key in REGIONS
    }
    return {"macro": np.mean(list(means.values())), **means}


def _six(value: float) -> str:
    return f"{value:.6f}"


def _three(value: float | None, sign: str = "") -> str:
    if value is None or np.isnan(value):
        return "–"
    return f"{round(value, 9):{sign}.3f}"  # so that .0125 is the same whatever its last bit


def _table(rows: list[list], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _published_table(published: dict, rows: Answers, scores: dict, titles: dict) -> str:
    lines = []
    for name, means in published.items():
        summary = summarise(scores[name]["score"], RESAMPLES, SEED)
        stated = {key: means[key].green_mean for key in REGIONS}
        stated["macro"] = np.mean(list(stated.values()))
        counted = Counter(answer.region for answer in rows[name])
        for key, now in _as_printed(rows[name]).items():
            match = "equal to 6 digits"
            if _six(now) != _six(stated[key]):
                match = f"off by {now - stated[key]:+.6f}"
            if key in means and means[key].n != counted[key]:
                match += f", {counted[key]} rows for {means[key].n}"
            cell = summary[key]
            score = f"{_three(cell['score'])} [{_three(cell['ci_low'])}, {_three(cell['ci_high'])}]"
            numbers = [_six(stated[key]), _six(now)]
            counts = [cell["n"], cell["unscored"]]
            lines.append([titles[name], key, *numbers, match, score, *counts])
    return _table(
        lines, ["approach", "region", "published", "reproduced", "", "score", "studies", "unscored"]
    )


def _convention_table(rows: Answers, scores: dict, titles: dict) -> str:
    lines = [
        [
            title,
            _three(_as_printed(rows[name])["macro"]),
            *(_three(macro(scores[name][key].score)) for key in CONVENTIONS),
        ]
        for name, title in titles.items()
    ]
    return _table(lines, ["approach", "as published", *CONVENTIONS])


def _pair_table(rows: Answers, once: Answers, titles: dict) -> str:
    lines = []
    for title, count, answers in [
        *((title, len(rows[name]), once[name]) for name, title in titles.items()),
        ("all", sum(map(len, rows.values())), list(chain(*once.values()))),
    ]:
        verdicts = Counter(answer.verdict for answer in answers)
        asked = [(answer.reference, answer.candidate) for answer in answers if not answer.rule]
        decided = [verdicts[verdict] for verdict in DECIDED]
        lines.append(
            [
                title,
                count,
                len(answers),
                *decided,
                len(asked),
                len(set(asked)),
                verdicts["unparseable"],
            ]
        )
    return _table(
        lines, ["approach", "rows", "pairs", *DECIDED, "asked", "distinct asked", "unparseable"]
    )


def _exception_table(decided: list[Answer]) -> str:
    lines = []
    for verdict in DECIDED:
        pairs = [(answer.rule.score, answer) for answer in decided if answer.verdict == verdict]
        unread = sum(answer.opinion.score is None for _, answer in pairs)
        unlike = sum(answer.opinion.score not in (None, rule) for rule, answer in pairs)
        lines.append(
            [
                verdict,
                len(pairs),
                unread,
                unlike,
                sum(answer.printed != rule for rule, answer in pairs),
            ]
        )
    headers = [
        "verdict",
        "pairs",
        "unreadable",
        "readable, unlike the rule",
        "printed, unlike the rule",
    ]
    return _table(lines, headers)


def _difference_table(scores: dict) -> str:
    lines = []
    for a, b in combinations(scores, 2):
        if scores[a]["score"].ids != scores[b]["score"].ids:
            continue
        for key in CONVENTIONS:
            left = scores[a][key].score
            right = scores[b][key].score
            # A pair that does not count on one side counts on neither.
            unknown = np.isnan(left) | np.isnan(right)
            left = np.where(unknown, np.nan, left)
            right = np.where(unknown, np.nan, right)
            found = compare(left, right, RESAMPLES, SEED)
            low, high = _three(found["ci_low"], "+"), _three(found["ci_high"], "+")
            difference = f"{_three(found['difference'], '+')} [{low}, {high}]"
            verdict = "holds" if found["p"] < ALPHA else "n.s."
            lines.append([f"{a} - {b}", key, difference, _three(found["p"]), verdict])
    return _table(lines, ["approaches", "convention", "difference", "p", ""])


def main(*folders: str) -> None:
    if len(folders) != 1:
        raise UserError("give one folder: python -m recipes.published_conventions RECORDED")
    print(report(Path(folders[0])))


if __name__ == "__main__":
    with one_line():
        main(*sys.argv[1:])
