"""The Vision Transformer: an image's patches as a sequence, behind the token of its class."""

from __future__ import annotations

from typing import Any

import torch

from .images import Convolution, rows_of
from .layers import Heads, LayerNorm, Linear, Place, Value


class VisionTransformer:
    """torchvision's VisionTransformer over one image: the scores of its classes."""

    def __init__(self, place: Place, model: Any):
        self.place, self.size = place, model.image_size
        self.patches = Convolution(place, model.conv_proj)
        self.class_token = place.row(model.class_token)
        self.positions = place.upload(model.encoder.pos_embedding.unsqueeze(0))
        self.layers = [Layer(place, layer) for layer in model.encoder.layers]
        self.norm, self.head = LayerNorm(place, model.encoder.ln), Linear.of(place, model.heads.head)

    def __call__(self, image: torch.Tensor) -> list[torch.Tensor]:
        tt = self.place.tt
        patches, _ = self.patches(rows_of(self.place, image), (self.size, self.size))
        x = tt.add(tt.concat([self.class_token, patches], dim=2), self.positions)
        for layer in self.layers:
            x = layer(x)
        first = tt.slice(self.norm(x), [0, 0, 0, 0], [1, 1, 1, x.shape[-1]])
        return [self.place.download(self.head(first))]


class Layer:
    """Attention, then two products with GELU between them; a norm before each."""

    def __init__(self, place: Place, layer: Any):
        attention = layer.self_attention
        self.place, self.heads = place, Heads(place, layer.num_heads, layer.num_heads, attention.head_dim)
        self.projections = Linear(place, attention.in_proj_weight, attention.in_proj_bias)
        self.output = Linear.of(place, attention.out_proj)
        self.attention_norm, self.norm = LayerNorm(place, layer.ln_1), LayerNorm(place, layer.ln_2)
        self.wider, self.narrower = Linear.of(place, layer.mlp[0]), Linear.of(place, layer.mlp[3])

    def __call__(self, x: Value) -> Value:
        tt, heads = self.place.tt, self.heads
        query, key, value = heads.of_three(self.projections(self.attention_norm(x)))
        x = tt.add(self.output(heads.together(heads.attend(query, key, value))), x)
        wide = tt.gelu(self.wider(self.norm(x)), variant=tt.GeluVariant.Accurate)
        return tt.add(x, self.narrower(wide))
