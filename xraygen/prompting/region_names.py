"""The keys under which language models file their texts, as regions: "Lungs and pleura",
"bonyStructures", "**Other findings**"."""

import re

from xraygen.core.study import REGIONS

# Which structures belong to which region follows the curators' conventions (the prompt `rules` in
# params.yaml).
_WORDS = {
    "bone": "bone bones bony osseous osteoarticular skeletal skeleton musculoskeletal msk spine"
    " spinal vertebra vertebrae vertebral rib ribs ribcage clavicle clavicles scapula"
    " scapulae sternum shoulder shoulders",
    "heart": "heart hearts cardiac cardiovascular pericardium pericardial",
    "lung": "lung lungs pulmonary pulmonic pleura pleurae pleural airway airways airspace"
    " airspaces parenchyma respiratory bronchi bronchial",
    "mediastinal": "mediastinal mediastinum mediastina hila hilar hilum aorta aortic great"
    " trachea tracheal",
    "others": "other others miscellaneous misc additional remaining rest else elsewhere"
    " incidental line lines tube tubes device devices catheter catheters hardware"
    " implants support surgical soft abdomen abdominal",
}
_REGION = {word: region for region, words in _WORDS.items() for word in words.split()}
# Words that leave the region as it is. Alone they name none.
_NEUTRAL = set(
    "a an the of in on for and or with all any region regions area areas section part parts"
    " finding findings annotation annotations text texts description descriptions observation"
    " observations statement statements sentence sentences report structure structures system"
    " systems organ organs anatomy field fields space spaces cavity cavities zone zones lobe lobes"
    " size silhouette shadow contour contours border borders cage wall thorax thoracic chest"
    " tissue tissues vessel vessels vasculature vascularity left right bilateral both upper lower"
    " medical abnormality abnormalities evaluation assessment".split()
)
# Keys that answers have next to the annotation and that hold no finding of a region.
_ASIDE = set(
    "reasoning reason reasons rationale explanation explanations thinking thought thoughts"
    " process chain analysis plan confidence certainty score note notes comment comments remark"
    " remarks id uid study case patient report reports input original source language version"
    " status type format schema name title disclaimer warning model date summary impression"
    " conclusion indication comparison technique".split()
)


def _words(key: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).lower())


def region_of(key: str) -> str | None:
    """The one region that a key names; None where it names none, or several, or holds a word that
    is not known."""
    words = _words(key)
    if not all(word in _REGION or word in _NEUTRAL for word in words):
        return None
    regions = {_REGION[word] for word in words if word in _REGION}
    return regions.pop() if len(regions) == 1 else None


def is_aside(key: str) -> bool:
    """Whether a key is usual next to an annotation and holds nothing of it, such as "reasoning" or
    "study_id"."""
    words = _words(key)
    return bool(words) and all(word in _ASIDE for word in words)


_QUOTED = "\"'`“”‘’"
_NAMES = "|".join(sorted({*REGIONS, *_REGION}, key=len, reverse=True))
# A region as a key: in quotes, or unquoted after a brace or comma, and before a colon.
_KEY = re.compile(
    rf"(?:[{_QUOTED}]|[{{,]\s*)[\s*_#]*(?:[^\W_]+[\s_/&]+){{0,3}}"
    rf"(?:{_NAMES})\b[^{_QUOTED}\n:{{}}]{{0,30}}[{_QUOTED}*_\s]*:",
    re.IGNORECASE,
)
_NAME = re.compile(_NAMES, re.IGNORECASE)


def names_region(text: str) -> bool:
    """Whether any region's word stands in a text."""
    return bool(_NAME.search(text))


def has_region_key(text: str) -> bool:
    """Whether a stretch of (damaged) JSON has a region as a key."""
    return bool(_KEY.search(text))
