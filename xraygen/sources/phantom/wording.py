"""Findings -> the report a radiologist might dictate, and the reference that curators make of it.

A report is a list of statements, each drawn from `phrases`. Some reports are dictated freely; the
others follow one of a few house styles, whose choices are the same every time, so that normal
reports repeat word for word. De-identification then takes a word here and there for a name and
leaves XXXX. Curators see the report only: what is lost to XXXX is lost to them too. They mostly,
not always, reword alike.
"""

import re
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import NamedTuple

from xraygen.core.study import REGIONS, Annotation
from xraygen.sources.phantom import phrases
from xraygen.sources.phantom.findings import Findings, pick
from xraygen.sources.phantom.phrases import Phrase

_HOUSES = 40
_IN_HOUSE_STYLE = 0.42
_SCRUBBED = 0.26  # share of sentences
_AT_MOST = 8  # sentences
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


class Statement(NamedTuple):
    """A sentence. `curated`: the curators' words by region where it speaks of several; else it
    belongs to `region` alone. `about`: the abnormal fields that it states.
    """

    text: str
    region: str
    curated: dict[str, str] | None
    about: tuple[str, ...]


def word(findings: Findings, rng: Random) -> tuple[str, Annotation]:
    """A report and its reference."""
    said = statements(findings, rng)
    return " ".join(statement.text for statement in said), curate(said, rng)


def curate(said: Sequence[Statement], rng: Random) -> Annotation:
    """A reference for these statements: each draw is another curator's."""
    reference: dict[str, list[str]] = {region: [] for region in REGIONS}
    for statement in said:
        for region, text in _curate(statement, rng):
            reference[region].append(text)
    return Annotation(**{region: " ".join(texts) for region, texts in reference.items()})


def statements(findings: Findings, rng: Random) -> list[Statement]:
    """The sentences of a report, in order; some reports are in the style of a house, which says the
    same things the same way.
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
        self.findings, self.rng = findings, rng
        self.left = list(findings.abnormal())  # what is still to be said
        self.vessels_said = "vessels" in self.left

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def statements(self) -> list[Statement]:
        order = pick(self.rng, _ORDERS)
        blocks = {"core": self.core(), "lung": self.lung(), "bone": self.bone()}
        said = [statement for name in order for statement in blocks[name]]
        if self.chance(0.1):
            said.insert(0, self.normal(phrases.TECHNIQUE, "others"))
        said += self.others()
        while len(said) > _AT_MOST and not all(statement.about for statement in said):
            said.remove(pick(self.rng, [statement for statement in said if not statement.about]))
        return said

    def say(
        self, options: Sequence[Phrase], region: str, slots: dict[str, str], *about: str
    ) -> Statement:
        phrase = pick(self.rng, options)
        if isinstance(phrase, str):
            return Statement(_say(phrase, self.rng, slots), region, None, about)
        text, curated = phrase
        return Statement(
            _say(text, self.rng, slots),
            region,
            {place: _say(words, self.rng, slots) for place, words in curated.items()},
            about,
        )

    def normal(self, options: Sequence[Phrase], region: str, absent: str = "") -> Statement:
        return self.say(
            options, region, {"ok": pick(self.rng, phrases.NORMAL_WORDS), "absent": absent}
        )

    def abnormal(self, *names: str) -> list[Statement]:
        """What there is to say of these fields, in that order; two of them in one sentence now and
        then.
        """
        said = []
        for name in names:
            if name not in self.left:
                continue
            self.left.remove(name)
            key = self.key(name)
            slots = _slots(name, self.findings)
            for (first, second), options in phrases.PAIRS.items():
                with_name = second.split()[0]
                if (
                    first == key
                    and with_name in self.left
                    and second == self.key(with_name)
                    and self.chance(0.4)
                ):
                    self.left.remove(with_name)
                    slots |= {
                        f"with_{slot}": value
                        for slot, value in _slots(with_name, self.findings).items()
                    }
                    said.append(self.say(options, phrases.REGION_OF[name], slots, name, with_name))
                    break
            else:
                said.append(self.say(phrases.ABNORMAL[key], phrases.REGION_OF[name], slots, name))
        return said

    def key(self, name: str) -> str:
        value = getattr(self.findings, name)
        variant = (
            getattr(value, "side", value)
            if name != "rib_fracture"
            else ("healed" if value.healed else "acute")
        )
        return key if (key := f"{name} {variant}") in phrases.ABNORMAL else name

    def core(self) -> list[Statement]:
        """Heart and mediastinum."""
        findings, left = self.findings, self.left
        if "heart" in left or "mediastinum" in left or "aorta" in left:
            said = self.abnormal("heart") or (
                [self.normal(phrases.HEART, "heart")] if self.chance(0.93) else []
            )
            contours = self.abnormal("mediastinum", "aorta")
            if findings.mediastinum == findings.aorta == "normal" and self.chance(0.55):
                contours = [self.normal(phrases.MEDIASTINUM, "mediastinal")]
            return said + contours
        if self.chance(0.5):
            said = [self.normal(phrases.HEART_AND_MEDIASTINUM, "heart")]
        elif self.chance(0.15) and not self.vessels_said:
            self.vessels_said = True
            said = [self.normal(phrases.HEART_MEDIASTINUM_AND_VESSELS, "heart")]
        elif self.chance(0.08) and not self.lungs_affected():
            said = [self.normal(phrases.HEART_MEDIASTINUM_AND_LUNGS, "heart")]
        elif self.chance(0.2) and not self.vessels_said:
            self.vessels_said = True
            said = [self.normal(phrases.HEART_AND_VESSELS, "heart")]
        elif self.chance(0.96):
            said = [self.normal(phrases.HEART, "heart")]
            said += [self.normal(phrases.MEDIASTINUM, "mediastinal")] if self.chance(0.6) else []
        else:
            said = [self.normal(phrases.MEDIASTINUM, "mediastinal")]
        return said + ([self.normal(phrases.TRACHEA, "mediastinal")] if self.chance(0.05) else [])

    def lungs_affected(self) -> bool:
        return any(phrases.REGION_OF[name] == "lung" for name in self.findings.abnormal())

    def lung(self) -> list[Statement]:
        findings = self.findings
        affected = self.lungs_affected()
        if not affected and self.chance(0.01):
            return []
        named = (
            "volumes",
            "consolidation",
            "nodule",
            "granuloma",
            "atelectasis",
            "vessels",
            "effusion",
            "pneumothorax",
        )
        said = self.abnormal(*named)
        if not affected and self.chance(0.6):
            said.append(
                self.normal(phrases.LUNGS, "lung", self.absent(("consolidation", "effusion")))
            )
        elif affected and findings.vessels != "edema" and self.chance(0.2):
            said.append(self.normal(phrases.REST_OF_LUNGS, "lung"))
        elif not affected and self.chance(0.1):
            said.append(self.normal(phrases.VOLUMES, "lung"))
        wanted = [
            name
            for name, share in (("consolidation", 0.6), ("pneumothorax", 0.95), ("effusion", 0.9))
            if self.chance(share)
        ]
        if self.chance(0.3):
            wanted.reverse()
        wanted += [name for name in ("nodule", "vessels") if self.chance(0.08)]
        absent = [name for name in wanted if getattr(findings, name) in (None, "normal")]
        if not said or self.chance(0.8):
            groups = [absent] if self.chance(0.65) or len(absent) < 2 else [absent[:1], absent[1:]]
            said += [
                self.normal(phrases.ABSENT, "lung", self.absent(group)) for group in groups if group
            ]
        if not said or (not self.vessels_said and self.chance(0.07)):
            said.append(self.normal(phrases.VESSELS, "lung"))
        return said

    def absent(self, names: Sequence[str]) -> str:
        said = phrases.ABSENT_WORDS_BESIDES if self.lungs_affected() else phrases.ABSENT_WORDS
        words = [pick(self.rng, said[name]) for name in names]
        if len(words) < 3:
            return " or ".join(words)
        return ", ".join(words[:-1]) + pick(self.rng, (", or ", " or ")) + words[-1]

    def bone(self) -> list[Statement]:
        said = self.abnormal("rib_fracture", "spine", "scoliosis")
        if said:
            acute = self.findings.rib_fracture is not None and not self.findings.rib_fracture.healed
            return said + (
                [self.normal(phrases.NO_ACUTE_BONES, "bone")]
                if not acute and self.chance(0.2)
                else []
            )
        if self.chance(0.46):
            return [self.normal(phrases.BONES, "bone")]
        if self.chance(0.05):
            return [self.normal(phrases.BONES_AND_SOFT_TISSUES, "bone")]
        if not self.findings.free_air and self.chance(0.04):
            return [self.normal(phrases.BONES_AND_FREE_AIR, "bone")]
        return []

    def others(self) -> list[Statement]:
        said = self.abnormal(
            "pacemaker", "sternotomy", "central_line", "clips", "hernia", "free_air"
        )
        if not self.findings.free_air and self.chance(0.06):
            said.append(self.normal(phrases.FREE_AIR, "others"))
        if self.chance(0.06):
            said.append(self.normal(phrases.SOFT_TISSUES, "others"))
        return said


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


def _scrub(statement: Statement, rng: Random) -> Statement:
    """The statement with a word or two lost to de-identification, or as it is."""
    if rng.random() >= _SCRUBBED:
        return statement
    lost = phrases.SCRUBBED_ABNORMAL if statement.about else phrases.SCRUBBED
    words = statement.text.split(" ")
    places = [place for place, found in enumerate(words) if found.strip(".,").lower() in lost]
    if not places:
        return statement
    place = pick(rng, places)
    word = words[place].strip(".,")
    words[place] = words[place].replace(word, "XXXX")
    curated = statement.curated and {
        region: re.sub(rf"\b{word}\b", "XXXX", text, flags=re.IGNORECASE)
        for region, text in statement.curated.items()
    }
    if place > 0 and not statement.about and curated is None and rng.random() < 0.15:
        words.insert(place, "XXXX")
    region = statement.region
    if region == "bone" and not phrases.BONE_WORDS & {found.strip(".,").lower() for found in words}:
        region = "others"  # "XXXX are intact." could be anything
    return statement._replace(text=" ".join(words), region=region, curated=curated)


_RULES = tuple((re.compile(pattern), becomes, share) for pattern, becomes, share in phrases.CURATED)


def _curate(statement: Statement, rng: Random) -> list[tuple[str, str]]:
    """(region, text) for each region the statement speaks of."""
    if statement.curated:
        if rng.random() < 0.08:
            return [(region, statement.text) for region in statement.curated]
        return [(region, _reword(text, rng)) for region, text in statement.curated.items()]
    region = statement.region
    if len(statement.about) == 1 and rng.random() < 0.1:
        region = phrases.ELSEWHERE.get(statement.about[0], region)
    if statement.text.startswith("XXXX"):
        return [(region, statement.text)]
    return [(region, _reword(statement.text, rng))]


def _reword(text: str, rng: Random) -> str:
    for pattern, becomes, share in _RULES:
        if rng.random() < share:
            text = pattern.sub(becomes, text)
    text = " ".join(text.split())
    return text[0].upper() + text[1:]
