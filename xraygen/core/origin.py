"""Where studies come from and on which terms: what prepare records, and cards repeat."""

from xraygen.core.study import NonEmpty, Record

FILE = "data/prepared/source.json"


class Origin(Record):
    """What a source declares of its studies. The defaults are the safe ones: nothing is known, and
    nothing may be passed on.

    `title`: what they are called in a sentence. `license`: as their makers state it, None = not
    stated; `license_link`: where; `license_note`: what else is to be known of it, a sentence.
    `redistributable`: whether the licence lets the studies and what is made of them be passed on.
    `language`: of the reports, by ISO 639-1. `generated`: no patient is behind them.
    """

    title: NonEmpty | None = None
    license: NonEmpty | None = None
    license_link: NonEmpty | None = None
    license_note: str = ""
    redistributable: bool = False
    language: NonEmpty | None = None
    generated: bool = False


class Prepared(Origin):
    """The content of data/prepared/source.json. `source`: as in params.yaml. `seeds`: by their key
    there. It has no numbers of studies: finetune depends on this file, and need not be repeated
    where only test or val changed.
    """

    source: NonEmpty
    seeds: dict[str, int]
