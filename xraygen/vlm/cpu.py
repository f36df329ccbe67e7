"""The same Qwen2-VL model, faster on a CPU: all views of a batch in one attention call, attention in float32 under bfloat16
autocast, and LoRA in one matrix product.

transformers calls attention once a view and layer, and the bfloat16 backward of attention is several times slower than float32's
where matrix products are several times faster. peft multiplies by the thin matrices of LoRA one after the other, which is slow for its
few operations.
"""

import functools
from types import MethodType
from typing import TypeVar

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.qwen2_vl.modeling_qwen2_vl import VisionAttention, apply_rotary_pos_emb_vision, rotate_half

M = TypeVar("M", bound=torch.nn.Module)


def quicken(model: M) -> M:
    """Changes a Qwen2-VL model in place, and returns it; any other model stays as it is."""
    if model.config.model_type == "qwen2_vl":
        model.set_attn_implementation("sdpa_float")
        for module in model.modules():
            if isinstance(module, VisionAttention):
                module.forward = MethodType(_attention_of_views, module)
        last, forward = model.model.language_model.layers[-1], model.forward
        last.forward = MethodType(_last_columns, last)

        @functools.wraps(forward)  # generate looks at its signature
        def telling(*args, logits_to_keep=0, **kwargs):
            columns = {"columns": logits_to_keep} if isinstance(logits_to_keep, int) and logits_to_keep else {}
            return forward(*args, logits_to_keep=logits_to_keep, **columns, **kwargs)

        model.forward = telling
    return model


def _last_columns(
    self, hidden_states, attention_mask=None, past_key_values=None, position_embeddings=None, columns=0, **kwargs
):
    """(rows, tokens, width) -> (rows, columns, width) where logits are wanted of the last columns alone: the last layer reads all
    tokens, and computes no more than these."""
    rows, tokens, _ = hidden_states.shape
    if not 0 < columns < tokens or past_key_values is not None:
        named = {"attention_mask": attention_mask, "past_key_values": past_key_values, "position_embeddings": position_embeddings}
        return type(self).forward(self, hidden_states, **named, **kwargs)
    attention, normed, asking = self.self_attn, self.input_layernorm(hidden_states), slice(-columns, None)
    q, k, v = attention.q_proj(normed[:, asking]), attention.k_proj(normed), attention.v_proj(normed)
    q, k, v = (x.view(rows, x.shape[1], -1, attention.head_dim).transpose(1, 2) for x in (q, k, v))
    cos, sin = (x.unsqueeze(1) for x in position_embeddings)
    q = q * cos[:, :, asking] + rotate_half(q) * sin[:, :, asking]
    k = k * cos + rotate_half(k) * sin
    if attention_mask is None:
        attention_mask = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).tril()[None, None]
    out, _ = _attention_in_float(attention, q, k, v, attention_mask[:, :, asking], scaling=attention.scaling)
    hidden_states = hidden_states[:, asking] + attention.o_proj(out.reshape(rows, columns, -1))
    return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


def join_lora(network: M) -> M:
    """The same for a peft model in training: a layer multiplies by W + s B A, as it is after a merge (Hu et al., "LoRA", 2021, 4.1)."""
    from peft.tuners.lora import Linear

    for module in network.modules():
        if isinstance(module, Linear):
            (name,) = module.active_adapters
            if isinstance(module.lora_dropout[name], torch.nn.Identity):
                module.forward = MethodType(_joined, module)
    return network


def _joined(self, x):
    (name,) = self.active_adapters
    base = self.base_layer
    with torch.autocast(x.device.type, enabled=False):
        weight = torch.addmm(base.weight, self.lora_B[name].weight, self.lora_A[name].weight, alpha=self.scaling[name])
    return torch.nn.functional.linear(x, weight, base.bias)


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
