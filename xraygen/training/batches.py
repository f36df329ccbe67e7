"""All batches of a training: rows of similar length, within a budget of padded tokens."""

import random
from collections.abc import Sequence

from xraygen.core.errors import UserError
from xraygen.training.params import FinetuneParams

Lengths = tuple[int, int]  # tokens of a row's prompt and of its completion

# Rows that are sorted by length together: enough for batches of similar length, few enough to keep
# the order random.
_POOL = 128


def plan(
    lengths: Sequence[Lengths], params: FinetuneParams, per_step: int
) -> tuple[list[list[int]], list[int]]:
    """(the batches of the whole training, as indices of rows; the steps at which a pass over the
    studies ends, when dev is evaluated).

    A step takes the next `per_step` batches, which is processes times gradient_accumulation_steps,
    so that two processes see what one sees with twice the accumulation. Each pass has a new order.
    UserError: there are fewer batches than one step takes.
    """
    rng = random.Random(params.seed)
    batches: list[list[int]] = []
    pass_ends: list[int] = []

    def planned_all() -> bool:
        if params.max_steps:
            return len(batches) // per_step >= params.max_steps
        return len(pass_ends) >= params.epochs

    while not planned_all():
        batches += _one_pass(lengths, params.max_batch_tokens, rng)
        pass_ends.append(len(batches) // per_step)
    steps = params.max_steps or len(batches) // per_step
    if not steps:
        raise UserError(
            f"params.yaml: finetune: {len(batches)} batches are fewer than one step takes "
            f"({per_step}); lower gradient_accumulation_steps"
        )
    evaluated = {min(end, steps) for end in pass_ends if end} | {steps}
    return batches[: steps * per_step], sorted(evaluated)


def _one_pass(lengths: Sequence[Lengths], budget: int, rng: random.Random) -> list[list[int]]:
    batches = []
    shuffled = rng.sample(range(len(lengths)), len(lengths))
    for start in range(0, len(shuffled), _POOL):
        pool = by_length(shuffled[start : start + _POOL], lengths)
        batches += batched(pool, lengths, budget)
    rng.shuffle(batches)
    return batches


def by_length(rows: Sequence[int], lengths: Sequence[Lengths]) -> list[int]:
    return sorted(rows, key=lambda row: sum(lengths[row]))


def batched(rows: Sequence[int], lengths: Sequence[Lengths], budget: int) -> list[list[int]]:
    """Consecutive rows, cut into batches of at most `budget` tokens. Prompts and completions are
    each padded to their longest; a row that is longer than the budget is a batch by itself.
    """
    batches: list[list[int]] = [[]]
    prompt = completion = 0  # the longest of the batch
    for row in rows:
        prompt = max(prompt, lengths[row][0])
        completion = max(completion, lengths[row][1])
        if batches[-1] and (len(batches[-1]) + 1) * (prompt + completion) > budget:
            batches.append([])
            prompt, completion = lengths[row]
        batches[-1].append(row)
    return batches
