"""The training texts of the small model: four tasks on phantom studies, each with its own prompt.

`list`: the findings by region as JSON in a fixed, plain form. `quote`: the report's own sentences
by region, as JSON. `name`: the findings without regions. `report`: the report. None of them uses
the wording of the generator's curators, which is left to fine-tuning.
"""

import json
import re
from functools import cache
from random import Random
from string import ascii_lowercase

from xraygen.judges.proxy.vocabulary import vocabulary
from xraygen.sources.phantom import phantom
from xraygen.sources.phantom.filing import FIVE, Statement
from xraygen.sources.phantom.findings import Findings
from xraygen.sources.phantom.wording import statements, topic_of

PROMPTS = {
    "list": "Annotate the study by region, in JSON.",
    "name": "Name the findings.",
    "quote": "Quote the report by region, in JSON.",
    "report": "Write the report.",
}


def example(
    task: str, findings: Findings, rng: Random, with_report: bool, with_strange: float = 0
) -> tuple[str, str]:
    """(text after the pictures in the user's turn, completion). `with_strange`: share of the quoted
    reports in which words are replaced.
    """
    sentences = statements(findings, rng)
    if task == "quote" and with_strange and rng.random() < with_strange:
        sentences = strange(sentences, rng)
    report = " ".join(statement.text for statement in sentences)
    completions = {
        "list": lambda: listing(findings),
        "name": lambda: names(findings),
        "quote": lambda: quotes(sentences),
        "report": lambda: report,
    }
    return PROMPTS[task] + (f"\nReport: {report}" if with_report else ""), completions[task]()


def talk(studies: list[Findings], rng: Random) -> tuple[str, list[tuple[str, str]]]:
    """(system text, [(user's text, completion) of `quote` for each study]). The system text is
    mostly random words, otherwise empty.
    """
    words = rng.choices(
        (*_words(), *FIVE.names, "JSON", "report", "text", "empty", "-", '""', ":", ".", "\n"),
        k=int(rng.random() ** 2 * 200),
    )
    pairs = [example("quote", findings, rng, True, 0.7) for findings in studies]
    return (" ".join(words) if rng.random() < 0.9 else ""), pairs


def strange(sentences: list[Statement], rng: Random) -> list[Statement]:
    """Some of the sentences, with any share of their words replaced by others, real or made up, so
    that the model learns to read rather than to remember sentences.
    """
    count = rng.randint(1, len(sentences))
    share = rng.random()
    start = rng.randint(0, len(sentences) - count)

    def other(word: re.Match) -> str:
        if rng.random() >= share:
            return word[0]
        if rng.random() < 0.7:
            drawn = rng.choice(_words())
        else:
            drawn = "".join(rng.choices(ascii_lowercase, k=rng.randint(2, 7)))
        return drawn.capitalize() if word[0][0].isupper() else drawn

    return [
        statement._replace(text=re.sub(r"[A-Za-z]+", other, statement.text))
        for statement in sentences[start : start + count]
    ]


@cache
def _words() -> tuple[str, ...]:
    return tuple(sorted(vocabulary()))


def listing(findings: Findings) -> str:
    """The terms of the findings by region in a fixed order, "normal" where there is none."""
    sentences: dict[str, list[str]] = {region: [] for region in FIVE.names}
    for name in findings.abnormal():
        region = FIVE.region_of[topic_of(name, findings)]
        sentences[region].append(_term(name, getattr(findings, name)))
    normal = dict.fromkeys(FIVE.names, "normal") | {"others": ""}
    return json.dumps(
        {region: "; ".join(sentences[region]) or normal[region] for region in FIVE.names}
    )


def names(findings: Findings) -> str:
    terms = [_term(name, getattr(findings, name)) for name in findings.abnormal()]
    return "; ".join(terms) or "normal"


def quotes(sentences: list[Statement]) -> str:
    """The sentences by region; one about several regions is quoted in each."""
    found: dict[str, list[str]] = {region: [] for region in FIVE.names}
    for statement in sentences:
        for region in FIVE.divided(statement):
            found[region].append(statement.text)
    return json.dumps({region: " ".join(found[region]) for region in FIVE.names})


def corpus(seed: int, studies: int) -> list[str]:
    """Texts for the tokenizer, with words of radiology that phantoms do not use, so that real
    reports are not spelt letter by letter.
    """
    texts = list(PROMPTS.values()) * 10
    for k in range(studies):
        findings = phantom(seed, k).findings
        texts += [*example("quote", findings, Random(f"tokenizer {k}"), True), listing(findings)]
    return texts + [f" {word} {word.capitalize()}" for word in vocabulary()] * 2


def _term(name: str, value) -> str:
    match name:
        case "heart":
            return "borderline heart size" if value == "borderline" else f"cardiomegaly {value}"
        case "mediastinum":
            return "wide mediastinum"
        case "aorta":
            return f"{value} aorta"
        case "vessels":
            return "vascular congestion" if value == "congested" else "interstitial edema"
        case "volumes":
            return f"{value} lung volumes"
        case "effusion" | "pneumothorax":
            return f"{name} {value.side} {value.amount}"
        case "consolidation" | "nodule" | "granuloma":
            return f"{name} {value.side} {value.lobe} lobe"
        case "atelectasis":
            return f"atelectasis {'bilateral' if value == 'both' else value}"
        case "rib_fracture":
            return f"{'old' if value.healed else 'acute'} rib fracture {value.side}"
        case "spine":
            return f"spondylosis {value}"
        case "scoliosis":
            return f"scoliosis {value}"
        case "central_line":
            return f"central line {value}"
        case "hernia":
            return f"hiatal hernia {value}"
        case _:
            return {
                "pacemaker": "pacemaker",
                "sternotomy": "sternotomy wires",
                "clips": "clips",
                "free_air": "free air",
            }[name]
