"""What training minimizes: the cross entropy of the completion tokens."""

import torch
from torch.nn.functional import cross_entropy, pad

_IGNORED = -100  # the label of what is no completion token


def completion_loss(network, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross entropy of the completion tokens, summed, in float32; logits are computed only for
    their columns, which are the last ones.
    """
    batch = dict(batch)
    labels = batch.pop("labels")
    columns = int((labels != _IGNORED).any(0).sum())
    logits = network(**batch, use_cache=False, logits_to_keep=columns + 1).logits
    # The last column predicts nothing.
    following = pad(labels[:, -columns:], (0, 1), value=_IGNORED)
    return cross_entropy(
        logits.flatten(0, 1).float(), following.flatten(), ignore_index=_IGNORED, reduction="sum"
    )
