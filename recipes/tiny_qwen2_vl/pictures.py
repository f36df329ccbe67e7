"""Phantom pictures for pretraining: drawn once at the pipeline's size and stored small, then varied
in position, brightness, contrast and grain each time.

    python -m recipes.tiny_qwen2_vl.pictures

draws what is missing, on all cores (21 ms a study on one).
"""

import multiprocessing
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recipes.tiny_qwen2_vl.build import SIDE
from xraygen.core.files import replacing
from xraygen.core.progress import progress
from xraygen.engines.answers import cache_folder
from xraygen.sources.phantom import draw, phantom
from xraygen.sources.phantom.findings import Findings

# Not a seed of params.yaml: the model that ships has seen none of the pipeline's studies.
SEED = 20_261_101
CHUNK = 500  # studies a file
CHUNKS = 80  # files; the first is held out
DRAWN = 224  # pixels, the pipeline's default
GRID = SIDE // 14  # patches on a side
# Those of Qwen2-VL's image processor.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def draw_all() -> None:
    missing = [chunk for chunk in range(CHUNKS) if not _file(chunk).exists()]
    with multiprocessing.get_context("spawn").Pool() as pool:
        drawn = pool.imap_unordered(_draw, missing)
        for _ in progress(drawn, f"draw {CHUNK} studies each", "files", len(missing)):
            pass


def _file(chunk: int) -> Path:
    return cache_folder() / "tiny-model" / f"{chunk:04d}.npy"


def _draw(chunk: int) -> None:
    studies = range(chunk * CHUNK, (chunk + 1) * CHUNK)
    views = [[_small(view) for view in draw(findings(k), SEED, k, DRAWN)] for k in studies]
    with replacing(_file(chunk), "wb") as file:
        np.save(file, np.array(views, dtype=np.uint8))


def _small(view: np.ndarray) -> np.ndarray:
    """The view as the image processor resizes it."""
    picture = Image.fromarray(view).convert("RGB")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[..., 0]


@cache
def findings(k: int) -> Findings:
    return phantom(SEED, k).findings


@cache
def _chunk(chunk: int) -> np.ndarray:
    return np.load(_file(chunk), allow_pickle=False)


def views(k: int) -> np.ndarray:
    """uint8 (2, SIDE, SIDE): frontal, lateral."""
    return _chunk(k // CHUNK)[k % CHUNK]


@lru_cache(maxsize=1)
def order(epoch: int, normal_hearts: float) -> np.ndarray:
    """The training studies in the order of an epoch. `normal_hearts`: the share that is kept of
    those with a normal heart, because its other sizes are rare and the slowest to learn.
    """
    studies = np.arange(CHUNK, CHUNK * CHUNKS)
    rng = np.random.default_rng([SEED, epoch])
    if normal_hearts < 1:
        kept = [
            k
            for k in studies.tolist()
            if findings(k).heart != "normal" or rng.random() < normal_hearts
        ]
        studies = np.array(kept)
    return studies if epoch == 0 else rng.permutation(studies)


def changed(views: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (studies, views, SIDE, SIDE), shifted by up to 4 pixels, with changed brightness and
    contrast, and with grain.
    """
    count, each, side, _ = views.shape
    far = 4
    padded = np.pad(views, ((0, 0), (0, 0), (far, far), (far, far)), mode="edge")
    moved = np.empty(views.shape, np.float32)
    for row, (x, y) in enumerate(rng.integers(0, 2 * far + 1, (count, 2))):
        moved[row] = padded[row, :, y : y + side, x : x + side]
    moved = (moved - 128) * rng.uniform(0.85, 1.15, (count, each, 1, 1)).astype(np.float32) + 128
    moved += rng.uniform(-15, 15, (count, each, 1, 1)).astype(np.float32)
    grain = rng.standard_normal(moved.shape, dtype=np.float32)
    moved += grain * rng.uniform(0, 5, (count, each, 1, 1)).astype(np.float32)
    return np.clip(moved, 0, 255).astype(np.uint8)


def patches(views: np.ndarray) -> torch.Tensor:
    """uint8 (views, SIDE, SIDE) -> (views * 64, 1176), in the layout of Qwen2-VL's image processor:
    the 2 x 2 patches that become one token are adjacent, each with 3 channels, 2 equal frames and
    14 x 14 pixels.
    """
    count, half = len(views), GRID // 2
    grey = (
        torch.from_numpy(views)
        .float()
        .div_(255)
        .view(count, half, 2, 14, half, 2, 14)
        .permute(0, 1, 4, 2, 5, 3, 6)
    )
    grey = grey.reshape(count * GRID * GRID, 1, 1, 14, 14)
    colour = (grey - torch.tensor(MEAN).view(1, 3, 1, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1, 1)
    return colour.expand(-1, 3, 2, 14, 14).reshape(count * GRID * GRID, 1176)


if __name__ == "__main__":
    draw_all()
