"""Statements of a report, and the region under which curators file each topic.

There are two ways to file the same statements: `FIVE`, the regions of IU X-Ray's annotations, and
`SEVEN`, the sections of a structured report.
"""

from typing import NamedTuple


class Statement(NamedTuple):
    """A sentence. `parts`: by topic, what a curator writes who has to divide the sentence. `about`:
    the abnormal fields of `Findings` that it states.
    """

    text: str
    parts: dict[str, str]
    about: tuple[str, ...]


class Filing(NamedTuple):
    """`region_of`: the region of each topic, None where it belongs to none. `elsewhere`: the region
    under which some curators file a finding instead.
    """

    names: tuple[str, ...]
    region_of: dict[str, str | None]
    elsewhere: dict[str, str]

    def divided(self, statement: Statement) -> dict[str, str]:
        """{region: text}. Where all topics belong to one region, the text is the whole sentence."""
        found: dict[str, list[str]] = {}
        for topic, text in statement.parts.items():
            region = self.region_of[topic]
            if region is not None:
                found.setdefault(region, []).append(text)
        if len(found) == 1:
            return dict.fromkeys(found, statement.text)
        return {region: " ".join(texts) for region, texts in found.items()}


def _by_topic(topics: dict[str | None, str]) -> dict[str, str | None]:
    return {topic: region for region, listed in topics.items() for topic in listed.split()}


# A topic is a finding, present or absent, or something normal. `unreadable` is a sentence that has
# lost its subject to XXXX, such as "XXXX are intact."
FIVE = Filing(
    names=("bone", "heart", "lung", "mediastinal", "others"),
    region_of=_by_topic(
        {
            "bone": "bones rib_fracture spine scoliosis",
            "heart": "heart",
            "lung": "lungs volumes consolidation nodule granuloma atelectasis edema congestion"
            " vascularity effusion pneumothorax",
            "mediastinal": "mediastinum aorta trachea",
            "others": "pacemaker central_line sternotomy clips hernia free_air abdomen soft_tissues"
            " technique unreadable",
        }
    ),
    elsewhere={"sternotomy": "bone", "central_line": "mediastinal", "hernia": "mediastinal"},
)
# The headings of findings in Delbrouck et al., Automated Structured Radiology Report Generation
# (ACL 2025, arXiv:2505.24223). As there, aorta, pulmonary vessels and their congestion are
# cardiovascular, edema belongs to the lungs, the trachea's position is mediastinal, and free air
# and clips below the diaphragm are abdominal. Technique is a separate section there, so it is filed
# nowhere. Where templates differ, some curators follow one and some another.
SEVEN = Filing(
    names=(
        "lungs_airways",
        "pleura",
        "cardiovascular",
        "hila_mediastinum",
        "musculoskeletal",
        "devices",
        "abdomen",
    ),
    region_of=_by_topic(
        {
            "lungs_airways": "lungs volumes consolidation nodule granuloma atelectasis edema",
            "pleura": "effusion pneumothorax",
            "cardiovascular": "heart aorta vascularity congestion",
            "hila_mediastinum": "mediastinum trachea hernia",
            "musculoskeletal": "bones rib_fracture spine scoliosis sternotomy soft_tissues"
            " unreadable",
            "devices": "pacemaker central_line",
            "abdomen": "clips free_air abdomen",
            None: "technique",
        }
    ),
    elsewhere={
        "sternotomy": "devices",
        "aorta": "hila_mediastinum",
        "congestion": "lungs_airways",
        "hernia": "abdomen",
    },
)
FILINGS = (FIVE, SEVEN)
