"""The router on the real collection: floors under token F1. Nothing here chooses anything:
parameters were chosen within train.
"""

from pathlib import Path

import pytest
from conftest import REGIONS

from xraygen.annotators.router.router import RouterParams, fit
from xraygen.language.text import token_f1
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


def test_floors_on_test_and_on_reports_that_train_does_not_have():
    splits = prepare.split(
        iu_xray.read(SHARED / "iu-xray", SHARED, REGIONS).studies, seed=0, dev_share=0.1
    )
    router = fit(splits["train"], RouterParams(), REGIONS)
    pairs = [(study, router.annotate(study.report)) for study in splits["test"]]
    assert len(pairs) == 295
    assert macro(pairs) >= 0.895
    assert macro([(study, said) for study, said in pairs if study.novel]) >= 0.86
    verbatim = [(study, router.annotate(study.report, "verbatim")) for study in splits["test"]]
    assert macro(pairs) > macro(verbatim) + 0.05
