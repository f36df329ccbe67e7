"""The confidences of approaches: calibrated on dev, measured on test, and the threshold below which
`release` marks regions for review.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from xraygen.core.study import AnnotationRecord, Judgement
from xraygen.evaluation import calibration, results, review
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.scores import rounded
from xraygen.evaluation.tables import number, percent, table
from xraygen.language.text import RIGHT, is_right

_CURVE = 20  # points of a risk-coverage curve


class Confidences(NamedTuple):
    """Of each judged region, in order: `confidence` (n,), NaN where there is none, `right` (n,)
    bool, and the number of its `study` (n,) from 0.
    """

    confidence: np.ndarray
    right: np.ndarray
    study: np.ndarray

    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """Confidence and outcome where there is a confidence."""
        has = ~np.isnan(self.confidence)
        return self.confidence[has], self.right[has]


def confidences_of(
    annotations: Iterable[AnnotationRecord], judgements: Iterable[Judgement]
) -> Confidences:
    """Both may be streams."""
    given = {
        record.id: {region: one.confidence for region, one in record.evidence.items()}
        for record in annotations
    }
    numbers: dict[str, int] = {}
    rows = [
        (
            given.get(judgement.id, {}).get(judgement.region),
            is_right(judgement.reference, judgement.candidate),
            numbers.setdefault(judgement.id, len(numbers)),
        )
        for judgement in judgements
    ]
    confidence, right, study = zip(*rows, strict=True) if rows else ((), (), ())
    return Confidences(
        np.array(confidence, dtype=float), np.array(right, dtype=bool), np.array(study, dtype=int)
    )


def of_approaches(names: Iterable[str], params: CompareParams) -> dict[str, dict]:
    """`measured` of each approach whose results in data/ have confidences."""
    found = {}
    for name in names:
        dev, test = (
            confidences_of(results.annotations(name, split), results.judgements(name, split))
            for split in results.JUDGED
        )
        numbers = measured(dev, test, params.review_risk, params.alpha)
        if numbers is not None:
            found[name] = numbers
    return found


def measured(dev: Confidences, test: Confidences, risk: float, delta: float) -> dict | None:
    """What reports/comparison.json has of an approach; None where it gives no confidence on dev or
    test.

    `dev_regions`, `regions`: how many were judged on dev and on test; `wrong`: the share of wrong
    ones on test among those with a confidence; of these also `ece` and `brier`, each `raw` and
    `calibrated` on dev, `aurc` and `curve`; `review`: as `reviewed`.
    """
    (fitted_on, fitted_right), (confidence, right) = dev.known(), test.known()
    if not len(fitted_on) or not len(confidence):
        return None
    calibrated = calibration.isotonic(fitted_on, fitted_right)(confidence)
    risks = calibration.risk_coverage(confidence, right)
    upto = np.ceil(np.linspace(0, 1, _CURVE + 1)[1:] * len(risks)).astype(int)
    return {
        "dev_regions": len(dev.right),
        "regions": len(test.right),
        "wrong": rounded(float(np.mean(~right))),
        "ece": _raw_and_calibrated(
            calibration.expected_calibration_error, confidence, calibrated, right
        ),
        "brier": _raw_and_calibrated(calibration.brier, confidence, calibrated, right),
        "aurc": rounded(float(risks.mean())),
        "curve": [[rounded(k / len(risks)), rounded(float(risks[k - 1]))] for k in upto.tolist()],
        "review": reviewed(dev, test, risk, delta),
    }


def _raw_and_calibrated(
    measure: Callable[[np.ndarray, np.ndarray], float],
    raw: np.ndarray,
    calibrated: np.ndarray,
    right: np.ndarray,
) -> dict[str, float | None]:
    return {
        "raw": rounded(measure(raw, right)),
        "calibrated": rounded(measure(calibrated, right)),
    }


def reviewed(dev: Confidences, test: Confidences, risk: float, delta: float) -> dict:
    """The review threshold, the upper `bound` of the share of wrong regions among those that it
    keeps on dev, and what it achieved on test: `coverage`, the share of regions kept, and
    `wrong_kept`, the share of wrong ones among them. None where no threshold was certified.
    """
    result = {"risk": risk, "delta": delta}
    found = review.certified(*dev, risk, delta)
    if found is None:
        return result | dict.fromkeys(("threshold", "bound", "coverage", "wrong_kept"))
    above = test.confidence >= found.threshold
    return result | {
        "threshold": found.threshold,
        "bound": rounded(found.bound),
        "coverage": rounded(float(above.mean())),
        "wrong_kept": rounded(float(np.mean(~test.right[above]))) if above.any() else None,
    }


def metrics(confidence: Mapping[str, dict]) -> dict:
    """The content of metrics/confidence.json, by approach."""
    return {
        name: {
            "ece_calibrated": found["ece"]["calibrated"],
            "aurc": found["aurc"],
            "coverage": found["review"]["coverage"],
            "wrong_kept": found["review"]["wrong_kept"],
        }
        for name, found in confidence.items()
    }


LEGEND = """\
A region is *wrong* where its token F1 with the reference is below {right:g}, or just one of the two
is empty. *ECE*: expected calibration error of the confidences on test ({bins} bins of equal mass),
as given and after isotonic regression on dev. *AURC*: area under the risk-coverage curve; a random
order has an AURC equal to the share of wrong regions. *Kept*: test regions with a confidence of at
least the *threshold*, which was chosen on dev so that at most {risk:g} of them are wrong, except
with probability {delta:g} (docs/confidence.md)."""


def section(confidence: Mapping[str, dict]) -> list[str]:
    """The section of reports/comparison.md, without lines where no approach gives confidences.
    `confidence`: by approach, as `measured`.
    """
    if not confidence:
        return []
    rows = []
    for name, found in confidence.items():
        chosen = found["review"]
        rows.append(
            [
                name,
                percent(found["wrong"]),
                number(found["ece"]["raw"]),
                number(found["ece"]["calibrated"]),
                number(found["aurc"]),
                "none certified" if chosen["threshold"] is None else f"{chosen['threshold']:.4g}",
                percent(chosen["coverage"]),
                percent(chosen["wrong_kept"]),
            ]
        )
    headers = ["approach", "wrong", "ECE", "ECE, calibrated", "AURC", "threshold"]
    headers += ["kept", "wrong of kept"]
    chosen = next(iter(confidence.values()))["review"]
    legend = LEGEND.format(
        right=RIGHT, bins=calibration.BINS, risk=chosen["risk"], delta=chosen["delta"]
    )
    return ["## Confidence", table(rows, headers), legend]
