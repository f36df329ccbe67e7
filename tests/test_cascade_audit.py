"""The picture audit of a cascade, whose second approach fails without the right picture."""

import pytest
from conftest import annotation, project_of
from test_cascade import PLACES

from xraygen.annotators.base import Annotator
from xraygen.annotators.load import load, settings_of
from xraygen.annotators.picture_audit import Altered, answers
from xraygen.core.errors import UserError
from xraygen.core.study import AnnotationRecord, Case, Image


class NeedsPictures(Annotator):
    shows_pictures = True
    built = 0

    def __init__(self, settings, project):
        super().__init__(settings, project)
        NeedsPictures.built += 1

    def __call__(self, cases):
        for case in cases:
            texts = annotation(lung="second") if case.images else None
            error = None if case.images else "no picture"
            yield AnnotationRecord(id=case.id, annotation=texts, error=error)

    def counts_as_failed(self, record):
        return True


def test_a_cascade_is_audited_whatever_share_its_second_approach_fails(tmp_path):
    """In dev and test the limit holds; those cases are not counted in the audit, nor the other way
    round.
    """
    entries = {
        "sure": {"annotator": "test_cascade:First", **PLACES},
        "sees": {"annotator": "test_cascade_audit:NeedsPictures", **PLACES},
        "both": {
            "annotator": "cascade",
            "reads": "models",
            "first": "sure",
            "then": "sees",
            "below": 0.8,
        },
    }
    approaches = {name: settings_of(entry, name) for name, entry in entries.items()}
    built = NeedsPictures.built
    both = load(approaches, "both", project_of(tmp_path))
    image = Image(path="data/a.png")
    right = [Case(id=f"r{k}", report="0.1", images=(image,)) for k in range(100)]
    bare = [Case(id=f"c{k}", report="0.1") for k in range(40)]
    assert len(list(both(right))) == 100

    cases = [Altered(case, "none") for case in bare]
    said = list(answers(both, cases, "both"))
    assert [record.id for record in said] == [case.id for case in bare]
    assert all(record.usage["fell_back"] == 1 for record in said)
    assert all(record.annotation["lung"].startswith("first") for record in said)

    # 20 failures among 120: the audit's 40 do not count.
    with pytest.raises(UserError, match="sees has no answer to 20 of the 120 cases passed on"):
        list(both(bare))
    assert NeedsPictures.built == built + 1, "models are loaded once"
