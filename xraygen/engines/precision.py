"""The precision that fine-tuning computes in: what params.yaml asks for, resolved for this
machine.
"""

from typing import Literal, NamedTuple

Asked = Literal["auto", "bfloat16", "float16", "float32"]


class Precision(NamedTuple):
    """`name`: a torch dtype, never auto. `said`: the choice and its reason, one line for the
    user.
    """

    name: str
    said: str


def resolve(asked: Asked) -> Precision:
    """bfloat16 for `auto` where the device multiplies in it natively, else float32; anything else
    as asked.

    Emulated, bfloat16 is correct and slow: on an AVX2 CPU a step of the small model takes 15 times
    as long as in float32. So whoever asks for it there gets it, and a warning.
    """
    native, device = native_bfloat16()
    if asked == "auto":
        name = "bfloat16" if native else "float32"
        return Precision(name, f"finetune: precision {name}: {device}")
    if asked == "bfloat16" and not native:
        return Precision(
            asked,
            f"warning: finetune.precision: bfloat16 is emulated, which is slow: {device};"
            " with auto it would be float32",
        )
    return Precision(asked, f"finetune: precision {asked}: set in params.yaml")


def native_bfloat16() -> tuple[bool, str]:
    """(whether the device that trains has bfloat16 arithmetic that torch will use, the device's
    evidence).
    """
    import torch

    if torch.cuda.is_available():
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
        native = torch.cuda.is_bf16_supported(including_emulation=False)  # 8.0 or higher, or ROCm
        has = "has" if native else "has no native"
        return (
            native,
            f"{torch.cuda.get_device_name()} (compute capability {capability}) {has} bfloat16",
        )
    if torch.backends.mps.is_available():
        return False, "bfloat16 is not known to be native on this GPU (Metal)"
    # The first two say what the CPU has, whatever ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA allow.
    # The third says whether oneDNN, which computes torch's bfloat16 matrix products, is allowed to
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
