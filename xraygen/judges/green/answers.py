"""What the GREEN model is asked and how its answers are read: prompt, counts and score are those of
the package green-score 0.0.12.

GREEN = matched findings / (matched findings + clinically significant errors), 0 where nothing
matches (Ostmeier et al., "GREEN: Generative Radiology Report Evaluation and Error Notation", EMNLP
Findings 2024, section 3).
"""

import re
from functools import cache

from xraygen.core.errors import UserError
from xraygen.core.study import ErrorCounts, Listed
from xraygen.judges import Opinion

SIGNIFICANT, INSIGNIFICANT, MATCHED = (
    "Clinically Significant Errors",
    "Clinically Insignificant Errors",
    "Matched Findings",
)
_COUNTED = re.compile(r"No|\d+\.")
_LINE = re.compile(r"\(([a-f1-6])\)[^:\n]*: *0*[1-9]\d*\.(.*)")
_LETTER = dict(zip("123456", "abcdef", strict=True))


@cache
def _upstream():
    try:
        import green_score
    except ImportError as error:
        raise UserError(
            f"the judge green needs the package green-score ({error}); install it with `make green`"
        ) from None
    return green_score.GREEN(
        model_name=None, cpu=True
    )  # cpu: with several GPUs it would want torchrun


def prompt(reference: str, candidate: str) -> str:
    """What green-score asks about a pair; of each side it shows the first 300 words."""
    _upstream()
    from green_score.utils import make_prompt

    return make_prompt(reference, candidate)


def conversation(prompt: str, end: str) -> str:
    """The prompt as the GREEN models were tuned on it. `end`: the tokenizer's end-of-sequence
    token.

    green-score hands its chat template an empty answer and has it open another; so does this.
    """
    return f"<|user|>\n{prompt}{end}\n<|assistant|>\n{end}\n<|assistant|>\n"


def cleaned(response: str) -> str:
    """The answer out of what the model wrote, with or without the conversation before it."""
    _upstream()
    from green_score.utils import clean_responses

    return clean_responses(response)


def read(completion: str) -> Opinion:
    """An answer as an opinion: green-score's counts and score, and the findings that the answer
    lists.

    Without a score and `unparseable` where the errors or the matched findings are not there, or no
    number of matched findings is stated. green-score gives 0 where it finds no matched findings,
    and takes missing errors for none.
    """
    upstream = _upstream()
    opinion = Opinion(
        None, explanation=completion.partition(f"[{SIGNIFICANT}]")[0].strip(), completion=completion
    )
    _, errors = upstream.parse_error_counts(completion, SIGNIFICANT, for_reward=True)
    matched, _ = upstream.parse_error_counts(completion, MATCHED, for_reward=True)
    if errors is None or matched is None or not _COUNTED.match(_section(completion, MATCHED)):
        return opinion._replace(verdict="unparseable")
    return opinion._replace(
        score=float(upstream.compute_green(completion)),
        matched_findings=matched,
        errors=ErrorCounts(**dict(zip("abcdef", errors, strict=True))),
        listed=Listed(
            matched=_items(_section(completion, MATCHED).partition(".")[2]) if matched else (),
            significant=_by_category(_section(completion, SIGNIFICANT)),
            insignificant=_by_category(_section(completion, INSIGNIFICANT)),
        ),
    )


def as_published(completion: str) -> float:
    """The score that green-score itself prints: 0 for what it cannot read."""
    return float(_upstream().compute_green(completion) or 0)


def _section(completion: str, name: str) -> str:
    """The text under a heading, up to the first empty line."""
    return re.split(r"\n\s*\n", completion.partition(f"[{name}]:")[2].lstrip(), maxsplit=1)[0]


def _by_category(section: str) -> dict[str, tuple[str, ...]]:
    named = {_LETTER.get(mark, mark): _items(text) for mark, text in _LINE.findall(section)}
    return {letter: named[letter] for letter in sorted(named) if named[letter]}


def _items(text: str) -> tuple[str, ...]:
    parts = (re.sub(r"^\d+\. ", "", " ".join(part.split())) for part in text.split(";"))
    return tuple(item for part in parts if (item := part.removesuffix(".")))
