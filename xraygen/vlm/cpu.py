"""The same Qwen2-VL model, faster on a CPU: all views of a batch in one attention call, and attention in float32 under bfloat16
autocast.

transformers calls attention once a view and layer, and the bfloat16 backward of attention is several times slower than float32's
where matrix products are several times faster.
"""

from types import MethodType
from typing import TypeVar

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.qwen2_vl.modeling_qwen2_vl import VisionAttention, apply_rotary_pos_emb_vision

M = TypeVar("M", bound=torch.nn.Module)


def quicken(model: M) -> M:
    """Changes a Qwen2-VL model in place, and returns it; any other model stays as it is."""
    if model.config.model_type == "qwen2_vl":
        model.set_attn_implementation("sdpa_float")
        for module in model.modules():
            if isinstance(module, VisionAttention):
                module.forward = MethodType(_attention_of_views, module)
    return model


def _attention_in_float(module, query, key, value, *args, **kwargs):
    with torch.autocast(query.device.type, enabled=False):
        out, weights = sdpa_attention_forward(module, query.float(), key.float(), value.float(), *args, **kwargs)
    return out.to(query.dtype), weights


AttentionInterface.register("sdpa_float", _attention_in_float)
AttentionMaskInterface.register("sdpa_float", sdpa_mask)


def _attention_of_views(self, hidden_states, cu_seqlens, position_embeddings=None, **kwargs):
    """(patches of all views, width) -> the same shape. Views of several sizes go the plain way."""
    lengths = cu_seqlens.diff()
    if lengths.unique().numel() != 1:
        return VisionAttention.forward(self, hidden_states, cu_seqlens, position_embeddings=position_embeddings, **kwargs)
    views, length = len(lengths), int(lengths[0])
    q, k, v = self.qkv(hidden_states).view(-1, 3, self.num_heads, self.head_dim).unbind(1)
    q, k = apply_rotary_pos_emb_vision(q, k, *position_embeddings)
    q, k, v = (x.reshape(views, length, self.num_heads, -1).transpose(1, 2) for x in (q, k, v))
    with torch.autocast(q.device.type, enabled=False):
        out = scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=self.scaling)
    return self.proj(out.transpose(1, 2).reshape(views * length, -1).to(hidden_states.dtype))
