"""Train the small Qwen2-VL from nothing on phantom studies, and save it: python -m
recipes.tiny_qwen2_vl.pretrain [--out FOLDER]

A step takes some studies by their pictures alone and some with their report, each group with one
task. The first of the three terms teaches to see and to speak; in the second, reports with strange
words teach to quote what is written; in the third, to do so behind any system text and after other
questions and answers. What a step sees hangs on its number alone, so that a run that was killed
goes on from where it last saved, in .cache/tiny-model.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from recipes.tiny_qwen2_vl import build, lessons, pictures
from xraygen.engines.answers import cache_folder
from xraygen.prompting.training_record import REGIONS_FILE
from xraygen.sources.phantom.filing import FIVE
from xraygen.sources.phantom.findings import Findings


class Term(NamedTuple):
    """`rate`: AdamW's at most, reached after `warmup` steps. `images`, `texts`: studies of a step
    that are seen, or read. `listed`: share of the steps in which what is read is listed, not
    quoted. `views`: along with a report, one of these numbers. `talks`: conversations of a step in
    which reports are quoted one after the other.
    """

    steps: int
    rate: float
    warmup: int
    images: int
    texts: int
    listed: float
    views: tuple[int, ...]
    strange: float
    normal_hearts: float
    talks: int = 0


TERMS = (
    Term(
        5000,
        1e-3,
        200,
        images=32,
        texts=10,
        listed=0.3,
        views=(0, 1, 2),
        strange=0,
        normal_hearts=1,
    ),
    Term(
        2500,
        1e-3,
        100,
        images=16,
        texts=24,
        listed=0.1,
        views=(0, 0, 0, 1),
        strange=0.7,
        normal_hearts=0.5,
    ),
    Term(
        300,
        3e-4,
        30,
        images=16,
        texts=8,
        listed=0.2,
        views=(0, 0, 0, 1),
        strange=0.7,
        normal_hearts=0.5,
        talks=8,
    ),
)
LEAST = 0.02  # share of the rate at a term's end
EVERY = 50  # steps between two savings
VOCABULARY, CORPUS = 3072, 4000  # entries at most, studies to learn them from


class Conversations:
    """Token ids of conversations with so many views, as the processor makes them, without its
    cost.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.start = self._ids("<|im_start|>user\n")
        self.view = self._ids(
            "<|vision_start|>" + "<|image_pad|>" * (pictures.GRID**2 // 4) + "<|vision_end|>"
        )
        self.turn = self._ids("<|im_end|>\n<|im_start|>assistant\n")
        self.end = self._ids("<|im_end|>\n")

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def prompt(self, text: str, views: int) -> list[int]:
        return self.start + self.view * views + self._ids(text) + self.turn

    def batch(self, pairs: list[tuple[str, str]], views: int) -> dict[str, torch.Tensor]:
        """Right-padded `input_ids` and `labels` (B, T), -100 outside completions, and
        `position_ids` (3, B, T).

        No attention mask: nothing but padding comes after padding, and attention is causal.
        """
        prompts = [self.prompt(text, views) for text, _ in pairs]
        rows = [
            prompt + self._ids(answer) + self.end
            for prompt, (_, answer) in zip(prompts, pairs, strict=True)
        ]
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        labels = torch.full((len(rows), length), -100)
        for number, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            ids[number, : len(row)] = torch.tensor(row)
            labels[number, len(prompt) : len(row)] = torch.tensor(row[len(prompt) :])
        return {
            "input_ids": ids,
            "labels": labels,
            "position_ids": self._positions(length, views).expand(-1, len(rows), -1),
        }

    def talks(self, talks: list[tuple[str, list[tuple[str, str]]]]) -> dict[str, torch.Tensor]:
        """The same of (system text, pairs), the pairs one after the other; every answer counts."""
        rows = []
        for system, pairs in talks:
            row = [
                (token, False)
                for token in self._ids(
                    f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
                )
            ]
            for text, answer in pairs:
                row += [(token, False) for token in self.prompt(text, 0)] + [
                    (token, True) for token in self._ids(answer) + self.end
                ]
            rows.append(row)
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        labels = torch.full((len(rows), length), -100)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor([token for token, _ in row])
            labels[number, : len(row)] = torch.tensor(
                [token if counts else -100 for token, counts in row]
            )
        return {
            "input_ids": ids,
            "labels": labels,
            "position_ids": self._positions(length, 0).expand(-1, len(rows), -1),
        }

    def _positions(self, length: int, views: int) -> torch.Tensor:
        """(3, 1, T): time, height and width; a view takes as many places as it is wide (Qwen2-VL,
        section 2.1).
        """
        at, places = len(self.start), [torch.arange(len(self.start)).expand(3, -1)]
        side = pictures.GRID // 2
        for _ in range(views):
            row, column = (
                torch.arange(side).repeat_interleave(side),
                torch.arange(side).repeat(side),
            )
            inner = torch.stack([torch.zeros_like(row), row, column]) + at + 1
            places += [torch.full((3, 1), at), inner, torch.full((3, 1), at + 1 + side)]
            at += side + 2
        done = sum(place.shape[1] for place in places)
        return torch.cat([*places, (torch.arange(length - done) + at).expand(3, -1)], 1)[:, None]


def loss_of(model, batch: dict[str, torch.Tensor], pixels: torch.Tensor | None) -> torch.Tensor:
    """Mean cross entropy of the completions' tokens; logits are made for these alone."""
    grids = (
        None
        if pixels is None
        else torch.tensor([[1, pictures.GRID, pictures.GRID]]).expand(
            len(pixels) // pictures.GRID**2, -1
        )
    )
    hidden = model.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        pixel_values=pixels,
        image_grid_thw=grids,
        use_cache=False,
    ).last_hidden_state
    wanted = batch["labels"][:, 1:] != -100
    return cross_entropy(
        model.lm_head(hidden[:, :-1][wanted]).float(), batch["labels"][:, 1:][wanted]
    )


def step_of(model, talk: Conversations, step: int) -> tuple[float, ...]:
    """Gradients of one step; (loss by pictures alone, loss with reports, and that of conversations
    where the term has any).
    """
    rng, noise = Random(f"pretrain {step}"), np.random.default_rng([pictures.SEED, 1, step])
    term, at = term_of(step)
    epoch, at = divmod(at, (pictures.CHUNKS - 1) * pictures.CHUNK // term.images)
    places = at * term.images + np.arange(max(term.images, term.texts))
    chosen = pictures.order(epoch, term.normal_hearts).take(places, mode="wrap").tolist()
    losses = []
    for by_pictures in (True, False):
        if by_pictures:
            draw = rng.random()
            task = "name" if draw < 0.6 else "list" if draw < 0.85 else "report"
            views, studies = (2 if rng.random() < 0.35 else 1), chosen[: term.images]
        else:
            task, views = (
                ("list" if rng.random() < term.listed else "quote"),
                term.views[int(rng.random() * len(term.views))],
            )
            studies = chosen[: term.texts]
        pairs = [
            lessons.example(task, pictures.findings(k), rng, not by_pictures, term.strange)
            for k in studies
        ]
        pixels = None
        if views:
            shown = np.stack([pictures.views(k)[:views] for k in studies])
            pixels = pictures.patches(
                pictures.changed(shown, noise).reshape(-1, build.SIDE, build.SIDE)
            )
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, talk.batch(pairs, views), pixels)
        (loss * (2.0 if by_pictures else 1.0)).backward()
        losses.append(loss.item())
    if term.talks:
        talks = [
            lessons.talk([pictures.findings(k) for k in rng.sample(chosen, rng.randint(1, 4))], rng)
            for _ in range(term.talks)
        ]
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, talk.talks(talks), None)
        loss.backward()
        losses.append(loss.item())
    return tuple(losses)


FIELDS = ("heart", "mediastinum", "effusion", "pneumothorax", "consolidation", "nodule")


def truth(findings: Findings) -> tuple:
    sided = [getattr(findings, name) for name in FIELDS[2:]]
    return findings.heart, findings.mediastinum, *(value.side if value else None for value in sided)


def read_listing(text: str) -> tuple:
    """FIELDS of a listing; what it does not name is normal."""
    try:
        terms = [
            term.split() for said in json.loads(text).values() for term in str(said).split("; ")
        ]
    except (ValueError, AttributeError):
        return ("?",) * len(FIELDS)
    first = {term[0]: term for term in terms if term}
    heart = (
        first["cardiomegaly"][-1]
        if "cardiomegaly" in first
        else "borderline"
        if "borderline" in first
        else "normal"
    )
    sided = [first[name][1] if len(first.get(name, "")) > 1 else None for name in FIELDS[2:]]
    return heart, "wide" if "wide" in first else "normal", *sided


@torch.no_grad()
def look(model, talk: Conversations, count: int = 250) -> dict[str, float]:
    """Share of held-out studies in which each of FIELDS is read rightly from the frontal view
    alone.
    """
    ids = torch.tensor(talk.prompt(lessons.PROMPTS["list"], 1)).expand(count, -1)
    model.eval()
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == talk.tokenizer.convert_tokens_to_ids("<|image_pad|>")).int(),
        pixel_values=pictures.patches(np.stack([pictures.views(k)[0] for k in range(count)])),
        image_grid_thw=torch.tensor([[1, pictures.GRID, pictures.GRID]]).expand(count, -1),
        max_new_tokens=70,
        do_sample=False,
    )
    model.train()
    said = talk.tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
    pairs = [(read_listing(text), truth(pictures.findings(k))) for k, text in enumerate(said)]
    right = np.array([[one == other for one, other in zip(*pair, strict=True)] for pair in pairs])
    return dict(zip(FIELDS, right.mean(0).round(3).tolist(), strict=True)) | {
        "all": round(float(right.all(1).mean()), 3)
    }


def term_of(step: int) -> tuple[Term, int]:
    """(the term, the step's number in it)"""
    for term in TERMS:
        if step < term.steps:
            break
        step -= term.steps
    return term, step


def rate_at(step: int) -> float:
    """Up in a line, down in a cosine."""
    term, at = term_of(step)
    return (
        term.rate
        * min(1, (at + 1) / term.warmup)
        * (LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * at / term.steps)))
    )


def optimizer_of(model) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("models/tiny-qwen2-vl"))
    out = parser.parse_args().out
    pictures.draw_all()
    torch.manual_seed(0)
    tokenizer = build.tokenizer_of(lessons.corpus(pictures.SEED, CORPUS), VOCABULARY)
    model, talk = build.model_of(tokenizer).train(), Conversations(tokenizer)
    optimizer, total = optimizer_of(model), sum(term.steps for term in TERMS)
    saved = cache_folder() / "tiny-model" / "state.safetensors"
    step = resume(saved, model, optimizer) if saved.exists() else 0
    start, first = time.monotonic(), step
    while step < total:
        if (
            step and term_of(step)[1] == 0
        ):  # a term starts from the weights as they are kept, with nothing remembered
            with torch.no_grad():
                for weight in model.parameters():
                    weight.copy_(weight.bfloat16())
            optimizer = optimizer_of(model)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        losses = step_of(model, talk, step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % EVERY == 0:
            save(saved, model, optimizer, step)
            left = (total - step) * (time.monotonic() - start) / (step - first) / 60
            seen = {
                "step": step,
                "minutes_left": round(left),
                "losses": losses,
                **look(model, talk),
            }
            print(json.dumps(seen), file=sys.stderr, flush=True)
    model.to(torch.bfloat16).save_pretrained(out)
    build.processor_of(tokenizer).save_pretrained(out)
    (out / REGIONS_FILE).write_text(json.dumps(FIVE.names) + "\n", encoding="utf-8")


def save(path: Path, model, optimizer, step: int) -> None:
    """Weights, what AdamW remembers of them, and the step."""
    tensors = {f"model.{name}": value.detach() for name, value in model.named_parameters()} | {
        "step": torch.tensor(step)
    }
    for number, kept in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in kept.items()}
    part = path.with_suffix(".part")
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, part)
    part.replace(path)


def resume(path: Path, model, optimizer) -> int:
    tensors = load_file(path)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(tensors[f"model.{name}"])
    state: dict[int, dict] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, what = name.split(".")
            state.setdefault(int(number), {})[what] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return int(tensors["step"])


if __name__ == "__main__":
    main()
