"""Language models that decode token by token: the tokens are CPU's, and no token needs device programs of its own."""

from __future__ import annotations

import itertools

import pytest
import torch

import ttreg

transformers = pytest.importorskip("transformers")

TOKENS = 10
WORDS = torch.tensor([[0, 0, 5, 9, 30], [1, 8, 44, 3, 12]])


def llama():
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    sizes = {"vocab_size": 90, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads, pad_token_id=0))


def gpt2():
    sizes = {"vocab_size": 90, "n_embd": 64, "n_layer": 1, "n_head": 2, "n_positions": 128}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=1, eos_token_id=2))


MODELS = {"Llama": llama, "GPT-2": gpt2}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


def generated(model, words, before_each=lambda *_: None, **options):
    hook = model.register_forward_pre_hook(before_each)
    try:
        return model.generate(
            words,
            attention_mask=(words > 0).long(),
            max_new_tokens=TOKENS,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
            **options,
        )
    finally:
        hook.remove()


def in_a_loop(model, words, before_each=lambda *_: None, tokens=TOKENS):
    cache, found = transformers.DynamicCache(), []
    with torch.no_grad():
        for _ in range(tokens):
            before_each()
            logits = model(words, past_key_values=cache, use_cache=True).logits[:, -1]
            words = logits.argmax(-1, keepdim=True)
            found.append(words)
    return torch.cat(found, 1)


def programs_of_each(run, **keywords):
    """What `run` gives, and how many programs are new at each step."""
    counts = []
    with ttreg.device_mode(device="emulated", validate=True, **keywords) as session:
        chip = session.device._mock.tt.device
        made = run(lambda *_: counts.append(chip.num_program_cache_entries()))
        counts.append(chip.num_program_cache_entries())
        calls = session.report().buckets.calls
    return made, [later - earlier for earlier, later in itertools.pairwise(counts)], calls


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"words": WORDS[1:]}], ids=["padded", "beams", "one"])
def test_generate(model, options):
    words = options.get("words", WORDS)
    options = {name: value for name, value in options.items() if name != "words"}
    wanted = generated(model, words, **options)
    made, programs, calls = programs_of_each(lambda note: generated(model, words, note, **options))
    assert torch.equal(made.sequences, wanted.sequences)
    for one, other in zip(made.logits, wanted.logits, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert calls >= 2 * (TOKENS - 2)
    assert sum(programs[3:]) == 0


def test_a_loop(model):
    words = WORDS[1:].repeat(1, 5)
    wanted = in_a_loop(model, words)
    made, programs, _ = programs_of_each(lambda note: in_a_loop(model, words, note), buckets=32)
    assert torch.equal(made, wanted)
    # Once the first 32 rows are full, programs for 64 are new.
    assert 0 < sum(programs[3:]) <= 16
    assert sum(map(bool, programs[3:])) == 1


def test_each_token_needs_programs_without_room(model):
    _, programs, calls = programs_of_each(lambda note: in_a_loop(model, WORDS[1:], note, tokens=6), buckets="off")
    assert calls == 0
    assert sum(map(bool, programs[2:])) >= 3


def test_attention_of_two_queries_at_once(model):
    """A few tokens after a cache that was decoded one by one, as in assisted decoding."""

    def program():
        cache, found = transformers.DynamicCache(), []
        with torch.no_grad():
            for words in (WORDS, WORDS[:, :1], WORDS[:, 1:2], WORDS[:, 2:5], WORDS[:, :1]):
                found.append(model(words, past_key_values=cache, use_cache=True).logits)
            cache.crop(-3)
            found.append(model(WORDS[:, 1:3], past_key_values=cache, use_cache=True).logits)
        return found

    wanted = program()
    with ttreg.device_mode(device="emulated", min_upload_numel=0):
        made = program()
    for one, other in zip(made, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
