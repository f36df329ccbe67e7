"""Lines, tubes and devices, and what surgery left, by the words that reports have for them.

Each name is a kind of the observation `device` or `surgery` (`vocabulary.py`).
"""

from typing import NamedTuple


def named_words(text: str) -> dict[str, tuple[str, ...]]:
    """`name: words | words` lines -> name to its words. A name may have several lines."""
    kinds: dict[str, tuple[str, ...]] = {}
    for line in text.strip().splitlines():
        name, _, words = line.partition(":")
        kinds[name] = kinds.get(name, ()) + tuple(part.strip() for part in words.split("|"))
    return kinds


DEVICES = named_words("""
endotracheal tube: endotracheal tube | et tube | ett | tracheal tube | intubated | intubation
endotracheal tube: endotracheal intubation | endotracheal | nasotracheal tube
tracheostomy tube: tracheostomy tube | tracheostomy | tracheostomy cannula | tracheostomy catheter
enteric tube: enteric tube | nasogastric tube | ng tube | ngt | orogastric tube | og tube | ogt
enteric tube: feeding tube | dobhoff tube | dobbhoff tube | dobhoff | dobbhoff | gastric tube
enteric tube: nasoenteric tube | nasoenteric feeding tube | enteric feeding tube | nasogastric
enteric tube: orogastric | enteric catheter | esophageal tube | esophagogastric tube
gastrostomy tube: gastrostomy tube | peg tube | gastrostomy | gastrojejunostomy tube | g tube
central venous catheter: central venous catheter | central venous line | central line
central venous catheter: central catheter | venous catheter | jugular catheter | jugular line
central venous catheter: internal jugular central venous catheter | internal jugular central line
central venous catheter: internal jugular venous catheter | internal jugular catheter | ij catheter
central venous catheter: internal jugular line | ij line | ij central line | jugular central line
central venous catheter: ij central venous catheter | jugular central venous catheter
central venous catheter: internal jugular vein catheter | internal jugular vein central line
central venous catheter: subclavian catheter | subclavian line | subclavian central venous catheter
central venous catheter: subclavian central line | subclavian venous catheter
central venous catheter: triple lumen catheter | dialysis catheter | hemodialysis catheter
central venous catheter: vascath | vas cath | permacath | tunneled catheter
central venous catheter: tunneled dialysis catheter | tunneled central catheter
central venous catheter: tunneled central venous catheter | cvc | cvl | hickman catheter | broviac
central venous catheter: central venous access catheter | dual lumen catheter
central venous catheter: internal jugular dialysis catheter | internal jugular sheath
central venous catheter: jugular sheath | venous sheath | introducer sheath | cordis
central venous catheter: large bore catheter | double lumen catheter | central venous access
central venous catheter: vascular catheter
PICC: picc | picc line | picc catheter | peripherally inserted central catheter
PICC: peripherally inserted central venous catheter | peripherally inserted central line
PICC: upper extremity picc | arm picc
umbilical catheter: umbilical venous catheter | umbilical arterial catheter | umbilical catheter
umbilical catheter: uvc | uac | umbilical line | umbilical artery catheter
umbilical catheter: umbilical vein catheter
pulmonary artery catheter: pulmonary artery catheter | pulmonary arterial catheter | swan ganz
pulmonary artery catheter: swan ganz catheter | swan
port: port | portacath | port a cath | mediport | infusion port | chest port | infusaport
port: port catheter | chest wall port | power port | powerport | porta cath | infusaport catheter
port: portacatheter
chest tube: chest tube | pleural drain | pleural catheter | pigtail catheter | thoracostomy tube
chest tube: pigtail | pigtail drain | pleural drainage catheter | pleurx catheter
chest tube: thoracostomy catheter | pleural tube | chest drain | pleural pigtail catheter
drain: drain | surgical drain | mediastinal drain | drainage catheter | drainage tube
drain: mediastinal tube
pacemaker: pacemaker | pacer | icd | aicd | defibrillator | cardioverter defibrillator
pacemaker: pacemaker lead | pacing lead | pacer lead | icd lead | aicd leads | cardiac leads
pacemaker: pulse generator | defibrillator leads | pacing device | cardiac device | pacer pack
pacemaker: pacemaker generator | implantable cardioverter defibrillator | loop recorder
pacemaker: pacemaker device | pacer wires | cardiac pacing device | cardiac pacemaker
pacemaker: pacemaker wires | pacing wire | pacer device | cardiac conduction device
pacemaker: conduction device | electronic cardiac device | generator | device generator
pacemaker: generator device
stimulator: stimulator | nerve stimulator | spinal stimulator | spinal cord stimulator
stimulator: battery pack | stimulator device | neurostimulator | stimulator lead
stimulator: vagal nerve stimulator | vagus nerve stimulator | deep brain stimulator | battery
circulatory support device: balloon pump | aortic balloon pump | intra aortic balloon pump | iabp
circulatory support device: ventricular assist device | lvad | impella | ecmo | ecmo cannula
circulatory support device: intraaortic balloon pump | ecmo cannulae | ecmo catheter
prosthetic heart valve: prosthetic valve | heart valve | cardiac valve | valve replacement | tavr
prosthetic heart valve: aortic valve replacement | mitral valve replacement | valve prosthesis
prosthetic heart valve: prosthetic heart valve | prosthetic aortic valve | prosthetic mitral valve
prosthetic heart valve: valvular prosthesis | valvuloplasty | annuloplasty | mitral clip | tavi
prosthetic heart valve: prosthetic cardiac valve | mechanical valve | bioprosthetic valve | valve
prosthetic heart valve: aortic valve prosthesis | mitral valve prosthesis | annuloplasty ring
stent: stent | coronary stent | cardiac stent | stent graft | endograft | aortic stent graft
stent: aortic endograft | vascular stent
shunt catheter: vp shunt | ventriculoperitoneal shunt | shunt | shunt tubing | shunt catheter
shunt catheter: vp shunt tubing | vp shunt catheter | ventriculoperitoneal shunt catheter
shunt catheter: ventriculoperitoneal shunt tubing
monitoring leads: telemetry leads | external leads | monitoring lead | ekg lead | ecg lead
monitoring leads: external monitoring leads | cardiac monitoring leads | monitoring devices
monitoring leads: monitoring wires | overlying leads | monitor leads | telemetry wires
monitoring leads: external monitoring devices | overlying wires | superimposed monitoring leads
monitoring leads: electrode
device: device | catheter | tube | lead | line tip | tubing | cannula | support apparatus
device: support devices | lines and tubes | tubes and lines | support lines | hardware device
device: lap band | gastric band | filter | ivc filter | prosthesis | prosthetic | tip
malpositioned device: right mainstem intubation | mainstem intubation | left mainstem intubation
malpositioned device: should be retracted | should be withdrawn | should be advanced
malpositioned device: should be repositioned | recommend repositioning | repositioning recommended
malpositioned device: recommend retraction | recommend advancement | recommend withdrawal
malpositioned device: retraction recommended | needs to be repositioned | recommend retracting
malpositioned device: coiled in the esophagus | coiled in the oesophagus | coiled in the pharynx
malpositioned device: tip in the esophagus | tip in the bronchus | coiled in the hypopharynx
malpositioned device: recommend advancing | consider repositioning
""")
SURGERY = named_words("""
sternotomy wires: sternotomy | median sternotomy | sternotomy wires | cerclage wires
sternotomy wires: median sternotomy wires | sternotomy sutures | sternal sutures | cerclage sutures
sternotomy wires: median sternotomy changes | sternotomy changes | sternal wire
coronary bypass surgery: cabg | bypass | bypass graft | bypass grafting | coronary artery bypass
coronary bypass surgery: coronary artery bypass grafting | coronary artery bypass graft
coronary bypass surgery: coronary bypass | coronary artery bypass surgery | bypass surgery
surgical clips: clip | suture | staple | suture line | mediastinal clips | surgical clip
surgical clips: suture material | surgical sutures | wire | surgical staple line | staple line
surgical clips: surgical staples | chain sutures | cholecystectomy clips
surgical clips: mediastinal surgical clips | axillary clips | cholecystectomy
orthopedic hardware: hardware | orthopedic hardware | fusion hardware | spinal hardware | fusion
orthopedic hardware: spinal fusion | fixation hardware | surgical hardware | fixation | plate
orthopedic hardware: pedicle screws | screw | fixation plate | spinal rods | orif | rod
orthopedic hardware: cervical fusion | spinal fixation hardware | internal fixation
orthopedic hardware: harrington rods | cervical spine fusion | fusion plate | spine hardware
joint replacement: arthroplasty | shoulder replacement | shoulder arthroplasty | joint replacement
joint replacement: shoulder prosthesis | joint prosthesis | hemiarthroplasty | humeral prosthesis
joint replacement: reverse shoulder arthroplasty | total shoulder arthroplasty
vertebroplasty: vertebroplasty | kyphoplasty | vertebral augmentation | cement | vertebroplasties
vertebroplasty: vertebroplasty changes | cement augmentation | kyphoplasties
lung resection: lobectomy | pneumonectomy | wedge resection | segmentectomy | lung resection
lung resection: partial lobectomy | lung surgery | thoracotomy | lung volume reduction surgery
lung resection: lung transplant | lung transplantation | bilobectomy
mastectomy: mastectomy | breast surgery | lumpectomy | breast implant
surgical change: surgical | surgery | postsurgical | postoperative | post surgical | post operative
surgical change: surgical change | postsurgical change | postoperative change | resection | graft
surgical change: gastrectomy | chest wall resection | gastric pull through | esophagectomy
surgical change: esophageal pull up | post operative changes | post surgical changes
surgical change: fundoplication | thyroidectomy
""")
# Kinds that reports name one for another.
FAMILIES = (
    ("central venous catheter", "PICC", "umbilical catheter", "pulmonary artery catheter", "port"),
    ("chest tube", "drain"),
    ("sternotomy wires", "coronary bypass surgery", "surgical clips", "prosthetic heart valve"),
    ("stimulator", "pacemaker"),
    ("orthopedic hardware", "joint replacement", "vertebroplasty"),
)
# What is said of a place in or near the heart says nothing of a side or a zone of the lung.
_PLACES = {
    "svc": "superior vena cava",
    "ivc": "inferior vena cava",
    "atrium": "right atrium",
    "ventricle": "right ventricle",
    "atrial": "right atrial",
    "ventricular": "right ventricular",
    "artery": "left anterior descending artery",
    "abdomen": "upper abdomen",
    "arm": "upper extremity",
    "tip": "side port",
}


def _token(name: str) -> str:
    """The one word, in the singular, that replaces the words of a kind."""
    return name.lower().replace(" ", "").removesuffix("s")


def _observations(key: str, kinds: dict[str, tuple[str, ...]]) -> dict[str, str]:
    single = [words for several in kinds.values() for words in several if " " not in words]
    return dict.fromkeys([*map(_token, kinds), *single], key)


def _phrases(kinds: dict[str, tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    return {
        tuple((words + ending).split()): _token(name)
        for name, several in kinds.items()
        for words in several
        for ending in ("", "s")
        if " " in words
    }


_ALL = DEVICES | SURGERY
# Word -> the kind that it names.
KIND = {words: name for name, several in _ALL.items() for words in several if " " not in words}
KIND |= {_token(name): name for name in _ALL}
OBSERVATION = _observations("device", DEVICES) | _observations("surgery", SURGERY)

_SUBOPTIMAL = "suboptimal position | suboptimal positioning | suboptimally positioned"
_MAIN_BRONCHUS = """
right mainstem bronchus | right main bronchus | right main stem bronchus | left mainstem bronchus
| left main bronchus | left main stem bronchus | mainstem bronchus | main bronchus
"""
_TUBES = frozenset(("endotracheal tube", "tracheostomy tube", "enteric tube", "device"))
_MALPOSITIONED = _token("malpositioned device")


class _Ambiguous(NamedTuple):
    """A word that is also said of bronchi, of bones or of the patient. It means hardware in a
    sentence that names one of `kinds` or has one of `words`; or, if there is `unless`, in one
    without any of these. It is read as `hardware` then, and as `otherwise` elsewhere.
    """

    hardware: str
    kinds: frozenset[str]
    words: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()
    otherwise: str = ""

    def is_hardware(self, kinds: frozenset[str], words: frozenset[str]) -> bool:
        if kinds & self.kinds or words & self.words:
            return True
        return bool(self.unless) and self.unless.isdisjoint(words)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_AMBIGUOUS = {
    "mainbronchus": _Ambiguous(_MALPOSITIONED, _TUBES, _words("tip"), otherwise="trachea"),
    "leadto": _Ambiguous("lead", _words("pacemaker stimulator")),
    "valve": _Ambiguous(
        "valve",
        frozenset(_ALL),
        _words("replaced repair repaired"),
        unless=_words(
            "calcification calcified calcific calcium stenosi stenotic regurgitation disease "
            "native insufficiency annulu annular leaflet vegetation endocarditi"
        ),
    ),
    "tip": _Ambiguous(
        "tip",
        frozenset(DEVICES),
        _words("line lead mainbronchus"),
        unless=_words(
            "scapula clavicle rib acromion coracoid olecranon spinou proces spleen splenic liver "
            "hepatic finger fracture fractured"
        ),
    ),
    "fusion": _Ambiguous(
        "fusion", frozenset(SURGERY), unless=_words("congenital segmentation anomaly rib")
    ),
    "retract": _Ambiguous(_MALPOSITIONED, frozenset(DEVICES), _words("line tip lead cm")),
}
_AMBIGUOUS |= dict.fromkeys(
    "malpositioned mispositioned misplaced malposition malpositioning mispositioning "
    "suboptimalposition".split(),
    _Ambiguous(_MALPOSITIONED, frozenset(DEVICES), _words("line wire tip lead")),
)
_REPLACED = {
    "mainbronchus": _MAIN_BRONCHUS,
    "suboptimalposition": _SUBOPTIMAL,
    "leadto": "lead to | leads to",
    "platelike": "plate like",
    "endplate": "end plate | end plates",
}


def in_context(words: list[str]) -> list[str]:
    """The words of a sentence, the ambiguous ones replaced by what they mean in it."""
    single = frozenset(map(_singular, words))
    if _AMBIGUOUS.keys().isdisjoint(single):
        return words
    kinds = frozenset(KIND[word] for word in single - _AMBIGUOUS.keys() if word in KIND)
    result = []
    for word in words:
        known = _AMBIGUOUS.get(_singular(word))
        if known is None:
            result.append(word)
        elif known.is_hardware(kinds, single):
            result.append(known.hardware)
        elif known.otherwise:
            result.append(known.otherwise)
    return result


def _singular(word: str) -> str:
    return word if word in _AMBIGUOUS else word.removesuffix("s")


PHRASES = _phrases(_ALL) | {tuple(words.split()): place for place, words in _PLACES.items()}
PHRASES |= {
    tuple(phrase.split()): name
    for name, phrases in _REPLACED.items()
    for phrase in phrases.split("|")
}
