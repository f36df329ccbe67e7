"""Where and how an answer of GREEN comes about, which is part of the key that it is kept under.

A quantised server, half precision on a GPU and full precision on a CPU give different answers to
one question, and so may the next commit of a branch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xraygen.core.files import identity
from xraygen.engines.generation import Task, loading, placement

if TYPE_CHECKING:
    from xraygen.judges.green.green import GreenSettings

LIMIT = 2048  # tokens of prompt and answer together, as in green-score
LONGEST = 1024  # tokens of an answer from a server; real answers have some 400


class Checkpoint(NamedTuple):
    """The folder with a model's files, and the commit of a hub's model; None of a folder that the
    user named."""

    folder: Path
    commit: str | None


def local_checkpoint(model: str, revision: str) -> Checkpoint | None:
    """The checkpoint as it is on this machine, without a look at the network; None where it has not
    been downloaded."""
    if Path(model).is_dir():
        return Checkpoint(Path(model), None)
    if model[:1] in "/.~":
        return None
    try:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(model, "config.json", revision=revision)
    except (
        ImportError,
        ValueError,
    ):  # ValueError: not a name on the hub, which loading it will say
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return Checkpoint(folder, folder.name)


def current_checkpoint(model: str, revision: str) -> Checkpoint | None:
    """The same, after a look at the hub where it can be reached: a branch may have moved on.
    UserError: there is no such model."""
    if not Path(model).is_dir():
        from transformers import AutoConfig

        with loading(model):
            AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
    return local_checkpoint(model, revision)


def asked_here(params: "GreenSettings", checkpoint: Checkpoint | None) -> dict:
    """What shapes an answer of this process, apart from the prompt. UserError: the checkpoint is
    not one."""
    model = {"model": identity(params.model), "decoding": "greedy"}
    asked = model | {"prompt_and_answer_tokens": LIMIT}
    if checkpoint is None:  # nothing can have been answered by it
        return asked | {"revision": params.revision}
    place = placement(Task(str(checkpoint.folder), None, 0, LIMIT, params.batch))
    device = place.devices[0].partition(":")[0]
    return asked | {"commit": checkpoint.commit, "device": device, "precision": place.dtype}


def asked_of_server(params: "GreenSettings") -> dict:
    """The same for a server, which does not tell its precision or the commit of what it serves: its
    address stands for them."""
    named = {"model": identity(params.model), "revision": params.revision, "end": params.end}
    server = {"server": (params.base_url or "").rstrip("/"), "answer_tokens": LONGEST}
    return named | server | {"decoding": "greedy"}


def asked_elsewhere(params: "GreenSettings") -> dict:
    """The same for imported answers: that they are this model's is the word of the user who imports
    them."""
    named = {"model": identity(params.model), "revision": params.revision}
    return named | {"decoding": "greedy", "imported": True}
