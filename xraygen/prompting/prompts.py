"""What a language model is asked about a case: an approach's prompt with the case's report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import PositiveInt, field_validator

from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.regions import Regions
from xraygen.core.study import Case, NonEmpty, Record, Study
from xraygen.prompting.conversation import completion

TRAIN = "data/prepared/train.jsonl"


class Example(Record):
    """A report, and how it should be annotated."""

    report: NonEmpty
    annotation: dict[str, str]


class Neighbours(Record):
    """The `k` curated training studies with the most similar reports, as examples. `similarity`: as
    of Nearest."""

    k: PositiveInt
    similarity: Literal["tfidf", "jaccard"]


class PromptSettings(Record):
    """`system` and `user`: the prompt, in which {report} is replaced by the report. `examples`, and
    then the `nearest`, come before it, each as a turn of the user's and one of the assistant's.
    Without `user`, a fine-tuned model is asked as it was trained.
    """

    system: str = ""
    user: NonEmpty | None = None
    examples: tuple[Example, ...] = ()
    nearest: Neighbours | None = None

    @field_validator("user")
    @classmethod
    def _has_a_place_for_the_report(cls, user: str | None) -> str | None:
        if user is not None and "{report}" not in user:
            raise ValueError("has no {report}, which is where the report goes")
        return user

    def filled(self, regions: Regions) -> Self:
        """With the described regions in place of {regions}."""
        user = self.user and regions.filled(self.user)
        return self.model_copy(update={"system": regions.filled(self.system), "user": user})


class Prompts:
    """An approach's prompts, in which {regions} is replaced by the regions. Reads the training
    studies if the approach shows the nearest ones.
    """

    def __init__(self, approach: PromptSettings, root: Path, regions: Regions) -> None:
        self.approach = approach = approach.filled(regions)
        self.system = approach.system
        self.user = approach.user or ""
        self.examples = [
            (example.report, regions.annotation(example.annotation))
            for example in approach.examples
        ]
        self.nearest: Nearest | None = None
        if approach.nearest:
            studies = read_jsonl(root / TRAIN, Study, regions)
            self.nearest = Nearest(studies, approach.nearest.similarity)

    def turns(self, case: Case) -> list[dict[str, str]]:
        """[{"role", "content"}]: system, worked examples, the case. The only references shown are
        those of training studies.
        """
        examples = list(self.examples)
        if self.nearest and self.approach.nearest:
            for study in self.nearest.find(case, self.approach.nearest.k):
                if study.reference is not None:
                    examples.append((study.report, study.reference))
        turns = [("system", self.system)] if self.system else []
        for report, annotation in examples:
            turns += [("user", self._user(report)), ("assistant", completion(annotation))]
        turns.append(("user", self._user(case.report)))
        return [{"role": role, "content": content} for role, content in turns]

    def _user(self, report: str) -> str:
        return self.user.replace("{report}", " ".join(report.split()) or "none").strip()


class Nearest:
    """Finds the curated training studies with the most similar reports. `similarity`: "tfidf" = the
    cosine of tf-idf vectors, "jaccard" = the share of words in common among those of either report.
    UserError: there is no curated training study.
    """

    def __init__(self, studies: Iterable[Study], similarity: str) -> None:
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
        if similarity == "jaccard":
            self._vectorizer = CountVectorizer(binary=True, token_pattern=r"\w+")
        else:
            self._vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+")
        self._known = self._vectorizer.fit_transform([study.report for study in self.studies])
        self._ids = np.array([study.id for study in self.studies])

    def find(self, case: Case, k: int) -> list[Study]:
        """The k most similar studies, the most similar one last, closest to the question. The case
        itself is never among them.
        """
        asked = self._vectorizer.transform([case.report])
        similarity = (self._known @ asked.T).toarray().ravel().astype(float)
        if self.similarity == "jaccard":
            # Counted from the text, because words of no training study are not in `asked`.
            words = len(set(self._vectorizer.build_analyzer()(case.report)))
            similarity /= self._known.sum(axis=1).A1 + words - similarity
        similarity[self._ids == case.id] = -1.0
        best = np.lexsort((self._ids, -similarity))[:k]
        return [self.studies[index] for index in best[::-1] if similarity[index] >= 0]
