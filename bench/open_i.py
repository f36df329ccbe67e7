"""What the reader of findings finds in Open-i's reports, held against the findings that two readers
coded by hand (MeSH): recall and precision of abnormal reports and of single findings.

    python bench/open_i.py [../shared/open-i/NLMCXR_reports.tgz] [--doubtful]

Rules of the reader were written with the reports of even uids in view, so "odd" is the figure to
quote. A report counts where it has FINDINGS and was coded; FINDINGS and IMPRESSION are read. It is
abnormal where it has a code other than `normal`. What the text calls possible only ("may
represent", "at the upper limit of normal") counts as found with --doubtful alone, because the
readers coded none of it. Prints one JSON line: for each half and finding the reports coded, the
reports found, recall and precision, the most frequent finding first. Codes for the same finding are
taken together.
"""

import argparse
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring

from xraygen.judges.proxy.findings import Finding, read
from xraygen.judges.proxy.vocabulary import UNREAD

ARCHIVE = Path("../shared/open-i/NLMCXR_reports.tgz")


def _keys(names: str) -> Callable[[Finding], bool]:
    keys = frozenset(name.strip() for name in names.split(","))
    return lambda finding: finding.key in keys


# Name: (codes, by their beginning; what the reader calls it).
CODED: dict[str, tuple[str, Callable[[Finding], bool]]] = {
    "degenerative change": (
        r"[^/]*(Vertebra|Spine|Shoulder)[^/]*/.*degenerative|Spondylosis|Osteophyte|Arthritis"
        r"|Hyperostosis",
        _keys("degenerative"),
    ),
    "opacity": ("Opacity|Density", _keys("opacity, nodular opacity")),
    "granuloma": ("Calcified Granuloma|Granuloma", _keys("granuloma")),
    "cardiomegaly": ("Cardiomegaly|Cardiac Shadow/enlarged", _keys("heart, cardiomediastinal")),
    "atelectasis": ("Pulmonary Atelectasis", _keys("atelectasis")),
    "low lung volume": ("Lung/hypoinflation", _keys("low volume")),
    "calcification": ("Calcinosis", _keys("calcification")),
    "tortuous aorta": ("Aorta[^/]*/tortuous", _keys("tortuous")),
    "hyperinflation": ("Lung/hyperdistention|Lung, Hyperlucent", _keys("hyperinflation")),
    "scarring": ("Cicatrix", _keys("scarring")),
    "interstitial markings": (
        "Markings|Lung Diseases, Interstitial|Lung/.*interstitial",
        _keys("interstitial, crowding"),
    ),
    "pleural effusion": ("Pleural Effusion|Hydropneumo|Hemopneumo|Hemothorax", _keys("effusion")),
    "atherosclerosis": ("Atherosclerosis", _keys("atherosclerosis")),
    "airspace disease": (
        "Airspace|Infiltrate|Consolidation|Pneumonia",
        _keys("consolidation, pneumonia"),
    ),
    "deformity": ("Deformity", _keys("deformity, compression")),
    "scoliosis": ("Scoliosis", _keys("scoliosis")),
    "nodule": ("Nodule", _keys("nodule")),
    "fracture": ("Fractures", _keys("fracture")),
    "emphysema": (
        "Emphysema|Pulmonary Emphysema|Bullous Emphysema|Pulmonary Disease, Chronic",
        _keys("emphysema"),
    ),
    "hernia": ("Hernia", _keys("hernia")),
    "device": ("Catheters|Implanted|Medical Device|Tube|Stents", _keys("device")),
    "surgery": ("Surgical|Spinal Fusion|Sutures|Mastectomy|Pneumonectomy", _keys("surgery")),
    "congestion or edema": (
        "Pulmonary Congestion|Pulmonary Edema|Heart Failure",
        _keys("congestion, edema, heart failure"),
    ),
    "pneumothorax": ("Pneumothorax|Hydropneumo", _keys("pneumothorax")),
}


class Report(NamedTuple):
    uid: int
    text: str
    codes: tuple[str, ...]

    @property
    def abnormal(self) -> bool:
        return self.codes != ("normal",)

    def coded(self, name: str) -> bool:
        return any(re.match(CODED[name][0], code) for code in self.codes)

    def findings(self, doubtful: bool = False) -> list[Finding]:
        """What the reader finds present; `doubtful`: or possible."""
        found = [finding for said in read(self.text) for finding in said.findings]
        return [
            finding
            for finding in found
            if finding.positive and finding.key != UNREAD and (doubtful or not finding.doubtful)
        ]


def reports(archive: Path) -> Iterator[Report]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".xml"):
                report = _report(fromstring(tar.extractfile(member).read(), forbid_dtd=True))
                if report:
                    yield report


def _report(root: Element) -> Report | None:
    """None: without FINDINGS, or not coded."""
    text = {
        section.get("Label"): "".join(section.itertext()).strip()
        for section in root.iter("AbstractText")
    }
    codes = tuple(code.text.strip() for code in root.iter("major"))
    if not text.get("FINDINGS") or not codes or "No Indexing" in codes:
        return None
    said = f"{text['FINDINGS']}\n{text.get('IMPRESSION') or ''}"
    return Report(int(root.find("uId").get("id").removeprefix("CXR")), said, codes)


def _agreement(coded: list[bool], found: list[bool]) -> dict[str, float]:
    both = sum(one and other for one, other in zip(coded, found, strict=True))
    return {
        "coded": sum(coded),
        "found": sum(found),
        "recall": round(both / max(sum(coded), 1), 4),
        "precision": round(both / max(sum(found), 1), 4),
    }


def measured(chosen: list[Report], doubtful: bool = False) -> dict[str, dict[str, float]]:
    found = [report.findings(doubtful) for report in chosen]
    abnormal = [report.abnormal for report in chosen]
    result = {"abnormal report": _agreement(abnormal, list(map(bool, found)))}
    for name, (_, fits) in CODED.items():
        coded = [report.coded(name) for report in chosen]
        result[name] = _agreement(coded, [any(map(fits, findings)) for findings in found])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, nargs="?", default=ARCHIVE)
    parser.add_argument("--doubtful", action="store_true")
    arguments = parser.parse_args()
    found = sorted(reports(arguments.archive))
    both = measured(found)
    by_frequency = sorted(both, key=lambda name: -both[name]["coded"])
    result: dict = {"reports": len(found)}
    for half, rest in (("even", 0), ("odd", 1)):
        chosen = [report for report in found if report.uid % 2 == rest]
        values = measured(chosen, arguments.doubtful)
        result[half] = {name: values[name] for name in by_frequency}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
