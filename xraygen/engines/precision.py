"""The precision that fine-tuning computes in: what params.yaml requests, resolved for this
machine.
"""

from typing import Literal, NamedTuple

PrecisionName = Literal["bfloat16", "float16", "float32"]
Requested = Literal["auto", PrecisionName]


class Precision(NamedTuple):
    """`name`: of a torch dtype. `message`: the choice and its reason, in one line for the user."""

    name: PrecisionName
    message: str


def resolve(requested: Requested) -> Precision:
    """auto = bfloat16 where the device multiplies in it natively, otherwise float32.

    Any other precision is taken as requested. Emulated bfloat16 is correct but slow (on an AVX2 CPU
    a step of the small model takes 15 times as long as in float32), so it comes with a warning.
    """
    native, device = native_bfloat16()
    if requested == "auto":
        name: PrecisionName = "bfloat16" if native else "float32"
        return Precision(name, f"finetune: precision {name}: {device}")
    if requested == "bfloat16" and not native:
        return Precision(
            requested,
            f"warning: finetune.precision: bfloat16 is emulated, which is slow: {device};"
            " with auto it would be float32",
        )
    return Precision(requested, f"finetune: precision {requested}: set in params.yaml")


def native_bfloat16() -> tuple[bool, str]:
    """(whether the training device has bfloat16 arithmetic that torch uses, what shows it)."""
    import torch

    if torch.cuda.is_available():
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
        native = torch.cuda.is_bf16_supported(including_emulation=False)  # 8.0 or higher, or ROCm
        has = "has" if native else "has no native"
        device = f"{torch.cuda.get_device_name()} (compute capability {capability})"
        return native, f"{device} {has} bfloat16"
    if torch.backends.mps.is_available():
        return False, "bfloat16 is not known to be native on this GPU (Metal)"
    # The first two report what the CPU has, whatever ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA
    # allow. The third reports whether oneDNN, which computes torch's bfloat16 matrix products, may
    # use it.
    instructions = []
    if torch.cpu._is_avx512_bf16_supported():
        instructions.append("avx512_bf16")
    if torch.cpu._is_amx_tile_supported():
        instructions.append("AMX")
    if not instructions:
        return False, "this CPU has neither avx512_bf16 nor AMX"
    found = " and ".join(instructions)
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False, f"this CPU has {found}, but oneDNN does not use it (see ONEDNN_MAX_CPU_ISA)"
    return True, f"this CPU has {found}"
