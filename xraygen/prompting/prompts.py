"""What a language model is asked about a case: the prompt of an approach, filled with the case's
report.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import PositiveInt, field_validator

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.core.study import Case, NonEmpty, Record, Study, read_jsonl
from xraygen.prompting.conversation import completion

TRAIN = "data/prepared/train.jsonl"


class Example(Record):
    """A report, and how it should be annotated."""

    report: NonEmpty
    annotation: dict[str, str]


class Neighbours(Record):
    """The `k` curated training studies whose reports are most similar, as examples; by tf-idf
    cosine, or by words in common."""

    k: PositiveInt
    similarity: Literal["tfidf", "jaccard"]


class PromptSettings(Record):
    """`system` and `user`: the prompt; the report stands in place of {report}. `examples`, and then
    the `nearest`, come before it as turns of their own.
    """

    system: str = ""
    user: NonEmpty
    examples: tuple[Example, ...] = ()
    nearest: Neighbours | None = None

    @field_validator("user")
    @classmethod
    def _has_a_place_for_the_report(cls, user: str) -> str:
        if "{report}" not in user:
            raise ValueError("has no {report}, which is where the report goes")
        return user


class Prompts:
    """`turns` of a case: system, worked examples, and the user's, with the regions in place of
    {regions}. Reads the training studies where the approach wants the nearest.
    """

    def __init__(self, approach: PromptSettings, root: Path, regions: Regions):
        self.approach = approach
        self.system = regions.filled(approach.system)
        self.user = regions.filled(approach.user)
        self.examples = [
            (example.report, regions.annotation(example.annotation))
            for example in approach.examples
        ]
        self.nearest = (
            Nearest(read_jsonl(root / TRAIN, Study, regions), approach.nearest.similarity)
            if approach.nearest
            else None
        )

    def turns(self, case: Case) -> list[dict[str, str]]:
        """[{"role", "content"}]. A case has no reference; those of training studies are shown as
        examples.
        """
        shown = [(report, completion(annotation)) for report, annotation in self.examples]
        if self.nearest and self.approach.nearest:
            shown += [
                (study.report, completion(study.reference))
                for study in self.nearest.find(case, self.approach.nearest.k)
                if study.reference is not None
            ]
        turns = [("system", self.system)] if self.system else []
        for report, answer in shown:
            turns += [("user", self._user(report)), ("assistant", answer)]
        turns.append(("user", self._user(case.report)))
        return [{"role": role, "content": content} for role, content in turns]

    def _user(self, report: str) -> str:
        return self.user.replace("{report}", " ".join(report.split()) or "none").strip()


class Nearest:
    """Curated training studies by how like a report theirs is. `similarity`: "tfidf" = the cosine
    of the words' tf-idf vectors, "jaccard" = the share of words that two reports have in common of
    those that either has.
    """

    def __init__(self, studies: Iterable[Study], similarity: str):
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

        self.studies = [
            study
            for study in studies
            if study.split == "train" and study.reference and study.report.strip()
        ]
        if not self.studies:
            raise UserError(
                f"{TRAIN}: no curated study to take examples from; run `dvc repro prepare`"
            )
        self.similarity = similarity
        words = {"token_pattern": r"\w+"}
        self._vectors = (
            CountVectorizer(binary=True, **words)
            if similarity == "jaccard"
            else TfidfVectorizer(sublinear_tf=True, **words)
        )
        self._known = self._vectors.fit_transform([study.report for study in self.studies])
        self._ids = np.array([study.id for study in self.studies])

    def find(self, case: Case, k: int) -> list[Study]:
        """The k most similar, the most similar last, next to the question; never the case
        itself.
        """
        asked = self._vectors.transform([case.report])
        likeness = (self._known @ asked.T).toarray().ravel().astype(float)
        if self.similarity == "jaccard":
            words = len(
                set(self._vectors.build_analyzer()(case.report))
            )  # those that no training study has, too
            likeness /= self._known.sum(axis=1).A1 + words - likeness
        likeness[self._ids == case.id] = -1.0
        best = np.lexsort((self._ids, -likeness))[:k]
        return [self.studies[index] for index in best[::-1] if likeness[index] >= 0]
