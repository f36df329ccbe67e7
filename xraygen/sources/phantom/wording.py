"""Findings -> the report a radiologist might dictate, as statements from which `curators` make a
reference.

A report is a list of statements, each drawn from `phrases`. Some reports are dictated freely; the
others follow one of a few house styles, which make the same choices every time, so that normal
reports repeat word for word. De-identification then mistakes a word here and there for a name and
leaves XXXX. Curators see the report alone, so what is lost to XXXX is lost to them too.
"""

import re
from collections.abc import Sequence
from functools import cache
from random import Random

from xraygen.sources.phantom import phrases
from xraygen.sources.phantom.filing import FIVE, Statement
from xraygen.sources.phantom.findings import Findings, pick
from xraygen.sources.phantom.phrases import Phrase

_HOUSES = 40
_IN_HOUSE_STYLE = 0.42  # share of reports
_SCRUBBED = 0.26  # share of sentences
_MOST_SENTENCES = 8
# Words that de-identification mistakes for names. An abnormal sentence loses only words that say
# nothing about the finding.
_LOST = frozenset(
    "bones bony osseous skeletal structures visualized acute evidence definite visible focal"
    " silhouette vasculature vessels aerated expanded appear soft views obtained prior thoracic"
    " hila midline identified present seen".split()
)
_LOST_IF_ABNORMAL = frozenset(
    "noted seen present likely compatible concerning suspicious wires status streaky patchy linear"
    " focal rounded".split()
)
_BONE_WORDS = frozenset("bones bony bone osseous skeletal spine rib".split())
_LUNG_FIELDS = (
    "volumes",
    "consolidation",
    "nodule",
    "granuloma",
    "atelectasis",
    "vessels",
    "effusion",
    "pneumothorax",
)
# How often the absence of these is stated.
_SHARE_NAMED = {"consolidation": 0.6, "pneumothorax": 0.95, "effusion": 0.9}
_ORDINALS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)
_ORDERS = (
    ("core", "lung", "bone"),
    ("core", "lung", "bone"),
    ("lung", "core", "bone"),
    ("bone", "core", "lung"),
    ("core", "bone", "lung"),
)


def statements(findings: Findings, rng: Random) -> list[Statement]:
    """The sentences of a report, in order. Some reports are in a house style, which says the same
    things in the same words.
    """
    speaker = rng
    if rng.random() < _IN_HOUSE_STYLE:
        speaker = Random(f"house {int(_HOUSES * rng.random() ** 1.5)}")
    return [_scrub(statement, speaker) for statement in _Report(findings, speaker).statements()]


@cache
def _parts(template: str) -> tuple[tuple[str, ...], ...]:
    parts = re.split(r"\[([^\]]*)\]", template)
    return tuple(
        tuple(part.split("|")) if number % 2 else (part,) for number, part in enumerate(parts)
    )


def _say(template: str, rng: Random, slots: dict[str, str]) -> str:
    text = "".join([part[0] if len(part) == 1 else pick(rng, part) for part in _parts(template)])
    if "{" in text:
        text = text.format_map(slots)
    return text[0].upper() + text[1:]


class _Report:
    """The statements of one report in the making."""

    def __init__(self, findings: Findings, rng: Random):
        self.findings = findings
        self.rng = rng
        self.left = list(findings.abnormal())  # what is still to be said
        self.vessels_said = "vessels" in self.left

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def statements(self) -> list[Statement]:
        order = pick(self.rng, _ORDERS)
        blocks = {"core": self.core(), "lung": self.lung(), "bone": self.bone()}
        sentences = [statement for name in order for statement in blocks[name]]
        if self.chance(0.1):
            sentences.insert(0, self.normal(phrases.TECHNIQUE, "technique"))
        sentences += self.others()
        while len(sentences) > _MOST_SENTENCES:
            normal = [statement for statement in sentences if not statement.about]
            if not normal:
                break
            sentences.remove(pick(self.rng, normal))
        return sentences

    def say(
        self, options: Sequence[Phrase], topic: str, slots: dict[str, str], *about: str
    ) -> Statement:
        phrase = pick(self.rng, options)
        if isinstance(phrase, str):
            text = _say(phrase, self.rng, slots)
            return Statement(text, {topic: text}, about)
        text = _say(phrase[0], self.rng, slots)
        parts = {topic: _say(words, self.rng, slots) for topic, words in phrase[1].items()}
        return Statement(text, parts, about)

    def normal(self, options: Sequence[Phrase], topic: str) -> Statement:
        return self.say(options, topic, {"ok": pick(self.rng, phrases.NORMAL_WORDS)})

    def without(
        self, options: Sequence[str], names: Sequence[str], lead: dict[str, str] | None = None
    ) -> Statement:
        """That these fields are normal. `lead`: what else the phrases say, by topic, and all that a
        phrase without {absent} says.
        """
        known = phrases.ABSENT_WORDS_IF_AFFECTED if self.lungs_affected() else phrases.ABSENT_WORDS
        words = {name: pick(self.rng, known[name]) for name in names}
        absent = self.listed(list(words.values()))
        slots = {"ok": pick(self.rng, phrases.NORMAL_WORDS), "absent": absent}
        phrase = pick(self.rng, options)
        text = _say(phrase, self.rng, slots)
        parts = dict(lead or {})
        if "{absent}" in phrase:
            parts |= {_absent_topic(name, word): f"No {word}." for name, word in words.items()}
        if len(parts) == 1:
            parts = dict.fromkeys(parts, text)
        return Statement(text, parts, ())

    def abnormal(self, *names: str) -> list[Statement]:
        """What there is to say of these fields, in this order, now and then two in one sentence."""
        sentences = []
        for name in names:
            if name in self.left:
                self.left.remove(name)
                sentences.append(self.alone_or_paired(name))
        return sentences

    def alone_or_paired(self, name: str) -> Statement:
        """The statement of this abnormal field, and of another where they share a sentence."""
        key = self.key(name)
        topic = topic_of(name, self.findings)
        slots = _slots(name, self.findings)
        for (first, second), options in phrases.PAIRS.items():
            other = second.split()[0]
            can_pair = first == key and other in self.left and second == self.key(other)
            if can_pair and self.chance(0.4):
                self.left.remove(other)
                for slot, value in _slots(other, self.findings).items():
                    slots[f"with_{slot}"] = value
                return self.say(options, topic, slots, name, other)
        return self.say(phrases.ABNORMAL[key], topic, slots, name)

    def key(self, name: str) -> str:
        """Of the phrases for this field: its name, with the variant where that has its own."""
        value = getattr(self.findings, name)
        variant = getattr(value, "side", value)
        if name == "rib_fracture":
            variant = "healed" if value.healed else "acute"
        key = f"{name} {variant}"
        return key if key in phrases.ABNORMAL else name

    def core(self) -> list[Statement]:
        """Heart and mediastinum."""
        findings, left = self.findings, self.left
        if "heart" in left or "mediastinum" in left or "aorta" in left:
            sentences = self.abnormal("heart")
            if not sentences and self.chance(0.93):
                sentences = [self.normal(phrases.HEART, "heart")]
            contours = self.abnormal("mediastinum", "aorta")
            if findings.mediastinum == findings.aorta == "normal" and self.chance(0.55):
                contours = [self.normal(phrases.MEDIASTINUM, "mediastinum")]
            return sentences + contours
        if self.chance(0.5):
            sentences = [self.normal(phrases.HEART_AND_MEDIASTINUM, "heart")]
        elif self.chance(0.15) and not self.vessels_said:
            self.vessels_said = True
            sentences = [self.normal(phrases.HEART_MEDIASTINUM_AND_VESSELS, "heart")]
        elif self.chance(0.08) and not self.lungs_affected():
            sentences = [self.normal(phrases.HEART_MEDIASTINUM_AND_LUNGS, "heart")]
        elif self.chance(0.2) and not self.vessels_said:
            self.vessels_said = True
            sentences = [self.normal(phrases.HEART_AND_VESSELS, "heart")]
        elif self.chance(0.96):
            sentences = [self.normal(phrases.HEART, "heart")]
            if self.chance(0.6):
                sentences.append(self.normal(phrases.MEDIASTINUM, "mediastinum"))
        else:
            sentences = [self.normal(phrases.MEDIASTINUM, "mediastinum")]
        if self.chance(0.05):
            sentences.append(self.normal(phrases.TRACHEA, "trachea"))
        return sentences

    def lungs_affected(self) -> bool:
        topics = (topic_of(name, self.findings) for name in self.findings.abnormal())
        return any(FIVE.region_of[topic] == "lung" for topic in topics)

    def lung(self) -> list[Statement]:
        findings = self.findings
        affected = self.lungs_affected()
        if not affected and self.chance(0.01):
            return []
        sentences = self.abnormal(*_LUNG_FIELDS)
        if not affected and self.chance(0.6):
            clear = {"lungs": "Lungs are clear."}
            sentences.append(self.without(phrases.LUNGS, ("consolidation", "effusion"), clear))
        elif affected and findings.vessels != "edema" and self.chance(0.2):
            sentences.append(self.normal(phrases.REST_OF_LUNGS, "lungs"))
        elif not affected and self.chance(0.1):
            sentences.append(self.normal(phrases.VOLUMES, "volumes"))
        absent = self.absent_from_lungs()
        if not sentences or self.chance(0.8):
            in_one_sentence = self.chance(0.65) or len(absent) < 2
            groups = [absent] if in_one_sentence else [absent[:1], absent[1:]]
            sentences += [self.without(phrases.ABSENT, group) for group in groups if group]
        if not sentences or (not self.vessels_said and self.chance(0.07)):
            sentences.append(self.normal(phrases.VESSELS, "vascularity"))
        return sentences

    def absent_from_lungs(self) -> list[str]:
        """The fields whose absence the report may state."""
        named = [name for name, share in _SHARE_NAMED.items() if self.chance(share)]
        if self.chance(0.3):
            named.reverse()
        named += [name for name in ("nodule", "vessels") if self.chance(0.08)]
        return [name for name in named if getattr(self.findings, name) in (None, "normal")]

    def listed(self, words: Sequence[str]) -> str:
        if len(words) < 3:
            return " or ".join(words)
        return ", ".join(words[:-1]) + pick(self.rng, (", or ", " or ")) + words[-1]

    def bone(self) -> list[Statement]:
        sentences = self.abnormal("rib_fracture", "spine", "scoliosis")
        if sentences:
            fracture = self.findings.rib_fracture
            acute = fracture is not None and not fracture.healed
            if not acute and self.chance(0.2):
                sentences.append(self.normal(phrases.NO_ACUTE_BONES, "bones"))
            return sentences
        if self.chance(0.46):
            return [self.normal(phrases.BONES, "bones")]
        if self.chance(0.05):
            return [self.normal(phrases.BONES_AND_SOFT_TISSUES, "bones")]
        if not self.findings.free_air and self.chance(0.04):
            return [self.normal(phrases.BONES_AND_FREE_AIR, "bones")]
        return []

    def others(self) -> list[Statement]:
        sentences = self.abnormal(
            "pacemaker", "sternotomy", "central_line", "clips", "hernia", "free_air"
        )
        if not self.findings.free_air and self.chance(0.06):
            sentences.append(self.normal(phrases.FREE_AIR, "free_air"))
        if self.chance(0.06):
            tissues = self.normal(phrases.SOFT_TISSUES, "soft_tissues")
            if "abdomen" in tissues.text:
                tissues = tissues._replace(parts={"abdomen": tissues.text})
            sentences.append(tissues)
        return sentences


def _slots(name: str, findings: Findings) -> dict[str, str]:
    value = getattr(findings, name)
    if name in ("effusion", "pneumothorax"):
        return {"side": value.side, "amount": value.amount}
    if name in ("consolidation", "nodule", "granuloma"):
        return {"place": f"{value.side} {value.lobe} lobe", "cm": f"{value.mm / 10:.1f}"}
    if name == "rib_fracture":
        return {"side": value.side, "rib": _ORDINALS[value.rib - 1]}
    if name == "atelectasis":
        return {"bases": "bibasilar" if value == "both" else f"{value} basilar"}
    if name in ("scoliosis", "central_line"):
        return {"side": value}
    return {"amount": value} if name == "hernia" else {name: str(value)}


def topic_of(name: str, findings: Findings) -> str:
    """The topic of a statement of this abnormal field."""
    if name != "vessels":
        return name
    return "congestion" if findings.vessels == "congested" else "edema"


def _absent_topic(name: str, word: str) -> str:
    if name != "vessels":
        return name
    return "congestion" if "congestion" in word else "edema"


def _scrub(statement: Statement, rng: Random) -> Statement:
    """The statement with a word or two lost to de-identification, or unchanged."""
    if rng.random() >= _SCRUBBED:
        return statement
    lost = _LOST_IF_ABNORMAL if statement.about else _LOST
    words = statement.text.split(" ")
    positions = [at for at, word in enumerate(words) if word.strip(".,").lower() in lost]
    if not positions:
        return statement
    position = pick(rng, positions)
    word = words[position].strip(".,")
    words[position] = words[position].replace(word, "XXXX")
    parts = {
        topic: re.sub(rf"\b{word}\b", "XXXX", text, flags=re.IGNORECASE)
        for topic, text in statement.parts.items()
    }
    regions = FIVE.divided(statement).keys()
    if position > 0 and not statement.about and len(regions) == 1 and rng.random() < 0.15:
        words.insert(position, "XXXX")
    text = " ".join(words)
    if regions == {"bone"} and not _BONE_WORDS & {part.strip(".,").lower() for part in words}:
        parts = {"unreadable": text}
    return statement._replace(text=text, parts=parts)
