"""The judge green against green-score's own class, and against one call of transformers' `generate`
for each of its batches: the same pairs, the same model, in one run.

    python bench/green.py [--model FOLDER] [--pairs FILE.csv]     FILE: columns reference, candidate

Without --model a small Llama with random weights is made and saved first; its end token is made
more likely, so that answers end. With the real model, on a GPU, the same command measures what
counts. On a CPU both run at full precision: rounding to half precision depends on the shape of a
batch, and with random weights that is enough to change words. Prints one JSON line.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path

from xraygen import judges
from xraygen.engines import answers, decoding
from xraygen.judges.green.answers import prompt
from xraygen.judges.green.green import Green, GreenSettings

RECORDED = Path("../shared/recorded/green_gpt-4o-mini_test.csv")


def random_llama(folder: Path, texts: list[str], seed: int = 0) -> None:
    """A Llama of half a million parameters and a tokenizer made for `texts`, saved as a GREEN model
    would be.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.1,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[fast.eos_token_id] *= 1.55
    model.half().save_pretrained(folder)  # in the precision in which green-score loads it


def upstream(model: str, pairs: list[tuple[str, str]]) -> tuple[float, list[str]]:
    """(seconds, completions) of green-score's own class, without loading."""
    import torch
    from green_score import GREEN
    from transformers import PreTrainedTokenizerBase

    PreTrainedTokenizerBase.batch_encode_plus = (
        PreTrainedTokenizerBase.__call__
    )  # which transformers 5 has taken away
    cpu = not torch.cuda.is_available()
    green = GREEN(model, cpu=cpu, compute_summary_stats=False)
    if cpu:
        green.model.float()
    start = time.perf_counter()
    green([reference for reference, _ in pairs], [candidate for _, candidate in pairs])
    return time.perf_counter() - start, green.completions


def main() -> None:
    from generate import stock  # bench/generate.py

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pairs", type=Path, default=RECORDED)
    parser.add_argument("--batch", type=int, default=GreenSettings().batch)
    arguments = parser.parse_args()
    with arguments.pairs.open(encoding="utf-8", newline="") as file:
        pairs = [(row["reference"], row["candidate"]) for row in csv.DictReader(file)]
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or Path(folder) / "model"
        if not arguments.model:
            random_llama(model, [prompt(*pair) for pair in pairs[:50]])
        model = str(model.resolve())
        os.chdir(folder)  # where the answers are kept, so that none is there before
        green = Green(GreenSettings(model=model, batch=arguments.batch))
        start = time.perf_counter()
        opinions = judges.opinions(pairs, green)
        ours = time.perf_counter() - start
        start = time.perf_counter()
        asked_again = Green(GreenSettings(model=model)).plan(pairs).asked
        judges.opinions(pairs, Green(GreenSettings(model=model)))
        again = time.perf_counter() - start
        decoding.decode, answers.cache_folder = stock, lambda: Path(folder) / "stock"
        start = time.perf_counter()
        judges.opinions(pairs, Green(GreenSettings(model=model, batch=arguments.batch)))
        batched = time.perf_counter() - start
        theirs, completions = upstream(model, pairs)
        os.chdir(here)
    asked = {
        pair: opinion.completion
        for pair, opinion in zip(pairs, opinions, strict=True)
        if opinion.completion is not None
    }
    same = sum(
        asked[pair] == completion
        for pair, completion in zip(pairs, completions, strict=True)
        if pair in asked
    )
    rows = sum(pair in asked for pair in pairs)
    print(
        json.dumps(
            {
                "pairs": len(pairs),
                "asked": len({prompt(*pair) for pair in asked}),
                "asked_again": asked_again,
                "undecided_rows": rows,
                "same_completion": same,
                "mean_completion_characters": round(sum(map(len, asked.values())) / len(asked)),
                "green_score_seconds": round(theirs, 2),
                "xraygen_seconds": round(ours, 2),
                "stock_seconds": round(batched, 2),
                "again_seconds": round(again, 2),
                "times_faster": round(theirs / ours, 2),
                "times_faster_than_stock": round(batched / ours, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
