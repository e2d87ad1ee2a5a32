"""Llama, token by token, with a cache of keys and values that several heads of queries share."""

from __future__ import annotations

from typing import Any

import torch

from .layers import Cache, Embedding, Heads, Linear, Place, Value, masks


class Llama:
    """transformers' LlamaForCausalLM: the scores of the next token after each of those given."""

    def __init__(self, place: Place, model: Any, length: int):
        self.place, body = place, model.model
        self.words, self.masks = Embedding(place, body.embed_tokens.weight), masks(place, length)
        angles = torch.outer(torch.arange(length).float(), body.rotary_emb.inv_freq).repeat(1, 2)
        self.turns = [(place.row(cos), place.row(sin)) for cos, sin in zip(angles.cos(), angles.sin(), strict=True)]
        self.layers = [Layer(place, layer, length) for layer in body.layers]
        self.norm, self.head = RmsNorm(place, body.norm), Linear.of(place, model.lm_head)

    def __call__(self, *tokens: torch.Tensor) -> list[torch.Tensor]:
        scores = [self.step(token, position) for position, token in enumerate(tokens)]
        return [self.place.download(value) for value in scores]

    def step(self, token: torch.Tensor, position: int) -> Value:
        """The scores of the token after this one."""
        x = self.words(self.words.index(token))
        for layer in self.layers:
            x = layer(x, position, self.turns[position], self.masks[position])
        return self.head(self.norm(x))


class RmsNorm:
    """Rows by the root of their mean square, in one call."""

    def __init__(self, place: Place, module: Any):
        self.place, self.epsilon = place, module.variance_epsilon
        self.weight = place.upload(module.weight.reshape(1, -1))

    def __call__(self, x: Value) -> Value:
        accurate = self.place.accurate
        return self.place.tt.rms_norm(x, epsilon=self.epsilon, weight=self.weight, compute_kernel_config=accurate)


class Layer:
    """Attention with rotated queries and keys, then a product that another one gates; a norm before each."""

    def __init__(self, place: Place, layer: Any, length: int):
        attention, mlp = layer.self_attn, layer.mlp
        self.place, self.size = place, attention.head_dim
        count = attention.q_proj.out_features // self.size
        self.heads = Heads(place, count, count // attention.num_key_value_groups, self.size)
        self.cache = Cache(place, self.heads, length)
        self.query, self.key, self.value, self.output = (
            Linear.of(place, module)
            for module in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        )
        self.gate, self.up, self.down = (
            Linear.of(place, module) for module in (mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        )
        self.attention_norm = RmsNorm(place, layer.input_layernorm)
        self.norm = RmsNorm(place, layer.post_attention_layernorm)

    def __call__(self, x: Value, position: int, turn: tuple[Value, Value], mask: Value) -> Value:
        tt = self.place.tt
        attended = self.output(self.attended(self.attention_norm(x), position, turn, mask))
        x = tt.add(x, attended)
        rows = self.norm(x)
        return tt.add(x, self.down(tt.multiply(tt.silu(self.gate(rows)), self.up(rows))))

    def attended(self, rows: Value, position: int, turn: tuple[Value, Value], mask: Value) -> Value:
        """What the token takes of itself and those before it."""
        tt, heads, accurate = self.place.tt, self.heads, self.place.accurate
        query = heads.of_one(self.query(rows), heads.heads)
        key, value = (heads.of_one(linear(rows), heads.key_heads) for linear in (self.key, self.value))
        turned = tt.experimental.rotary_embedding_hf
        query, key = (turned(each, *turn, compute_kernel_config=accurate) for each in (query, key))
        keys, values = self.cache.update(key, value, position)
        # Heads that share keys lie below each other, so that no key is repeated.
        shared = tt.reshape(query, [1, heads.key_heads, heads.heads // heads.key_heads, self.size])
        found = heads.attend(shared, keys, values, mask)
        return heads.together(tt.reshape(found, [1, heads.heads, 1, self.size]))
