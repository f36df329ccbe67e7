"""The router on the real collection: floors under token F1, and how far its confidences can be
trusted. Nothing here chooses anything: parameters were chosen within train.
"""

from pathlib import Path

import numpy as np
import pytest
from conftest import REGIONS

from xraygen.annotators.router.router import Router, RouterParams, fit
from xraygen.core.study import Study
from xraygen.evaluation.confidence import Confidences, measured
from xraygen.language.text import is_right, token_f1
from xraygen.sources import prepare
from xraygen.sources.iu_xray import read as iu_xray

SHARED = Path(__file__).resolve().parents[2] / "shared"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SHARED / "iu-xray").is_dir(), reason="needs the IU X-Ray files in ../shared/iu-xray"
    ),
]


def macro(pairs) -> float:
    means = []
    for region in REGIONS.scored:
        scores = [token_f1(study.reference[region], said[region]) for study, said in pairs]
        scored = [score for score in scores if score is not None]
        means.append(sum(scored) / len(scored))
    return sum(means) / len(means)


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Study]]:
    studies = iu_xray.read(SHARED / "iu-xray", SHARED, REGIONS).studies
    return prepare.split(studies, seed=0, dev_share=0.1)


@pytest.fixture(scope="module")
def router(splits) -> Router:
    return fit(splits["train"], RouterParams(), REGIONS)


def test_floors_on_test_and_on_reports_that_train_does_not_have(splits, router):
    pairs = [(study, router.annotate(study.report)) for study in splits["test"]]
    assert len(pairs) == 295
    assert macro(pairs) >= 0.895
    assert macro([(study, said) for study, said in pairs if study.novel]) >= 0.86
    verbatim = [(study, router.annotate(study.report, "verbatim")) for study in splits["test"]]
    assert macro(pairs) > macro(verbatim) + 0.05


def confidences(router: Router, studies: list[Study]) -> Confidences:
    answers = router.answers(study.report for study in studies)
    rows = [
        (answer.confidence[region], is_right(study.reference[region], answer.annotation[region]), k)
        for k, (study, answer) in enumerate(zip(studies, answers, strict=True))
        for region in REGIONS.scored
    ]
    return Confidences(*map(np.array, zip(*rows, strict=True)))


def test_confidences_are_calibrated_on_dev_and_the_review_threshold_holds_on_test(splits, router):
    dev, test = (confidences(router, splits[name]) for name in ("dev", "test"))
    found = measured(dev, test, risk=0.05, delta=0.05)
    assert found["ece"]["calibrated"] <= 0.03
    assert found["aurc"] <= 0.025 < 0.08 < found["wrong"]
    assert found["review"]["wrong_kept"] <= 0.05
    assert found["review"]["coverage"] >= 0.75
