"""What the GREEN model is asked, and how its answers are read. Prompt, counts and score are those
of the package green-score 0.0.12.

GREEN = matched findings / (matched findings + clinically significant errors), 0 if nothing matches
(Ostmeier et al., "GREEN: Generative Radiology Report Evaluation and Error Notation", EMNLP
Findings 2024, section 3).
"""

import re
from functools import cache

from xraygen.core.errors import UserError
from xraygen.core.study import ErrorCounts, Listed
from xraygen.judges import Opinion

SIGNIFICANT = "Clinically Significant Errors"
INSIGNIFICANT = "Clinically Insignificant Errors"
MATCHED = "Matched Findings"
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
    # Without `cpu` it requires torchrun where there are several GPUs.
    return green_score.GREEN(model_name=None, cpu=True)


def prompt(reference: str, candidate: str) -> str:
    """What green-score asks about a pair. It shows the first 300 words of each side."""
    _upstream()
    from green_score.utils import make_prompt

    return make_prompt(reference, candidate)


def conversation(prompt: str, end: str) -> str:
    """The prompt in the form that the GREEN models were tuned on. `end`: the tokenizer's
    end-of-sequence token.

    As in green-score, an empty answer comes before the one that is to be written.
    """
    return f"<|user|>\n{prompt}{end}\n<|assistant|>\n{end}\n<|assistant|>\n"


def cleaned(response: str) -> str:
    """The answer in what the model wrote, which may begin with the conversation."""
    _upstream()
    from green_score.utils import clean_responses

    return clean_responses(response)


def read(completion: str) -> Opinion:
    """The opinion in an answer: green-score's counts and score, and the findings that are listed.

    It is unscored and `unparseable` if the errors or the matched findings are missing, or the
    matched findings have no number. green-score itself scores 0 if it finds no matched findings,
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
    """The score that green-score itself prints, which is 0 for an answer that it cannot read."""
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
