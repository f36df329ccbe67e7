"""Open-i's Indiana University collection: one XML file a report, `ecgen-radiology/*.xml`.

Read: `uId/@id`, `AbstractText[@Label="FINDINGS"]`, `parentImage/@id` (a file name without .png).
The files tell no projection of an image. Checked against all 3,955 files. Source:
https://openi.nlm.nih.gov/faq#collection
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from xraygen.sources import Incident
from xraygen.sources.incident_log import Log
from xraygen.sources.layouts.reading import Draft, View, excluded, text_files

UNIT = "files"


def read(folder: Path, log: Log) -> Iterator[Draft | Incident]:
    remedy = "no .xml file below it; extract NLMCXR_reports.tgz there"
    for path, text in text_files(folder, _is_xml, remedy, log):
        name = path.relative_to(folder).as_posix()
        yield text if isinstance(text, Incident) else _study(text, name)


def _is_xml(name: str) -> bool:
    return name.lower().endswith(".xml")


def _study(text: str, name: str) -> Draft | Incident:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(text, forbid_dtd=True)
    except ParseError as error:
        return excluded("file_malformed", name, f"not XML: {error}")
    except DefusedXmlException as error:
        return excluded("file_malformed", name, f"refused: {type(error).__name__}")
    uid = root.find("uId")
    return Draft(
        id=None if uid is None else uid.get("id"),
        report=" ".join(_findings(root)),
        views=tuple(View(image.get("id", "")) for image in root.iter("parentImage")),
        where=name,
    )


def _findings(root: Element) -> Iterator[str]:
    for section in root.iter("AbstractText"):
        if section.get("Label", "").strip().upper() == "FINDINGS":
            yield " ".join(section.itertext())
