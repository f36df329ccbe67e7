"""The router's confidence on IU X-Ray: calibrated on dev, measured on test.

    python bench/calibration.py [FOLDER [RISK [DELTA]]]

FOLDER has IU X-Ray's raw files, by default ../shared/iu-xray. The router is fitted on train with
the settings of params.yaml. Prints one JSON line: for both wordings, on test, the expected
calibration error and the Brier score before and after isotonic regression on dev, the calibration
error that chance alone would leave (`ece_by_chance`), the share of wrong regions, the area under
the risk-coverage curve, and the review threshold from dev with its bound there, and the coverage
and the share of wrong regions among those kept on test.
"""

import json
import sys
from pathlib import Path

import numpy as np

from xraygen import params
from xraygen.annotators.router import router
from xraygen.core.study import Study
from xraygen.evaluation import calibration
from xraygen.evaluation.confidence import Confidences, measured
from xraygen.language.text import is_right
from xraygen.sources import prepare
from xraygen.sources.iu_xray import read as iu_xray

SETTINGS = params.load(Path(__file__).parents[1] / "params.yaml")
DRAWS = 200


def confidences(model: router.Router, studies: list[Study], wording: router.Mode) -> Confidences:
    answers = model.answers((study.report for study in studies), wording)
    rows = [
        (answer.confidence[region], is_right(study.reference[region], answer.annotation[region]), k)
        for k, (study, answer) in enumerate(zip(studies, answers, strict=True))
        for region in SETTINGS.regions.scored
    ]
    return Confidences(*map(np.array, zip(*rows, strict=True)))


def main(folder: str = "../shared/iu-xray", risk: float = 0.05, delta: float = 0.05) -> None:
    raw = Path(folder)
    studies = iu_xray.read(raw, raw, SETTINGS.regions).studies
    splits = prepare.split(studies, SETTINGS.data.seed, SETTINGS.data.dev_share)
    model = router.fit(splits["train"], SETTINGS.fit_router, SETTINGS.regions)
    result: dict = {name: len(splits[name]) for name in ("train", "dev", "test")}
    for wording in ("learned", "verbatim"):
        dev, test = (confidences(model, splits[name], wording) for name in ("dev", "test"))
        found = measured(dev, test, float(risk), float(delta))
        calibrated = calibration.isotonic(*dev.known())(test.confidence)
        found["ece_by_chance"] = round(calibration.error_by_chance(calibrated, DRAWS, 0), 4)
        del found["curve"]
        result[wording] = found
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
