"""Where and how an answer of GREEN was made, which is part of the key that it is stored under.

A quantised server, half precision on a GPU and full precision on a CPU answer the same question
differently, and so may the next commit of a branch.
"""

from pathlib import Path
from typing import NamedTuple

from xraygen.core.files import identity
from xraygen.engines.generation import Task, loading, placement
from xraygen.judges.green.settings import GreenSettings

LIMIT = 2048  # tokens of prompt and answer together, as in green-score
LONGEST = 1024  # tokens of an answer from a server, at most; real answers have about 400


class Checkpoint(NamedTuple):
    """The folder with a model's files, and its commit on the hub; None if the user named a
    folder."""

    folder: Path
    commit: str | None


def local_checkpoint(model: str, revision: str) -> Checkpoint | None:
    """The checkpoint on this machine, without network access; None if it has not been
    downloaded."""
    if Path(model).is_dir():
        return Checkpoint(Path(model), None)
    if model[:1] in "/.~":
        return None
    try:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(model, "config.json", revision=revision)
    except (ImportError, ValueError):  # ValueError: not a name on the hub; loading it says so
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return Checkpoint(folder, folder.name)


def current_checkpoint(model: str, revision: str) -> Checkpoint | None:
    """The same, after asking the hub, if it can be reached, whether the branch has moved on.
    UserError: there is no such model."""
    if not Path(model).is_dir():
        from transformers import AutoConfig

        with loading(model):
            AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
    return local_checkpoint(model, revision)


def asked_here(params: GreenSettings, checkpoint: Checkpoint | None) -> dict:
    """What shapes an answer of this process, apart from the prompt. UserError: the folder holds no
    checkpoint."""
    model = {"model": identity(params.model), "decoding": "greedy"}
    asked = model | {"prompt_and_answer_tokens": LIMIT}
    if checkpoint is None:  # it cannot have answered anything
        return asked | {"revision": params.revision}
    place = placement(Task(str(checkpoint.folder), None, 0, LIMIT, params.batch))
    device = place.devices[0].partition(":")[0]
    return asked | {"commit": checkpoint.commit, "device": device, "precision": place.dtype}


def asked_of_server(params: GreenSettings) -> dict:
    """The same for a server. It does not report its precision or the commit that it serves, so its
    address stands for both."""
    named = {"model": identity(params.model), "revision": params.revision, "end": params.end}
    server = {"server": (params.base_url or "").rstrip("/"), "answer_tokens": LONGEST}
    return named | server | {"decoding": "greedy"}


def asked_elsewhere(params: GreenSettings) -> dict:
    """The same for imported answers. That they are this model's is what the user says."""
    named = {"model": identity(params.model), "revision": params.revision}
    return named | {"decoding": "greedy", "imported": True}
