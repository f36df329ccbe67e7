"""Questions put to the GREEN model, in this process or on a server."""

import sys
from collections.abc import Callable, Sequence

from xraygen.core.errors import UserError
from xraygen.engines.generation import Task, generate, loading, placement
from xraygen.engines.server import Refusal, Server, complete
from xraygen.judges.green.answers import conversation
from xraygen.judges.green.origin import LIMIT, LONGEST, Checkpoint
from xraygen.judges.green.settings import GreenSettings

KEY = "GREEN_API_KEY"  # the environment variable with the server's API key
LLAMA_END = "</s>"

# Called with the index of a question and the model's text, as soon as it is there.
Answered = Callable[[int, str | Refusal], None]


def on_server(
    settings: GreenSettings, base_url: str, questions: Sequence[str], answered: Answered
) -> None:
    """UserError: as `complete`."""
    server = Server(base_url, settings.model, KEY, settings.concurrency)
    # In green-score the tokenizer of Llama adds an end token after the conversation, that of Phi
    # does not.
    last = settings.end if settings.end == LLAMA_END else ""
    prompts = [conversation(question, settings.end) + last for question in questions]
    complete(server, prompts, LONGEST, answered)


def in_process(
    settings: GreenSettings,
    checkpoint: Checkpoint | None,
    questions: Sequence[str],
    answered: Answered,
) -> None:
    """UserError: the model cannot be loaded or run."""
    if checkpoint and checkpoint.commit:
        settings = settings.model_copy(update={"revision": checkpoint.commit})
    tokenizer = tokenizer_of(settings)
    task = Task(settings.model, settings.revision, tokenizer.eos_token_id, LIMIT, settings.batch)
    place = placement(task)
    print(
        f"GREEN: {settings.model} on {', '.join(place.devices)} in {place.dtype} "
        f"({place.reason}), batches of {task.batch}: {len(questions):,} pairs to ask",
        file=sys.stderr,
    )
    texts = [conversation(question, tokenizer.eos_token) for question in questions]
    tokens = [tokenizer(text)["input_ids"] for text in texts]
    fitting = []
    for index, prompt in enumerate(tokens):
        if len(prompt) < LIMIT:
            fitting.append(index)
        else:
            reason = f"the prompt has {len(prompt):,} tokens, more than {LIMIT:,}"
            answered(index, Refusal(reason))
    if not fitting:
        return
    for number, answer in generate(task, place, [tokens[index] for index in fitting]):
        index = fitting[number]
        text = tokenizer.decode(
            tokens[index] + answer, skip_special_tokens=True, clean_up_tokenization_spaces=True
        )
        answered(index, text)


def tokenizer_of(settings: GreenSettings):
    """The checkpoint's tokenizer. It puts the same tokens around a text as green-score did with the
    transformers of its time: Llama's a beginning and an end, Phi's (CodeGen) neither. transformers
    5 drops the beginning when asked for the end.

    UserError: it cannot be loaded, or has no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    with loading(settings.model):
        tokenizer = AutoTokenizer.from_pretrained(settings.model, revision=settings.revision)
        kind = type(tokenizer).__name__
        if not kind.startswith(("CodeGen", "GPT2")):
            both = {"add_bos_token": True} if kind.startswith("Llama") else {}
            tokenizer = AutoTokenizer.from_pretrained(
                settings.model, revision=settings.revision, add_eos_token=True, **both
            )
    if tokenizer.eos_token is None:
        raise UserError(
            f"model {settings.model}: cannot be loaded: "
            "its tokenizer names no end-of-sequence token"
        )
    return tokenizer
