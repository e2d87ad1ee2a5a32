"""A language model generates with a static cache; each token after the first few replays the recorded ttnn calls."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, StaticCache

import ttreg

TOKENS = 24

torch.manual_seed(0)
sizes = {"n_layer": 2, "n_embd": 128, "n_head": 4, "vocab_size": 1000, "bos_token_id": 0, "eos_token_id": 0}
model = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.2)).eval()


def generate(step, cache, first=7):
    """Greedy decoding: the likeliest token, which the host reads, is the next input."""
    cache.reset()
    tokens = [first]
    while len(tokens) < TOKENS:
        tokens.append(int(step(torch.tensor([[tokens[-1]]]))))
    return tokens


def decoder(cache):
    """A step of the decoding, which writes to the cache.

    It returns the token as a tensor, which is read outside: within, each new number would be a path of its own.
    """
    return lambda token: model(token, past_key_values=cache, use_cache=True).logits[0, -1].argmax()


with torch.no_grad():
    cache = StaticCache(config=model.config, max_cache_len=TOKENS)
    expected = generate(decoder(cache), cache)
    with ttreg.device_mode(device="emulated") as session:
        cache = StaticCache(config=model.config, max_cache_len=TOKENS)
        step = session.record(decoder(cache))
        found = generate(step, cache)
        assert generate(step, cache) == found  # the same recording, with an emptied cache

assert found == expected, (found, expected)
print("tokens:", *found)
print(f"{step.counts.recordings} recording, {step.counts.replays} replays of {2 * TOKENS - 2} calls")
print(session.report())
