"""What training minimizes: the cross entropy of the completion tokens."""

import torch
from torch.nn.functional import cross_entropy, pad

_IGNORED = -100  # the label of what is no completion token


def completion_columns(labels: torch.Tensor) -> torch.Tensor:
    """The last columns of `labels` (rows, tokens): those of the completions, and the one before.

    To be called before a batch is on the GPU: there, counting the columns would make the host wait
    until all that was started before has ended.
    """
    columns = int((labels != _IGNORED).any(0).sum())
    return labels[:, -columns - 1 :]


def completion_loss(network, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross entropy of the completion tokens, summed, in float32; logits are computed only for
    their columns, which are the last ones. `labels` may be narrowed to these already.
    """
    batch = dict(batch)
    labels = batch.pop("labels")
    if labels.shape == batch["input_ids"].shape:
        labels = completion_columns(labels)
    logits = network(**batch, use_cache=False, logits_to_keep=labels.shape[1]).logits
    # The last column predicts nothing.
    following = pad(labels[:, 1:], (0, 1), value=_IGNORED)
    return cross_entropy(
        logits.flatten(0, 1).float(), following.flatten(), ignore_index=_IGNORED, reduction="sum"
    )
