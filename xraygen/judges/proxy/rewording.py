"""Sentences put into the words of the reader of findings, for the clinical score alone: the trees
of the proxy were fitted to the texts as they are.

Each rule is a class of phrases that a list of words cannot hold, because a side, a level or an
adjective stands within them.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from xraygen.language.remembered import remembered


class _Rule(NamedTuple):
    """`trigger`: what a sentence has to contain, so that most rules are not tried on it."""

    trigger: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


def _both_sides(match: re.Match[str]) -> str:
    """ "Left effusion larger than right": an effusion on both sides."""
    first, between, second = match.groups()
    unchanged = first == second or _COMPARED.search(between)
    return match[0] if unchanged else f"bilateral {between}"


def _air(match: re.Match[str]) -> str:
    """Air where it does not belong is named by its place."""
    between, side, place = match.groups()
    names = [name for beginning, name in _AIR.items() if place.startswith(beginning)]
    return f"{side or ''}{names[0] if names else 'subcutaneous emphysema'}{between}"


_AIR = {
    "pleural": "pneumothorax",
    "mediastin": "pneumomediastinum",
    "pericardi": "pneumomediastinum",
    "peritoneal": "pneumoperitoneum",
}
# Of these, one is compared with the other, and neither need be abnormal.
_COMPARED = re.compile(r"\b(?:lungs?|hilum|hilar|hemithorax|hemidiaphragm|diaphragm)\b")
_VERTEBRA = r"(?:vertebra[el]?s?(?: bod(?:y|ies))?|[ctl]\d{1,2})\b"
_NODES = r"(?:lymph )?nodes?\b"
_STUDY = r"(?:chest|study|exam(?:ination)?|radiographs?|film|(?:chest )?x-?ray)"


def _rule(trigger: str, pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> _Rule:
    return _Rule(trigger, re.compile(pattern), replacement)


# `written: phrase | phrase`, each also in the plural.
_PHRASES = """
apical posterior: apicoposterior
clavicle: collarbone | collar bone
scapula: shoulder blade
spine: backbone
sternum: breastbone | breast bone
tuberculosis: tb
boweldistension: ileus
bulla: pneumatocele
compression: vertebra plana
consolidation: consolidated
edema: edematous | oedematous
c2: odontoid | dens
fibrosis: fibrosed | silicosis | asbestosis | pneumoconiosis
lungabscess: abscess
malignancy: mesothelioma | sarcoma | lymphoma
mass: thymoma
osteopenia: osteoporotic
pneumomediastinum: pneumopericardium
pulmonary edema: ards | acute lung injury
pulmonaryinfarct: pulmonary infarct
scarring: scarred
hernia: herniated | herniating
"""
# Trigger, pattern and replacement, in order: one rule may prepare the text for the next.
_RULES: list[_Rule] = [
    # Sides and severity
    _rule("minor fissure", r"minor fissure", "horizontal fissure"),
    _rule(
        "than",
        r"\b(left|right)\b([^.,;]*?)\b(?:greater|larger|worse|"
        r"more|>)(?: \w+)?(?: on| in)? than (?:on |in )?(?:the )?(left|right)\b",
        _both_sides,
    ),
    _rule("ward", r"\b(left|right)wards?\b", r"to the \1"),
    _rule(
        "displace",
        r"\b(trachea\w*|mediastin\w+)\b([^.,;]{0,25}?)\bdisplac(?:ed|ement)\b",
        r"\1\2deviated",
    ),
    _rule(
        " less",
        r",?(?: with| and)?(?: to)?(?: an?)? less(?:er)? (?:degree|extent|involvement|"
        r"amount)(?: of| in| on| at)?\b",
        " ",
    ),
    # The pleura, the pericardium and what else is a space
    _rule(
        "pleural",
        r"\bair[- ]fluid levels? (?:with)?in (?:the )?(left |right |both )?pleural "
        r"(?:spaces?|cavit\w+)",
        r"\1hydropneumothorax",
    ),
    _rule(
        " in ",
        r"\b(?:free )?(?:air|gas)\b(?![- ](?:fluid|space|bronch|trapping|leak))([^.,;]{0,25})"
        r" (?:with)?in (?:the )?(left |right |both )?"
        r"(pleural (?:spaces?|cavit\w+|sacs?)|mediastin\w+|pericardi\w+|soft tissues?|"
        r"subcutaneous|chest wall|peritoneal cavity)",
        _air,
    ),
    _rule("visceral pleural", r"\bvisceral pleural (?:line|edge|margin)\b", "pneumothorax"),
    _rule(
        "tension",
        r"\btension pneumothora(?:x|ces)\b|\bpneumothorax under tension\b",
        "severe pneumothorax",
    ),
    _rule(
        "pleural",
        r"\bblood (?:is )?(?:present |seen )?(?:with)?in (?:the )?(left |right |both )?pleural\b",
        r"\1pleural effusion",
    ),
    _rule(
        "phrenic",
        r"\b(?:in|at) (the |both )?(left |right )?(costo|cardio)phrenic\b",
        r"in \1\2basal \3phrenic",
    ),
    _rule("not sharp", r"phrenic angles? (?:(?:is|are) )?not sharp\b", "phrenic angle is blunted"),
    _rule(
        "thicken",
        r"\bthicken(?:ed|ing of)(?: the)? (?:bronch\w+|airway\w*)(?: walls?)?\b",
        "airway thickening",
    ),
    _rule("pleural cap", r"\bpleural cap(?:s|ping)?\b", "pleural thickening"),
    _rule(
        "cavit",
        r"\b(pleural|thoracic|chest|abdominal|peritoneal|pericardial|"
        r"medullary) cavit(?:y|ies)\b",
        r"\1 space",
    ),
    _rule("cavitat", r"\bcavitat(?:ing|ed)\b", "cavitary"),
    _rule(
        "pericardi",
        r"\b(?:effusion|fluid|blood)\b[^.,;]{0,25}?\b(?:in|of|within|"
        r"around) the pericardi(?:um|al (?:sac|space))\b",
        "pericardial effusion",
    ),
    _rule(
        "around the heart",
        r"\b(?:effusion|fluid|blood)\b[^.,;]{0,15}?\baround the heart\b",
        "pericardial effusion",
    ),
    _rule(
        "diaphragm",
        r"\b(?:air|gas) (?:is )?(?:present |seen )?(?:under|beneath|below) (?:the |"
        r"both |a )?(?:left |right )?(?:hemi)?diaphragms?\b",
        "pneumoperitoneum",
    ),
    # Bones
    _rule(
        "vertebra",
        r"\b(?:collapsed?|flatten(?:ed|ing)|crush(?:ed)?|compressed) (?:of )?(?:the |"
        rf"an? )?((?:[\w-]+ ){{0,3}}?{_VERTEBRA})",
        r"compression of \1",
    ),
    _rule(
        "vertebra",
        rf"\b({_VERTEBRA}) (?:(?:has|have|is|are) )?(\w+ly )?(?:collapsed?|flattened|"
        r"crushed|compressed)\b",
        r"\1 \2compression",
    ),
    _rule("collapse", r"\b(?:collapsed?) (?:of )?(?:the )?([ctl]\d{1,2})\b", r"compression of \1"),
    _rule("collapse", r"\b([ctl]\d{1,2}) (?:(?:has|is) )?(?:collapsed?)\b", r"\1 compression"),
    _rule(
        "metasta",
        r"\b(bon[ey]|osseous|skeletal|vertebral|ribs?|spinal) metasta\w+",
        r"\1 lesion",
    ),
    _rule(
        "metasta",
        r"\bmetasta\w+ (?:to|in|of) (?:the )?(bones?|spine|ribs?|skeleton|vertebra\w*)\b",
        r"lesion of the \1",
    ),
    _rule(
        "diaphragm",
        r"\b(?:diaphragm(?:atic)? (?:rupture|laceration|injury)|"
        r"(?:ruptured|lacerated) (?:left |right )?(?:hemi)?diaphragm)\b",
        "diaphragmaticinjury",
    ),
    _rule("cortical", r"\bcortical (?:break|disruption|step-?off)s?\b", "fracture"),
    # Nodes and vessels
    _rule(
        "node", rf"\benlarge(?:d|ment of)(?: the)? ((?:[\w-]+ ){{0,3}}?){_NODES}", r"\1adenopathy"
    ),
    _rule(
        "node",
        rf"\b{_NODES} (?:(?:is|are|appears?) )?(\w+ly )?(?:enlarged|enlargement|"
        r"bulky)\b",
        r"\1adenopathy",
    ),
    _rule("hilar", r"\bhilar (?:arter(?:y|ies)|vessels?)\b", "pulmonary arteries"),
    _rule(
        "hypertension",
        r"\bpulmonary (?:arterial |artery )?hypertension\b",
        "enlarged pulmonary arteries",
    ),
    _rule(
        "broken",
        r"\bbroken ((?:\w+ ){0,3}?(?:ribs?|clavicles?|bones?|humerus|scapula|sternum|"
        r"vertebra\w*))\b",
        r"fractured \1",
    ),
    _rule("dextro", r"\bdextro(?:convex )?(?:scoliosis|curvature)\b", "right scoliosis"),
    _rule("levo", r"\blevo(?:convex )?(?:scoliosis|curvature)\b", "left scoliosis"),
    # Not normal, and normal
    _rule(
        "diaphragm",
        r"\b((?:hemi)?diaphragms?) (?:is|are|lies?|sits?|appears?) (?:\w+ly )?high(?:er)?"
        r"(?! than the (?:left|right))(?: than (?:normal|usual))?\b",
        r"\1 elevated",
    ),
    _rule("small", r"\bsmall (heart|cardiac silhouette)\b", r"normal \1"),
    _rule(
        "small",
        r"\b(heart|cardiac silhouette|cardiac size|heart size) (is|appears) (?:\w+ly )?small\b",
        r"\1 \2 normal",
    ),
    _rule(
        "not ",
        r"\bnot (?:\w+ly )?(?:large|larger|big|bulky|wide|narrow|narrowed|asymmetric|coarse|"
        r"accentuated|dense|irregular|blurred|indistinct)\b",
        "normal",
    ),
    _rule("nothing", r"\bnothing\b", "no"),
    _rule(
        "normal",
        r"\b(?:above|beyond|exceed(?:s|ing)?|(?:greater|larger|bigger|wider) than) (?:the |"
        r"its )?(?:upper )?(?:limits? of (?:the )?normal|"
        r"normal(?: limits?| range| size)?)\b",
        "enlarged",
    ),
    _rule("normal", r"\boutside (?:the |of )?(?:limits of normal|normal limits)\b", "abnormal"),
    _rule(
        "not ",
        r"\bnot (?:quite |entirely |completely |fully )?(?:normal|unremarkable|"
        r"clear(?! (?:if|whether|why|how)))\b",
        "abnormal",
    ),
    _rule("abnormal", rf"\babnormal {_STUDY}", "abnormalchest"),
    _rule("abnormal", rf"\b{_STUDY} (?:is|appears|was|remains) abnormal\b", "abnormalchest"),
    # Diseases
    _rule("over", r"\bover-?(?:expan|aerat|disten)\w+", "hyperinflated"),
    _rule("dissection", r"(?<!node )(?<!neck )(?<!axillary )\bdissections?\b", "aorticdissection"),
    _rule(
        "aort",
        r"\b(?:aortic (?:rupture|transection|laceration)|(?:ruptured|transected) "
        r"(?:thoracic )?aorta)\b",
        "aorticinjury",
    ),
    _rule(
        "embol",
        r"(?<!septic )\b(?:pulmonary )?(?:thrombo)?embol(?:ism|us|i)\b",
        "pulmonaryembolism",
    ),
    _rule("contusion", r"\b(?:pulmonary |lung )?contusions?\b", "pulmonaryhemorrhage"),
    _rule(
        "morrhage",
        r"\b(?:pulmonary|alveolar|lung|intrapulmonary) ha?emorrhages?\b",
        "pulmonaryhemorrhage",
    ),
    _rule("cyst", r"(?<!subchondral )\bcysts?\b", "lungcyst"),
    _rule(
        "bowel",
        r"\b(?:dilated|distended) "
        r"(?:\w+ )?(?:loops of )?(?:\w+ )?bowel(?: loops)?\b|\bbowel (?:obstruction|"
        r"distent?[st]ion)\b",
        "boweldistension",
    ),
    _rule("tamponade", r"\b(?:cardiac |pericardial )?tamponade\b", "large pericardial effusion"),
    _rule("distress", r"\b(?:acute |adult )?respiratory distress syndrome\b", "pulmonary edema"),
    _rule(
        "wing",
        r"\bbat-? ?wing (?:pattern|appearance|distribution|opacit(?:y|ies))\b",
        "pulmonary edema",
    ),
    _rule("water", r"\bwater in (?:the |both )?lungs?\b", "pulmonary edema"),
    _rule("lingul", r"\b(?:left )?lingular?\b", "left upper midlung"),
    _rule("coin", r"\bcoin (?:lesion|shadow)s?\b", "nodule"),
    _rule(
        "shadow",
        r"\b(alveolar|air ?-?space|ill-defined|patchy|fluffy|confluent) shadow(?:ing|"
        r"s)?\b",
        r"\1 opacity",
    ),
    # Devices
    _rule(
        "outside",
        r"\boutside (?:of )?(?:the )?(?:chest|thorax|thoracic cage|(?:thoracic|pleural) "
        r"(?:space|cavity))\b",
        "in the soft tissues",
    ),
    _rule(
        "lying",
        r"\b(?:low|high)[- ]lying ((?:\w+ ){0,3}?(?:tube|ett|catheter|line|picc))\b",
        r"malpositioned \1",
    ),
    *(
        _rule(phrase, rf"\b{phrase}(?:e?s)?\b", written)
        for written, _, phrases in (row.partition(": ") for row in _PHRASES.strip().splitlines())
        for phrase in phrases.split(" | ")
    ),
]


@remembered(500_000)
def reworded(sentence: str) -> str:
    """The sentence as it is, or in lower case with the phrases of the rules replaced."""
    lower = text = sentence.lower()
    for rule in _RULES:
        if rule.trigger in text:
            text = rule.pattern.sub(rule.replacement, text)
    return sentence if text == lower else text
