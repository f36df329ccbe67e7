"""Findings in a short radiology text: what is stated as present, absent or normal, where, on which
side and how severe.

A rule-based reader after NegEx (Chapman et al., J Biomed Inform 2001): a vocabulary of single
words, each standing for an observation, a structure or a modifier; a negation cue reaches from
where it stands to the end of its clause.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from xraygen.language.text import without_list_markers

_TOKEN = re.compile(r"[a-z]+(?:'t)?|\d+(?:\.\d+)?|[,.;:!?\n]")


def _table(text: str) -> dict[str, str]:
    """`value: word word` lines -> word to value."""
    rows = (line.split(":") for line in text.strip().splitlines())
    return {word: value.strip() for value, words in rows for word in words.split()}


# Replaced before anything is read, the longest phrase first.
_PHRASES = {
    tuple(phrase.split()): row.partition(":")[0]
    for row in """
normal: within normal limits | within limits of normal | within the normal limits | within normal limit
normal: within normal range | not increased | not remarkable | not enlarged | not widened
borderline: limits of normal | upper limits of normal | upper limit of normal | upper normal | top normal
borderline: top limits of normal | upper limits normal
airspace: air space
consolidation: airspace disease | air space disease
softtissue: soft tissue | soft tissues
adenopathy: lymph node | lymph nodes
no: free of | negative for | absence of | rather than | lack of | free from | devoid of
clear no: clear of
not: ruled out | no longer | no longer seen
volume: lung volumes | lung volume | inspiratory volumes
degenerative: degenerative disc disease | degenerative disease | degenerative change | degenerative changes
granuloma: granulomatous disease
interstitial: interstitial disease
effusion: pleural fluid
pleuralthickening: pleural thickening | pleural scarring
edema: heart failure | congestive heart failure
pericardialeffusion: pericardial effusion
cabg: bypass graft
aorta: great vessels | thoracic aorta
post: status post
clear: well expanded | well inflated | normally inflated | well aerated | normally expanded | normally aerated
clear: fully expanded
size: in size
shoulder: acromioclavicular joint
neck: surgical neck
compression: compression fracture | compression fractures | compression deformity | compression deformities
vertebral: vertebral body | vertebral bodies
bony: bony thorax | osseous thorax | thoracic cage | rib cage | bony structures
hernia: hiatus hernia
cardiomediastinal: cardio mediastinal
left: left sided
right: right sided
costophrenic: costophrenic angle | costophrenic angles | costophrenic sulcus | costophrenic sulci
midlung lung: mid lung
vasculature: pulmonary vascularity | pulmonary vasculature
vascular: pulmonary vascular
congestion: vascular congestion
pneumothorax: pleural air
midline: not displaced
""".strip().splitlines()
    for phrase in row.partition(":")[2].split("|")
}
_LENGTHS = {
    first: sorted({len(phrase) for phrase in _PHRASES if phrase[0] == first}, reverse=True)
    for first, *_ in _PHRASES
}

_OBSERVATION = _table("""
effusion: effusion hydrothorax fluid pleuraleffusion hemothorax
pericardial effusion: pericardialeffusion
pneumothorax: pneumothorax pneumothorace ptx hydropneumothorax
pleural thickening: pleuralthickening
blunting: blunting blunted
consolidation: consolidation consolidate consolidating consolidative infiltrate infiltration pneumonia airspace
consolidation: infection tuberculosis
opacity: opacity streaky streakiness opacification opaque density haziness hazy
nodule: nodule nodular nodularity mass masslike lesion
granuloma: granuloma granulomatous granulomata histoplasmosis
edema: edema congestion engorgement engorged congested overload
atelectasis: atelectasis atelectatic atelectases collapse bandlike platelike
scarring: scar scarring fibrosis fibrotic
emphysema: emphysema emphysematous copd bulla bullae bullous hyperinflation hyperinflated hyperexpansion hyperexpanded
emphysema: hyperlucent hyperlucency
low volume: hypoinflation hypoinflated underinflated hypoventilation hypoaeration
interstitial: interstitial marking reticular bronchovascular bronchiectasis peribronchial
cavity: cavity cavitary cavitation lucency lucent
enlargement: enlarged enlargement cardiomegaly prominent prominence widening widened dilated dilation distended fullness
tortuous: tortuous tortuosity ectasia ectatic unfolding unfolded aneurysm aneurysmal
calcification: calcification calcified calcific calcium
atherosclerosis: atherosclerotic atherosclerosis
adenopathy: adenopathy lymphadenopathy
hernia: hernia herniation
surgery: sternotomy cabg bypass postsurgical postoperative surgical surgery clip suture wire fusion hardware graft
surgery: lobectomy mastectomy cholecystectomy
device: catheter picc tube pacemaker device lead stent valve port electrode icd tip prosthetic prosthesis
fracture: fracture fractured callus
compression: compression wedging wedge
degenerative: degenerative degeneration spondylosis osteophyte osteophytosis endplate arthritic arthritis arthropathy
degenerative: osteoarthritis disc spurring spur spurs spondylotic dish
curvature: scoliosis scoliotic dextroscoliosis levoscoliosis curvature dextrocurvature levocurvature
kyphosis: kyphosis kyphotic
osteopenia: osteopenia osteopenic demineralization demineralized osteoporosis
deformity: deformity pectus malalignment irregularity
dislocation: dislocation dislocated subluxation
injury: injury injuries trauma traumatic
destruction: destructive destruction sclerotic lytic sclerosis metastatic metastasis metastases
elevation: elevation elevated eventration
flattening: flattening flattened
deviation: deviation deviated displacement shift shifted
abnormality: abnormality abnormal abnormalities disease process finding change anomaly pathology
""")
_STRUCTURE = _table("""
cardiomediastinal: cardiomediastinal cardiomediastinum
heart: heart cardiac cardio ventricle ventricular atrium atrial cardiopericardial
mediastinum: mediastinal mediastinum
lung: lung pulmonary midlung parenchyma parenchymal lobe lobar airway
vasculature: vascularity vasculature vascular vessel perfusion
aorta: aorta aortic
hilum: hilar hilum hila perihilar
trachea: trachea tracheal
diaphragm: diaphragm hemidiaphragm diaphragmatic
costophrenic: costophrenic
pleura: pleural pleura
volume: volume inspiration inspiratory expansion
bone: bone bony osseous osseus skeletal skeleton musculoskeletal thorax
spine: spine spinal vertebral vertebra vertebrae
rib: rib
shoulder: shoulder clavicle humerus humeral acromioclavicular glenohumeral scapula
soft tissue: softtissue
""")
_STRUCTURE_NAMES = frozenset(_STRUCTURE.values())
_NORMAL = frozenset(
    "normal normally unremarkable clear intact midline negative expanded aerated inflated patent maintained "
    "preserved sharp".split()
)
_STABLE = frozenset(
    "stable unchanged persistent chronic again similar redemonstrated redemonstration remains remain".split()
)
_CHANGED = frozenset(
    "new increased increasing worsened worse worsening improved improving decreased decreasing interval "
    "resolved resolution developed developing progressed enlarging".split()
)
_PRIOR = frozenset("prior previous previously compared comparison earlier interval since".split())
_NEGATION = frozenset("no without not nor neither absent never none denies isn't aren't".split())
_NEGATES_BEFORE = frozenset("not absent none resolved isn't aren't".split())
_SEPARATES = frozenset((",", "and", "with"))
_CLAUSE = frozenset("but however although though except aside apart which despite while".split())
_SIDE = {
    "left": 1,
    "right": 2,
    "bilateral": 3,
    "bilaterally": 3,
    "both": 3,
    "bibasilar": 3,
    "biapical": 3,
}
_ZONE = _table("""
upper: upper apex apical apices biapical superior
middle: mid middle midlung lingula lingular central midthoracic
lower: lower base basilar basal bibasilar inferior retrocardiac
cervical: cervical
thoracic: thoracic
lumbar: lumbar thoracolumbar
""")
_SEVERITY = {
    word: level
    for level, words in enumerate(
        (
            "minimal minimally mild mildly small trace slight slightly tiny subtle borderline minor",
            "moderate moderately medium",
            "severe severely large marked markedly massive extensive advanced significant significantly gross",
        ),
        1,
    )
    for word in words.split()
}
_LOW = frozenset("low decreased diminished reduced shallow".split())
_STOP = frozenset(
    "a an the is are was were be been being of in on at to for with and or by as from there this that these it its has have had "
    "no not without nor seen noted identified visualized visualised visible present evident demonstrated demonstrate "
    "demonstrates "
    "appear appears appearing appearance evidence any which also well than may grossly within limits limit definite otherwise "
    "xxxx s t again area areas focal acute typical structure structures both all overall remain remains region".split()
)

LUNG = frozenset(
    (
        "effusion",
        "pneumothorax",
        "pleural thickening",
        "blunting",
        "consolidation",
        "opacity",
        "nodule",
        "granuloma",
        "edema",
        "atelectasis",
        "scarring",
        "emphysema",
        "interstitial",
        "cavity",
        "low volume",
    )
)
BONE = frozenset(
    (
        "fracture",
        "compression",
        "degenerative",
        "curvature",
        "kyphosis",
        "osteopenia",
        "deformity",
        "dislocation",
        "injury",
        "destruction",
    )
)
HEART = frozenset(("pericardial effusion",))
WHOLE = "whole"  # what is called normal without being named: "Within normal limits."
UNREAD = "unread"  # a sentence without a word of this vocabulary; its words are in `where`
# Said of a structure, these mean that the structure is abnormal: "enlarged heart" contradicts
# "normal heart".
_OF_STRUCTURE = frozenset(("enlargement", "abnormality"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement. `key`: the observation, or the structure where it is called normal, stable or
    abnormal as a whole.

    `state`: "present", "absent", "normal" (of a structure), "stable" (nothing else said of it).
    `side`: 0 unsaid, 1 left, 2 right, 3 both. `severity`: 0 unsaid, 1 mild to 3 severe. `where`:
    structures and zones named with it.
    """

    key: str
    state: str
    side: int = 0
    severity: int = 0
    where: frozenset[str] = frozenset()
    stable: bool = False
    changed: bool = False

    @property
    def positive(self) -> bool:
        return self.state == "present"

    def __str__(self) -> str:
        if self.key == UNREAD:
            return f'"{" ".join(sorted(self.where))}"'
        if self.state == "absent":
            return f"no {self.key}"
        if self.state in ("normal", "stable"):
            return f"{self.key} {self.state}"
        name = f"abnormal {self.key}" if self.key in _STRUCTURE_NAMES else self.key
        severity = ("", "mild ", "moderate ", "severe ")[self.severity]
        return severity + ("", "left ", "right ", "bilateral ")[self.side] + name


class _Observation(NamedTuple):
    name: str
    word: str
    negated: bool
    side: int
    severity: int
    where: set[str]

    def completed(self, side: int, severity: int, where: set[str]) -> "_Observation":
        """With what is said of it behind it; a second, different side makes both."""
        side = 3 if side and self.side and side != self.side else side or self.side
        return self._replace(
            side=side, severity=self.severity or severity, where=self.where | where
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """What one sentence says. `terms`: its content words, singular; `words`: the same, but an
    observation is replaced by its key with a sign, so that "no effusion" and "effusion" share
    nothing; `prior`: it refers to an earlier study.
    """

    findings: tuple[Finding, ...]
    terms: frozenset[str]
    words: frozenset[str]
    prior: bool


@lru_cache(maxsize=1 << 14)
def singular(word: str) -> str:
    """The word without its plural ending; enough for this vocabulary."""
    if len(word) < 4 or word[-1] != "s" or word[-2] in "sui":
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith("sses") else word[:-1]


def _merge(words: list[str]) -> list[str]:
    """Phrases replaced by the word or words they stand for."""
    merged: list[str] = []
    at = 0
    while at < len(words):
        for length in _LENGTHS.get(words[at], ()):
            replacement = _PHRASES.get(tuple(words[at : at + length]))
            if replacement:
                merged += replacement.split()
                at += length
                break
        else:
            merged.append(words[at])
            at += 1
    return merged


def _clauses(words: list[str]) -> list[list[str]]:
    """Cut where a negation ends: at "but" and its like, and at "and" or a comma before a statement
    that starts anew.
    """
    clauses: list[list[str]] = [[]]
    for at, word in enumerate(words):
        anew = (
            word in (",", "and")
            and words[at + 1 : at + 2]
            and words[at + 1] in ("there", "the", "with", "mild", "moderate")
        )
        if word in _CLAUSE or anew:
            clauses.append([])
        else:
            clauses[-1].append(word)
    return [clause for clause in clauses if clause]


def _read_clause(words: list[str]) -> list[Finding]:
    observations: list[_Observation] = []
    structures: list[tuple[str, bool]] = []  # name, after a negation
    negated = trailing = normal = borderline = stable = changed = low = False
    side, severity, where = 0, 0, set()  # said since the last observation
    for raw in words:
        word = singular(raw)
        if observations and (
            raw in _SEPARATES or raw in _NEGATION
        ):  # "opacity on the left, no effusion": left is the opacity's
            observations[-1] = observations[-1].completed(side, severity, where)
            side, severity, where = 0, 0, set()
        if raw in _NEGATION:
            negated, trailing = True, raw in _NEGATES_BEFORE
            continue
        if raw in _PRIOR:
            trailing = False  # "nodule, not seen previously" is there now
        if word in _OBSERVATION:
            trailing = False
            said = observations and not observations[-1].negated and not negated
            if (
                _OBSERVATION[word] != "abnormality" or not said
            ):  # "degenerative changes": the first word has said it
                observations.append(
                    _Observation(_OBSERVATION[word], word, negated, side, severity, where)
                )
                side, severity, where = 0, 0, set()
        elif raw in _NORMAL:
            normal, trailing = normal or not trailing, False
        if raw in _SIDE:
            side = 3 if side and side != _SIDE[raw] else _SIDE[raw]
        elif raw in _SEVERITY:
            severity = _SEVERITY[raw]
        borderline |= raw == "borderline"
        stable |= raw in _STABLE
        changed |= raw in _CHANGED
        low |= raw in _LOW
        if word in _ZONE:
            where.add(_ZONE[word])
        if word in _STRUCTURE:
            structures.append((_STRUCTURE[word], negated))
    if borderline and not any(observation.name == "enlargement" for observation in observations):
        observations.append(_Observation("enlargement", "borderline", False, 0, 1, set()))
    if observations:
        observations[-1] = observations[-1].completed(side, severity, where)
    names = frozenset(name for name, _ in structures)
    findings: dict[tuple, Finding] = {}
    for observation in observations:
        absent = observation.negated or trailing  # trailing: "effusion is not seen"
        key, state = observation.name, "absent" if absent else "present"
        if key in _OF_STRUCTURE:
            key = (
                "heart"
                if observation.word == "cardiomegaly"
                else structures[0][0]
                if structures
                else key
            )
            state = "normal" if absent and key != observation.name else state
        # What trails the last observation is said of all that have none of their own.
        detail = (observation.side or side, observation.severity or severity)
        finding = Finding(key, state, *detail, names | observation.where | where, stable, changed)
        findings.setdefault((key, state, detail), finding)
    if low and "volume" in names:
        findings["low volume",] = Finding("low volume", "present", where=names)
    elif normal or not observations:
        # "A large heart" is no observation by itself.
        state = (
            "normal" if normal else "present" if severity > 1 else "stable" if stable else "present"
        )
        bare = [
            name
            for name, negated in structures
            if not observations or not negated and name != "pleura"
        ]
        taken = {finding.key for finding in findings.values()}
        for name in dict.fromkeys(bare):
            if name not in taken:
                findings[name,] = Finding(
                    name, state, side, where=names, stable=stable, changed=changed
                )
        if not findings and state != "present":
            findings[WHOLE,] = Finding(WHOLE, state, stable=stable, changed=changed)
    return list(findings.values())


@lru_cache(maxsize=1 << 14)
def read_sentence(sentence: str) -> Statement:
    """What one sentence says; cached, because reports repeat their sentences."""
    words = _merge(_TOKEN.findall(sentence.lower()))
    findings: list[Finding] = []
    for clause in _clauses(words):
        findings += _read_clause(clause)
    if (
        len(findings) > 1
    ):  # "enlarged but unchanged": the second clause is about what the first one names
        findings = [finding for finding in findings if finding.key != WHOLE] or findings[:1]
    terms = frozenset(singular(word) for word in words if word not in _STOP and word.isalnum())
    if terms and not findings:
        findings.append(
            Finding(UNREAD, "present" if _NEGATION.isdisjoint(words) else "absent", where=terms)
        )
    signed = {("+" if finding.positive else "-") + finding.key for finding in findings}
    return Statement(
        tuple(findings),
        terms,
        signed.union(terms.difference(_OBSERVATION)),
        not _PRIOR.isdisjoint(words),
    )


_LETTER = re.compile("[^\\W\\d_]")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")


def read(text: str) -> list[Statement]:
    """What each sentence of `text` says, in order; list markers and sentences without a content
    word are left out.
    """
    statements = (
        read_sentence(part)
        for part in _SENTENCE_END.split(without_list_markers(text))
        if _LETTER.search(part)
    )
    return [statement for statement in statements if statement.terms or statement.findings]


def vocabulary() -> list[str]:
    """Every word that the reader knows, sorted."""
    tables = (
        _OBSERVATION,
        _STRUCTURE,
        _ZONE,
        _SEVERITY,
        _SIDE,
        _STOP,
        _NORMAL,
        _STABLE,
        _CHANGED,
        _PRIOR,
        _NEGATION,
        _CLAUSE,
    )
    words = {word for table in tables for word in table} | {
        word for phrase in _PHRASES for word in phrase
    }
    return sorted(word for word in words if word.isalpha())
