"""BERT: words, types and positions looked up, and layers of attention and two products."""

from __future__ import annotations

from typing import Any

import torch

from .layers import Embedding, Heads, LayerNorm, Linear, Place, Value


class Bert:
    """transformers' BertModel over one sequence of a fixed length: its last hidden state, and what is pooled of it."""

    def __init__(self, place: Place, model: Any, length: int):
        self.place, embeddings = place, model.embeddings
        tables = (embeddings.word_embeddings, embeddings.token_type_embeddings, embeddings.position_embeddings)
        self.words, self.types, self.positions = (Embedding(place, table.weight) for table in tables)
        self.type_index = self.types.index(torch.zeros(length, dtype=torch.int64))
        self.position_index = self.positions.index(torch.arange(length))
        self.norm = LayerNorm(place, embeddings.LayerNorm)
        self.layers = [Layer(place, layer) for layer in model.encoder.layer]
        self.pooler = Linear.of(place, model.pooler.dense)

    def __call__(self, ids: torch.Tensor) -> list[torch.Tensor]:
        tt = self.place.tt
        words = self.words(self.words.index(ids))
        embedded = tt.add(tt.add(words, self.types(self.type_index)), self.positions(self.position_index))
        x = self.norm(embedded)
        for layer in self.layers:
            x = layer(x)
        first = tt.slice(x, [0, 0, 0, 0], [1, 1, 1, x.shape[-1]])
        return [self.place.download(value) for value in (x, tt.tanh(self.pooler(first)))]


class Layer:
    """Attention, then two products with GELU between them; a norm after each."""

    def __init__(self, place: Place, layer: Any):
        attention, output = layer.attention.self, layer.attention.output
        heads = attention.num_attention_heads
        self.place, self.heads = place, Heads(place, heads, heads, attention.attention_head_size)
        self.query, self.key, self.value = (
            Linear.of(place, module) for module in (attention.query, attention.key, attention.value)
        )
        self.output, self.attention_norm = Linear.of(place, output.dense), LayerNorm(place, output.LayerNorm)
        self.wider, self.narrower = Linear.of(place, layer.intermediate.dense), Linear.of(place, layer.output.dense)
        self.norm = LayerNorm(place, layer.output.LayerNorm)

    def __call__(self, x: Value) -> Value:
        tt, heads = self.place.tt, self.heads
        query, key, value = (heads.of_one(linear(x), heads.heads) for linear in (self.query, self.key, self.value))
        attended = self.output(heads.together(heads.attend(query, key, value)))
        x = self.attention_norm(tt.add(attended, x))
        wide = tt.gelu(self.wider(x), variant=tt.GeluVariant.Accurate)
        return self.norm(tt.add(self.narrower(wide), x))
