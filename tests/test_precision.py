"""finetune.precision: auto is bfloat16 where torch multiplies in it natively, and every choice says
why in one line.
"""

import os
import subprocess
import sys

import pytest

from xraygen.engines.precision import resolve

torch = pytest.importorskip("torch")


def on_cpu(monkeypatch, avx512_bf16: bool, amx: bool, one_dnn: bool) -> None:
    """What torch reports of a CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: one_dnn)


@pytest.mark.parametrize(
    ("reported", "chosen", "why"),
    [
        ((True, False, True), "bfloat16", "this CPU has avx512_bf16"),
        ((False, True, True), "bfloat16", "this CPU has AMX"),
        ((True, True, True), "bfloat16", "this CPU has avx512_bf16 and AMX"),
        (
            (False, False, True),
            "float32",
            "this CPU has neither avx512_bf16 nor AMX",
        ),  # AVX-512 without bfloat16
        ((False, False, False), "float32", "this CPU has neither avx512_bf16 nor AMX"),
        ((True, True, False), "float32", "oneDNN does not use it (see ONEDNN_MAX_CPU_ISA)"),
    ],
)
def test_auto_on_a_cpu(monkeypatch, reported, chosen, why):
    on_cpu(monkeypatch, *reported)
    precision = resolve("auto")
    assert precision.name == chosen and precision.message.startswith(
        f"finetune: precision {chosen}: "
    )
    assert why in precision.message and "\n" not in precision.message


@pytest.mark.parametrize(
    ("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_auto_on_a_gpu(monkeypatch, capability, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    emulated = {True: True, False: native}  # with emulation torch says yes of every GPU
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: emulated[including_emulation],
    )
    precision = resolve("auto")
    assert precision.name == ("bfloat16" if native else "float32")
    assert f"Some GPU (compute capability {capability[0]}.{capability[1]})" in precision.message


def test_what_is_asked_for_is_done_with_a_warning_where_it_is_emulated(monkeypatch):
    on_cpu(monkeypatch, avx512_bf16=False, amx=False, one_dnn=False)
    for asked in ("float32", "float16"):
        assert resolve(asked) == (asked, f"finetune: precision {asked}: set in params.yaml")
    precision = resolve("bfloat16")
    assert precision.name == "bfloat16" and precision.message.startswith(
        "warning: finetune.precision: bfloat16 is emulated"
    )
    on_cpu(monkeypatch, avx512_bf16=True, amx=False, one_dnn=True)
    assert resolve("bfloat16") == ("bfloat16", "finetune: precision bfloat16: set in params.yaml")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU trains instead")
def test_a_cpu_that_is_held_to_avx2_trains_in_float32():
    """The two variables that make torch leave a CPU's better instructions alone."""
    held = os.environ | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    code = "from xraygen.engines.precision import resolve; print(resolve('auto').name)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=held, capture_output=True, text=True, check=True
    )
    assert done.stdout == "float32\n"
