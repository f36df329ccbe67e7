"""Train the small Qwen2-VL from scratch on phantom studies, and save it:

    python -m recipes.tiny_qwen2_vl.pretrain [--out FOLDER]

A step has some studies with pictures alone and some with their report, each group with one task.
The first of three phases teaches to see and to speak, the second to quote what is written, with
reports in which words are replaced, and the third to do so after any system text and after other
questions and answers. The data of a step depend on its number alone, so that a run that was killed
goes on from its last checkpoint, in .cache/tiny-model.
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


class Phase(NamedTuple):
    """`learning_rate`: the peak, reached after `warmup` steps. `images`, `texts`: studies of a step
    without and with their report. `listed`: share of the steps whose reports are listed instead of
    quoted. `views`: numbers of views along with a report, one of which is drawn. `strange`: share
    of the quoted reports with replaced words. `normal_hearts`: see `pictures.order`. `talks`:
    number of conversations of a step in which several reports are quoted.
    """

    steps: int
    learning_rate: float
    warmup: int
    images: int
    texts: int
    listed: float
    views: tuple[int, ...]
    strange: float
    normal_hearts: float
    talks: int = 0


PHASES = (
    Phase(
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
    Phase(
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
    Phase(
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
FINAL_SHARE = 0.02  # of the peak learning rate, at the end of a phase
EVERY = 50  # steps between two checkpoints
VOCABULARY = 3072  # entries of the tokenizer, at most
CORPUS = 4000  # studies to train the tokenizer on


class Conversations:
    """Token ids of conversations, the same as the processor makes, but faster."""

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

        No attention mask is needed: after padding there is only padding, and attention is causal.
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
        """The same for (system text, pairs), one pair after the other, with labels for every
        answer.
        """
        rows = []
        for system, pairs in talks:
            start = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
            row = [(token, False) for token in self._ids(start)]
            for text, answer in pairs:
                row += [(token, False) for token in self.prompt(text, 0)]
                row += [(token, True) for token in self._ids(answer) + self.end]
            rows.append(row)
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        labels = torch.full((len(rows), length), -100)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor([token for token, _ in row])
            wanted = [token if counts else -100 for token, counts in row]
            labels[number, : len(row)] = torch.tensor(wanted)
        return {
            "input_ids": ids,
            "labels": labels,
            "position_ids": self._positions(length, 0).expand(-1, len(rows), -1),
        }

    def _positions(self, length: int, views: int) -> torch.Tensor:
        """(3, 1, T): time, height and width; a view advances the position by its width (Qwen2-VL,
        section 2.1).
        """
        at = len(self.start)
        parts = [torch.arange(at).expand(3, -1)]
        side = pictures.GRID // 2
        row = torch.arange(side).repeat_interleave(side)
        column = torch.arange(side).repeat(side)
        for _ in range(views):
            inner = torch.stack([torch.zeros_like(row), row, column]) + at + 1
            parts += [torch.full((3, 1), at), inner, torch.full((3, 1), at + 1 + side)]
            at += side + 2
        done = sum(part.shape[1] for part in parts)
        return torch.cat([*parts, (torch.arange(length - done) + at).expand(3, -1)], 1)[:, None]


def loss_of(model, batch: dict[str, torch.Tensor], pixels: torch.Tensor | None) -> torch.Tensor:
    """Mean cross entropy of the completions' tokens; only their logits are computed."""
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    grids = None
    if pixels is not None:
        grids = grid_of(len(pixels) // pictures.GRID**2).to(model.device)
        pixels = pixels.to(model.device)
    hidden = model.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        pixel_values=pixels,
        image_grid_thw=grids,
        use_cache=False,
    ).last_hidden_state
    labels = batch["labels"][:, 1:]
    wanted = labels != -100
    return cross_entropy(model.lm_head(hidden[:, :-1][wanted]).float(), labels[wanted])


def grid_of(views: int) -> torch.Tensor:
    """(views, 3) patches of each view: frames, rows and columns."""
    return torch.tensor([[1, pictures.GRID, pictures.GRID]]).expand(views, -1)


def step_of(model, talk: Conversations, step: int) -> tuple[torch.Tensor, ...]:
    """Add the gradients of one step; returns its losses: with pictures alone, with reports and,
    where the phase has any, on conversations.
    """
    rng = Random(f"pretrain {step}")
    noise = np.random.default_rng([pictures.SEED, 1, step])
    phase, at = phase_of(step)
    chosen = _studies(phase, at)
    losses = []
    for by_pictures in (True, False):
        task, views = _task(phase, by_pictures, rng)
        studies = chosen[: phase.images if by_pictures else phase.texts]
        pairs = [
            lessons.example(task, pictures.findings(k), rng, not by_pictures, phase.strange)
            for k in studies
        ]
        pixels = None
        if views:
            shown = np.stack([pictures.views(k)[:views] for k in studies])
            changed = pictures.changed(shown, noise)
            pixels = pictures.patches(changed.reshape(-1, build.SIDE, build.SIDE))
        weight = 2.0 if by_pictures else 1.0
        losses.append(_backward(model, talk.batch(pairs, views), pixels, weight))
    if phase.talks:
        talks = [
            lessons.talk([pictures.findings(k) for k in rng.sample(chosen, rng.randint(1, 4))], rng)
            for _ in range(phase.talks)
        ]
        losses.append(_backward(model, talk.talks(talks), None, 1.0))
    return tuple(losses)


def _studies(phase: Phase, at: int) -> list[int]:
    """The studies of a phase's step number `at`."""
    epoch, at = divmod(at, (pictures.CHUNKS - 1) * pictures.CHUNK // phase.images)
    positions = at * phase.images + np.arange(max(phase.images, phase.texts))
    return pictures.order(epoch, phase.normal_hearts).take(positions, mode="wrap").tolist()


def _task(phase: Phase, by_pictures: bool, rng: Random) -> tuple[str, int]:
    """(task, number of views)"""
    if by_pictures:
        draw = rng.random()
        task = "name" if draw < 0.6 else "list" if draw < 0.85 else "report"
        return task, 2 if rng.random() < 0.35 else 1
    task = "list" if rng.random() < phase.listed else "quote"
    return task, phase.views[int(rng.random() * len(phase.views))]


def _backward(
    model, batch: dict[str, torch.Tensor], pixels: torch.Tensor | None, weight: float
) -> torch.Tensor:
    with torch.autocast(model.device.type, torch.bfloat16):
        loss = loss_of(model, batch, pixels)
    (loss * weight).backward()
    return loss.detach()  # not its value, for which the host would wait for the GPU


FIELDS = ("heart", "mediastinum", "effusion", "pneumothorax", "consolidation", "nodule")


def truth(findings: Findings) -> tuple:
    sided = [getattr(findings, name) for name in FIELDS[2:]]
    return findings.heart, findings.mediastinum, *(value.side if value else None for value in sided)


def read_listing(text: str) -> tuple:
    """FIELDS of a listing; a field that it does not name is normal."""
    try:
        texts = json.loads(text).values()
        terms = [term.split() for said in texts for term in str(said).split("; ")]
    except (ValueError, AttributeError):
        return ("?",) * len(FIELDS)
    first = {term[0]: term for term in terms if term}
    heart = "borderline" if "borderline" in first else "normal"
    if "cardiomegaly" in first:
        heart = first["cardiomegaly"][-1]
    sided = [first[name][1] if len(first.get(name, "")) > 1 else None for name in FIELDS[2:]]
    return heart, "wide" if "wide" in first else "normal", *sided


@torch.no_grad()
def accuracy(model, talk: Conversations, count: int = 250) -> dict[str, float]:
    """Share of held-out studies in which each of FIELDS is right, from the frontal view alone."""
    ids = torch.tensor(talk.prompt(lessons.PROMPTS["list"], 1)).expand(count, -1)
    model.eval()
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == talk.tokenizer.convert_tokens_to_ids("<|image_pad|>")).int(),
        pixel_values=pictures.patches(np.stack([pictures.views(k)[0] for k in range(count)])),
        image_grid_thw=grid_of(count),
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


def phase_of(step: int) -> tuple[Phase, int]:
    """(the phase, the step's number in it)"""
    for phase in PHASES:
        if step < phase.steps:
            break
        step -= phase.steps
    return phase, step


def learning_rate_at(step: int) -> float:
    """Linear warm-up, then cosine decay."""
    phase, at = phase_of(step)
    warmup = min(1, (at + 1) / phase.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * at / phase.steps))
    return phase.learning_rate * warmup * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)


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
    model = build.model_of(tokenizer).train()
    talk = Conversations(tokenizer)
    optimizer = optimizer_of(model)
    total = sum(phase.steps for phase in PHASES)
    saved = cache_folder() / "tiny-model" / "state.safetensors"
    step = resume(saved, model, optimizer) if saved.exists() else 0
    first = step
    start = time.monotonic()
    while step < total:
        if step and phase_of(step)[1] == 0:
            # A phase starts from the weights as they would be saved, with a new optimizer.
            with torch.no_grad():
                for weight in model.parameters():
                    weight.copy_(weight.bfloat16())
            optimizer = optimizer_of(model)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step)
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
                "losses": [loss.item() for loss in losses],
                **accuracy(model, talk),
            }
            print(json.dumps(seen), file=sys.stderr, flush=True)
    model.to(torch.bfloat16).save_pretrained(out)
    build.processor_of(tokenizer).save_pretrained(out)
    (out / REGIONS_FILE).write_text(json.dumps(FIVE.names) + "\n", encoding="utf-8")


def save(path: Path, model, optimizer, step: int) -> None:
    """Weights, the state of AdamW, and the step."""
    tensors = {f"model.{name}": value.detach() for name, value in model.named_parameters()}
    tensors["step"] = torch.tensor(step)
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
