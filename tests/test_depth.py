"""Pictures of more than 8 bits as 8-bit grey, in bounded memory."""

import tracemalloc

import numpy as np
import pytest

from xraygen.core import depth
from xraygen.core.depth import to_8_bits


def test_a_large_picture_takes_few_copies():
    values = np.arange(1_000_000, dtype=np.uint16).reshape(1000, 1000)
    tracemalloc.start()
    to_8_bits(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 18 * values.size


def test_a_grid_of_a_large_picture_gives_the_same_range(monkeypatch):
    values = np.random.default_rng(0).integers(1000, 3000, (600, 700)).astype(np.uint16)
    values[:20, :20] = 65535  # a burnt-in mark
    whole = to_8_bits(values)
    monkeypatch.setattr(depth, "_ENOUGH", 10_000)
    assert (to_8_bits(values) == whole).all()
    assert whole[300:].min() == 0 and whole[300:].max() == 255


def test_integers_of_32_bits_keep_their_steps():
    values = 2**30 + np.arange(256, dtype=np.int32).reshape(16, 16)
    assert (to_8_bits(values).ravel() == np.arange(256)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_a_picture_of_one_value_is_black(value):
    assert (to_8_bits(np.full((4, 4), value)) == 0).all()


def test_nan_and_infinity_are_the_ends_of_the_range():
    values = np.linspace(0, 1, 64).reshape(8, 8)
    values[0, :3] = np.nan, np.inf, -np.inf
    assert to_8_bits(values)[0, :3].tolist() == [0, 255, 0]
