"""The same Qwen2-VL model, faster on a CPU: all views of a batch in one attention call, attention
that suits bfloat16 autocast, what stands between matrix products in few passes over memory, and
LoRA in one matrix product.

transformers calls attention once a view and layer, and the bfloat16 backward of torch's fused
attention is several times slower than float32's, where matrix products are several times faster. So
text in training is attended to by matrix products in bfloat16, as far as their results can be kept,
and all else by the fused attention in float32. peft multiplies by the thin matrices of LoRA one
after the other, which is slow for its few operations.
"""

import functools
from types import MethodType
from typing import TypeVar

import torch
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VLRMSNorm,
    VisionAttention,
    apply_rotary_pos_emb_vision,
)

_KEPT = 2**24  # attention weights that a layer keeps for its backward pass, at most

M = TypeVar("M", bound=torch.nn.Module)


def quicken(model: M) -> M:
    """Changes a Qwen2-VL model in place, and returns it; any other model stays as it is."""
    if model.config.model_type == "qwen2_vl":
        model.set_attn_implementation("sdpa_float")
        layers, forward = model.model.language_model.layers, model.forward
        for module in model.modules():
            if isinstance(module, VisionAttention):
                module.forward = MethodType(_attention_of_views, module)
            elif isinstance(module, Qwen2VLRMSNorm):
                module.forward = MethodType(_normed, module)
        for layer in layers:
            layer.forward = MethodType(_layer if layer is layers[-1] else _inner_layer, layer)

        @functools.wraps(forward)  # generate looks at its signature
        def telling(*args, logits_to_keep=0, **kwargs):
            columns = (
                {"columns": logits_to_keep}
                if isinstance(logits_to_keep, int) and logits_to_keep
                else {}
            )
            return forward(*args, logits_to_keep=logits_to_keep, **columns, **kwargs)

        model.forward = telling
    return model


def _inner_layer(self, hidden_states, columns=0, **kwargs):
    """The next layer reads all columns, whichever logits are wanted."""
    return _layer(self, hidden_states, **kwargs)


def _layer(
    self,
    hidden_states,
    attention_mask=None,
    past_key_values=None,
    position_embeddings=None,
    columns=0,
    **kwargs,
):
    """(rows, tokens, width) -> (rows, columns, width): the layer reads all tokens, and computes the
    last `columns` alone; 0 = all.
    """
    if past_key_values is not None:
        named = {
            "attention_mask": attention_mask,
            "past_key_values": past_key_values,
            "position_embeddings": position_embeddings,
        }
        return type(self).forward(self, hidden_states, **named, **kwargs)
    tokens = hidden_states.shape[1]
    attention, normed, asked = (
        self.self_attn,
        self.input_layernorm(hidden_states),
        slice(-columns, None),
    )
    cos, sin = (
        x[:, :, None, : attention.head_dim // 2] for x in position_embeddings
    )  # the other half is the same
    turn = torch.complex(cos.float(), sin.float())
    q, k, v = attention.q_proj(normed[:, asked]), attention.k_proj(normed), attention.v_proj(normed)
    q, k, v = (x.unflatten(-1, (-1, attention.head_dim)) for x in (q, k, v))
    if columns:
        attention_mask = (_causal(tokens, q.device) if attention_mask is None else attention_mask)[
            :, :, asked
        ]
    heads = (
        x.transpose(1, 2) for x in (_Turned.apply(q, turn[:, asked]), _Turned.apply(k, turn), v)
    )
    out = _attended(attention, *heads, attention_mask)
    hidden_states = hidden_states[:, asked] + attention.o_proj(out.flatten(2))
    return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


def _causal(tokens: int, device: torch.device) -> torch.Tensor:
    return torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()[None, None]


def _attended(module, q, k, v, mask) -> torch.Tensor:
    """q (rows, heads, columns, width), k and v (rows, heads or fewer, tokens, width), mask (rows or 1, 1, columns, tokens), None = causal
    -> (rows, columns, heads, width).
    """
    dropout = module.attention_dropout if module.training else 0.0
    if q.dtype == torch.float32 or dropout or q.shape[:-1].numel() * k.shape[2] > _KEPT:
        return _attention_in_float(module, q, k, v, mask, scaling=module.scaling, dropout=dropout)[
            0
        ]
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    mask = _causal(k.shape[2], q.device) if mask is None else mask
    return _Attended.apply(q, k, v, mask, module.scaling).transpose(1, 2)


class _Attended(torch.autograd.Function):
    """softmax(scaling q k^T) v by matrix products in the precision of q. The weights are kept for
    the backward pass; torch's fused one recomputes them.
    """

    @staticmethod
    def forward(ctx, q, k, v, mask, scaling):
        shape = q.shape
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
        weights = torch.baddbmm(q.new_empty(()), q, k.mT, beta=0, alpha=scaling)
        # Not -inf: a fully masked row, of padding, would be NaN. With finfo.min it is uniform, and
        # nothing reads it.
        weights.unflatten(0, shape[:2]).masked_fill_(~mask, torch.finfo(q.dtype).min)
        weights = weights.softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scaling = scaling
        return (weights @ v).view(shape)

    @staticmethod
    def backward(ctx, given):
        q, k, v, weights = ctx.saved_tensors
        shape, given = given.shape[:2], given.flatten(0, 1)
        of_scores = torch._softmax_backward_data(given @ v.mT, weights, -1, weights.dtype)
        of_q = torch.baddbmm(q.new_empty(()), of_scores, k, beta=0, alpha=ctx.scaling)
        of_k = torch.baddbmm(q.new_empty(()), of_scores.mT, q, beta=0, alpha=ctx.scaling)
        return *(x.unflatten(0, shape) for x in (of_q, of_k, weights.mT @ given)), None, None


class _Turned(torch.autograd.Function):
    """Rotary embedding (Su et al., "RoFormer", 2021) as a product of complex numbers: x (rows,
    tokens, heads, width) in two halves, turn (rows, tokens, 1, width / 2) -> the same shape, with
    real and imaginary parts by turns. That is another order than transformers', which attention
    does not see, as queries and keys have the same.
    """

    @staticmethod
    def forward(ctx, x, turn):
        ctx.save_for_backward(turn)
        ctx.dtype = x.dtype
        return (
            torch.view_as_real(torch.complex(*x.float().chunk(2, -1)).mul_(turn))
            .flatten(-2)
            .to(x.dtype)
        )

    @staticmethod
    def backward(ctx, given):
        (turn,) = ctx.saved_tensors
        back = (
            torch.view_as_complex(given.float().contiguous().unflatten(-1, (-1, 2))) * turn.conj()
        )
        return torch.cat([back.real, back.imag], -1).to(ctx.dtype), None


def _normed(self, x):
    """(..., width) -> the same shape, in the precision of the matrix product that follows."""
    if not torch.is_grad_enabled():
        return type(self).forward(self, x)
    return _Normed.apply(x, self.weight, self.variance_epsilon, _precision(x))


class _Normed(torch.autograd.Function):
    """RMSNorm (Zhang and Sennrich, 2019), x / sqrt(mean x^2 + epsilon) * weight, in float32."""

    @staticmethod
    def forward(ctx, x, weight, epsilon, dtype):
        ctx.dtype, x = x.dtype, x.float()
        scale = (
            torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            .square_()
            .div_(x.shape[-1])
            .add_(epsilon)
            .rsqrt_()
        )
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx, given):
        x, weight, scale = ctx.saved_tensors
        unit, given = x * scale, given.float()
        of_weight = (
            (given * unit).flatten(0, -2).sum(0).to(weight.dtype)
            if ctx.needs_input_grad[1]
            else None
        )
        given = given * weight
        mean = torch.linalg.vecdot(unit, given).unsqueeze(-1).div_(x.shape[-1])
        return given.addcmul_(unit, mean, value=-1).mul_(scale).to(ctx.dtype), of_weight, None, None


def _precision(x: torch.Tensor) -> torch.dtype:
    """Of matrix products."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def join_lora(network: M) -> M:
    """The same for a peft model in training: a layer multiplies by W + s B A, as it is after a
    merge (Hu et al., "LoRA", 2021, 4.1). For one adapter without biases or other extras, as
    `trainer` makes it.
    """
    from peft.tuners.lora import Linear

    for module in network.modules():
        if isinstance(module, Linear):
            (name,) = module.active_adapters
            if isinstance(module.lora_dropout[name], torch.nn.Identity):
                module.forward = MethodType(_joined, module)
    return network


def _joined(self, x):
    (name,) = self.active_adapters
    a, b, x = self.lora_A[name].weight, self.lora_B[name].weight, x.to(_precision(x))
    with torch.autocast(x.device.type, enabled=False):
        return _Joined.apply(
            x, self.base_layer.weight, self.base_layer.bias, a, b, self.scaling[name]
        )


class _Joined(torch.autograd.Function):
    """x (..., in) -> x (W + s B A)^T + bias. The gradients of A (r, in) and B (out, r) need none of
    W's, which takes (in x out) / (2 r (in + out)) times their operations.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scale):
        joined = torch.addmm(weight, b, a, alpha=scale).to(x.dtype)
        ctx.save_for_backward(x, joined, a, b)
        ctx.scale = scale
        return linear(x, joined, bias if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx, given):
        x, joined, a, b = ctx.saved_tensors
        of_x = given @ joined if ctx.needs_input_grad[0] else None
        x, given = x.flatten(0, -2), given.flatten(0, -2)
        of_b = given.T @ (x @ a.to(x.dtype).T)
        of_a = (given @ b.to(x.dtype)).T @ x
        return of_x, None, None, of_a.to(a.dtype) * ctx.scale, of_b.to(b.dtype) * ctx.scale, None


def _attention_in_float(module, query, key, value, *args, **kwargs):
    with torch.autocast(query.device.type, enabled=False):
        out, weights = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), *args, **kwargs
        )
    return out.to(query.dtype), weights


AttentionInterface.register("sdpa_float", _attention_in_float)
AttentionMaskInterface.register("sdpa_float", sdpa_mask)


def _attention_of_views(self, hidden_states, cu_seqlens, position_embeddings=None, **kwargs):
    """(patches of all views, width) -> the same shape. Views of several sizes go the plain way."""
    lengths = cu_seqlens.diff()
    if lengths.unique().numel() != 1:
        return VisionAttention.forward(
            self, hidden_states, cu_seqlens, position_embeddings=position_embeddings, **kwargs
        )
    views, length = len(lengths), int(lengths[0])
    q, k, v = self.qkv(hidden_states).view(-1, 3, self.num_heads, self.head_dim).unbind(1)
    q, k = apply_rotary_pos_emb_vision(q, k, *position_embeddings)
    q, k, v = (x.reshape(views, length, self.num_heads, -1).transpose(1, 2) for x in (q, k, v))
    with torch.autocast(q.device.type, enabled=False):
        out = scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=self.scaling)
    return self.proj(out.transpose(1, 2).reshape(views * length, -1).to(hidden_states.dtype))
