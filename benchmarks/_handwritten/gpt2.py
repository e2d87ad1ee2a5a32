"""GPT-2, token by token, with a cache of keys and values."""

from __future__ import annotations

from typing import Any

import torch

from .layers import Cache, Embedding, Heads, LayerNorm, Linear, Place, Value, masks


class Gpt2:
    """transformers' GPT2LMHeadModel: the scores of the next token after each of those given."""

    def __init__(self, place: Place, model: Any, length: int):
        self.place, body = place, model.transformer
        self.words, self.positions = Embedding(place, body.wte.weight), Embedding(place, body.wpe.weight)
        self.places = [self.positions.index(torch.tensor([position])) for position in range(length)]
        self.masks = masks(place, length)
        self.layers = [Layer(place, layer, length) for layer in body.h]
        self.norm, self.head = LayerNorm(place, body.ln_f), Linear.of(place, model.lm_head)

    def __call__(self, *tokens: torch.Tensor) -> list[torch.Tensor]:
        scores = [self.step(token, position) for position, token in enumerate(tokens)]
        return [self.place.download(value) for value in scores]

    def step(self, token: torch.Tensor, position: int) -> Value:
        """The scores of the token after this one."""
        words, places = self.words(self.words.index(token)), self.positions(self.places[position])
        x = self.place.tt.add(words, places)
        for layer in self.layers:
            x = layer(x, position, self.masks[position])
        return self.head(self.norm(x))


class Layer:
    """Attention, then two products with GELU between them; a norm before each."""

    def __init__(self, place: Place, layer: Any, length: int):
        attention, mlp = layer.attn, layer.mlp
        self.place, heads = place, Heads(place, attention.num_heads, attention.num_heads, attention.head_dim)
        self.heads, self.cache = heads, Cache(place, heads, length)
        # Their weights lie transposed, in PyTorch's eyes.
        self.projections, self.output, self.wider, self.narrower = (
            Linear(place, module.weight.T, module.bias)
            for module in (attention.c_attn, attention.c_proj, mlp.c_fc, mlp.c_proj)
        )
        self.attention_norm, self.norm = LayerNorm(place, layer.ln_1), LayerNorm(place, layer.ln_2)

    def __call__(self, x: Value, position: int, mask: Value) -> Value:
        tt, heads = self.place.tt, self.heads
        query, key, value = heads.of_three(self.projections(self.attention_norm(x)))
        keys, values = self.cache.update(key, value, position)
        x = tt.add(self.output(heads.together(heads.attend(query, keys, values, mask))), x)
        wide = tt.gelu(self.wider(self.norm(x)), variant=tt.GeluVariant.Tanh)
        return tt.add(x, self.narrower(wide))
