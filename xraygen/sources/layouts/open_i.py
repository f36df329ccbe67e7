"""Open-i's Indiana University collection: one XML file a report, `ecgen-radiology/*.xml`.

Read: `uId/@id`, `AbstractText[@Label="FINDINGS"]`, `parentImage/@id` (a file name without .png) and
its `caption`, which tells the projection only where it names one view. Checked against all 3,955
files. Source: https://openi.nlm.nih.gov/faq#collection
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from xraygen.core.errors import UserError
from xraygen.sources import Incident
from xraygen.sources.layouts.reading import Draft, View, decoded, excluded, is_utf_16
from xraygen.sources.walk import files_below

UNIT = "files"


def read(folder: Path, incidents: list[Incident]) -> Iterator[Draft | Incident]:
    outside: list[Path] = []
    paths = list(files_below(folder, lambda name: name.lower().endswith(".xml"), outside))
    links = [path for path in outside if path.suffix.lower() == ".xml"]
    if not paths and not links:
        raise UserError(f"{folder}: no .xml file below it; extract NLMCXR_reports.tgz there")
    for path in links:
        yield excluded("file_outside", path.relative_to(folder).as_posix(), "a link out of FOLDER")
    for path in paths:
        yield _study(path, path.relative_to(folder).as_posix(), incidents)


def _study(path: Path, name: str, incidents: list[Incident]) -> Draft | Incident:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if not path.is_file():  # a pipe would be waited for
        return excluded("file_unreadable", name, "a broken link, or not a file")
    try:
        data = path.read_bytes()
    except OSError as error:
        return excluded("file_unreadable", name, str(error.strerror))
    if is_utf_16(data):
        return excluded("file_unreadable", name, "UTF-16")
    try:
        root = fromstring(decoded(data, name, incidents), forbid_dtd=True)
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
