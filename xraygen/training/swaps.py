"""Studies whose words change from one pass to the next, so that few studies teach to read reports
and not to know them by heart.
"""

from random import Random

import torch

from xraygen.core.study import Annotation
from xraygen.prompting import encoding
from xraygen.training.dataset import Rows


class Swapped(torch.utils.data.Dataset):
    """`rows` to train on, as a data set with keys (index, number of the batch), on which a swap
    depends.

    In the share `swaps` of them, up to `_MOST` of the tokens of words that prompt and answer have
    in common are others, the same ones in both: what is copied stays copied. The keys of the
    answer's JSON and the words of the instruction stay as they are.
    """

    _MOST = 0.8

    def __init__(
        self, rows: Rows, tokenizer, prompt: str, blank: Annotation, swaps: float, seed: int
    ):
        self.rows, self.swaps, self.seed, self.num_workers = rows, swaps, seed, rows.num_workers
        fixed = set(
            encoding.answer(tokenizer, blank).tolist()
            + tokenizer(f"{prompt}\nReport: {prompt}").input_ids
        )
        self._kinds: dict[
            int, tuple[bool, bool]
        ] = {}  # of each token of a word: whether it begins one, whether in capitals
        self._alike: dict[tuple[bool, bool], list[int]] = {}
        for token in sorted(rows.completion_tokens - fixed):
            text = tokenizer.convert_ids_to_tokens(token)
            letters = text.lstrip(
                "Ġ▁"
            )  # the marks of a word's beginning in byte-level BPE and in SentencePiece
            if letters.isalpha():
                kind = letters != text, letters[0].isupper()
                self._kinds[token] = kind
                self._alike.setdefault(kind, []).append(token)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        row, rng = self.rows[key[0]], Random(f"{self.seed} {key}")
        if rng.random() >= self.swaps:
            return row
        share, prompt, answer = (
            rng.random() * self._MOST,
            row["input_ids"].clone(),
            row["completion"].clone(),
        )
        for token in sorted(
            set(row["input_ids"].tolist()) & set(row["completion"].tolist()) & self._kinds.keys()
        ):
            if rng.random() < share:
                other = rng.choice(self._alike[self._kinds[token]])
                prompt[row["input_ids"] == token] = answer[row["completion"] == token] = other
        return row | {"input_ids": prompt, "completion": answer}
