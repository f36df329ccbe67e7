"""What training makes small: the cross entropy of the completions' tokens."""

import torch

_AT_ONCE = {
    "cpu": 2**19,
    "cuda": 2**26,
}  # logits in float32: on a CPU so few that they stay in its cache


def completion_loss(network, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross entropy of the completion tokens, summed; logits are made for their columns alone."""
    batch = dict(batch)
    labels = batch.pop("labels")
    columns = int((labels != -100).any(0).sum())  # they are the last ones
    logits = network(**batch, use_cache=False, logits_to_keep=columns + 1).logits
    following = torch.nn.functional.pad(
        labels[:, -columns:], (0, 1), value=-100
    )  # nothing follows the last column
    return _CrossEntropy.apply(logits.flatten(0, 1), following.flatten())


class _CrossEntropy(torch.autograd.Function):
    """logits (tokens, vocabulary), labels (tokens) -> the sum over labels that are not -100, in
    float32.

    The gradient, softmax - label, is made in the same pass, part by part: the logits are read from
    memory once, where torch's own function makes the logarithms of all, keeps them, and reads them
    again. One backward pass only: it scales what was kept.
    """

    @staticmethod
    def forward(ctx, logits, labels):
        total, at_once = (
            torch.zeros((), device=logits.device),
            max(1, _AT_ONCE.get(logits.device.type, 2**24) // logits.shape[1]),
        )
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        for at in range(0, len(labels), at_once):
            rows = slice(at, at + at_once)
            part, said = logits[rows].to(torch.float32, copy=True), labels[rows, None]
            counts, said = said != -100, said.clamp(min=0)
            part -= part.amax(1, keepdim=True)
            total -= torch.where(counts, part.gather(1, said), 0).sum()
            sums = part.exp_().sum(1, keepdim=True)
            total += torch.where(counts, sums.log(), 0).sum()
            if gradient is not None:
                part.div_(sums).scatter_add_(1, said, part.new_full(said.shape, -1))
                gradient[rows] = part.masked_fill_(~counts, 0)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, given):
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(given), None
