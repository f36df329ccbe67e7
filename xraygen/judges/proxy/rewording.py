"""Sentences put into the words of the reader of findings, for the clinical score alone: the trees
of the proxy were fitted to the texts as they are.

Each rule is a class of phrases that a list of words cannot hold, because a side, a level or an
adjective stands within them.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple


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


# Of these, one is compared with the other, and neither need be abnormal.
_COMPARED = re.compile(r"\b(?:lungs?|hilum|hilar|hemithorax|hemidiaphragm|diaphragm)\b")
_VERTEBRA = r"(?:vertebra[el]?s?(?: bod(?:y|ies))?|[ctl]\d{1,2})\b"
_NODES = r"(?:lymph )?nodes?\b"
_STUDY = r"(?:chest|study|exam(?:ination)?|radiographs?|film|(?:chest )?x-?ray)"

# `trigger: pattern => replacement`, in order; one rule may prepare the text for the next.
_RULES = rf"""
minor fissure: minor fissure => horizontal fissure
than: \b(left|right)\b([^.,;]*?)\b(?:greater|larger|worse|more|>)(?: \w+)?(?: on| in)? than (?:on |in )?(?:the )?(left|right)\b => BOTH
 less: ,?(?: with| and)?(?: to)?(?: an?)? less(?:er)? (?:degree|extent|involvement|amount)(?: of| in| on| at)?\b => and
pleural: \b(?:free )?(?:air|gas) (?:is )?(?:present |seen )?(?:with)?in (?:the )?(left |right |both )?pleural (?:spaces?|cavit\w+|sacs?) => \1pneumothorax
cavit: \b(pleural|thoracic|chest|abdominal|peritoneal|pericardial|medullary) cavit(?:y|ies)\b => \1 space
cavitat: \bcavitat(?:ing|ed)\b => cavitary
pericardi: \b(?:effusion|fluid|blood)\b[^.,;]{{0,25}}?\b(?:in|of|within|around) the pericardi(?:um|al (?:sac|space))\b => pericardial effusion
around the heart: \b(?:effusion|fluid|blood)\b[^.,;]{{0,15}}?\baround the heart\b => pericardial effusion
pneumopericardium: \bpneumopericardium\b => pneumomediastinum
diaphragm: \b(?:air|gas) (?:is )?(?:present |seen )?(?:under|beneath|below) (?:the |both |a )?(?:left |right )?(?:hemi)?diaphragms?\b => pneumoperitoneum
vertebra: \b(?:collapsed?|flatten(?:ed|ing)|crush(?:ed)?) (?:of )?(?:the |an? )?((?:[\w-]+ ){{0,3}}?{_VERTEBRA}) => compression of \1
vertebra: \b({_VERTEBRA}) (?:(?:has|have|is|are) )?(\w+ly )?(?:collapsed?|flattened|crushed)\b => \1 \2compression
collapse: \b(?:collapsed?) (?:of )?(?:the )?([ctl]\d{{1,2}})\b => compression of \1
collapse: \b([ctl]\d{{1,2}}) (?:(?:has|is) )?(?:collapsed?)\b => \1 compression
vertebra plana: \bvertebra plana\b => compression
node: \benlarge(?:d|ment of)(?: the)? ((?:[\w-]+ ){{0,3}}?){_NODES} => \1adenopathy
node: \b{_NODES} (?:(?:is|are|appears?) )?(\w+ly )?(?:enlarged|enlargement|bulky)\b => \1adenopathy
hilar: \bhilar (?:arter(?:y|ies)|vessels?)\b => pulmonary arteries
hypertension: \bpulmonary (?:arterial |artery )?hypertension\b => enlarged pulmonary arteries
broken: \bbroken ((?:\w+ ){{0,3}}?(?:ribs?|clavicles?|bones?|humerus|scapula|sternum|vertebra\w*))\b => fractured \1
dextro: \bdextro(?:convex )?(?:scoliosis|curvature)(?: of)?\b => right scoliosis
levo: \blevo(?:convex )?(?:scoliosis|curvature)(?: of)?\b => left scoliosis
normal: \b(?:above|beyond|exceed(?:s|ing)?|(?:greater|larger) than) (?:the |its )?(?:upper )?(?:limits? of (?:the )?normal|normal(?: limits?| range| size)?)\b => enlarged
normal: \boutside (?:the |of )?(?:limits of normal|normal limits)\b => abnormal
not : \bnot (?:quite |entirely |completely |fully )?(?:normal|unremarkable|clear(?! (?:if|whether|why|how)))\b => abnormal
abnormal: \babnormal {_STUDY} => abnormalchest
abnormal: \b{_STUDY} (?:is|appears|was|remains) abnormal\b => abnormalchest
abscess: \babscess(?:es)?\b => lungabscess
dissection: (?<!node )(?<!neck )(?<!axillary )\bdissections?\b => aorticdissection
aort: \b(?:aortic (?:rupture|transection|laceration)|(?:ruptured|transected) (?:thoracic )?aorta)\b => aorticinjury
embol: \b(?:pulmonary )?(?:thrombo)?embol(?:ism|us|i)\b => pulmonaryembolism
pulmonary infarct: \bpulmonary infarct(?:ion|s)?\b => pulmonaryinfarct
contusion: \b(?:pulmonary |lung )?contusions?\b => pulmonaryhemorrhage
morrhage: \b(?:pulmonary|alveolar|lung|intrapulmonary) ha?emorrhages?\b => pulmonaryhemorrhage
cyst: \bcysts?\b => lungcyst
pneumatocele: \bpneumatoceles?\b => bulla
bowel: \b(?:dilated|distended) (?:\w+ )?(?:loops of )?(?:\w+ )?bowel(?: loops)?\b|\bbowel (?:obstruction|distent?[st]ion)\b => boweldistension
ileus: \bileus\b => boweldistension
tamponade: \b(?:cardiac |pericardial )?tamponade\b => large pericardial effusion
distress: \b(?:acute |adult )?respiratory distress syndrome\b => pulmonary edema
ards: \bards\b => pulmonary edema
acute lung injury: \bacute lung injury\b => pulmonary edema
wing: \bbat-? ?wing (?:pattern|appearance|distribution|opacit(?:y|ies))\b => pulmonary edema
silicosis: \bsilicosis\b => fibrosis
asbestosis: \basbestosis\b => fibrosis
pneumoconiosis: \bpneumoconiosis\b => fibrosis
mesothelioma: \bmesothelioma\b => malignancy
sarcoma: \bsarcomas?\b => malignancy
lymphoma: \blymphomas?\b => malignancy
thymoma: \bthymoma\b => mass
coin: \bcoin (?:lesion|shadow)s?\b => nodule
shadow: \b(alveolar|air ?-?space|ill-defined|patchy|fluffy|confluent) shadow(?:ing|s)?\b => \1 opacity
lying: \b(?:low|high)[- ]lying ((?:\w+ ){{0,3}}?(?:tube|ett|catheter|line|picc))\b => malpositioned \1
"""


def _rule(line: str) -> _Rule:
    trigger, _, rest = line.partition(": ")
    pattern, _, replacement = rest.partition(" => ")
    written = _both_sides if replacement == "BOTH" else replacement
    return _Rule(trigger, re.compile(pattern), written)


_COMPILED = [_rule(line) for line in _RULES.strip("\n").splitlines()]


@lru_cache(maxsize=1 << 14)
def reworded(sentence: str) -> str:
    """The sentence as it is, or in lower case with the phrases of the rules replaced."""
    lower = text = sentence.lower()
    for rule in _COMPILED:
        if rule.trigger in text:
            text = rule.pattern.sub(rule.replacement, text)
    return sentence if text == lower else text
