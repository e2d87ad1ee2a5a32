"""transformers' pipelines over texts, whole, with small seeded models: the device's answers are the CPU's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytestmark = pytest.mark.xdist_group("transformers")
long = pytest.mark.long

MASKED = ["Leaves are [MASK].", "The [MASK] leaves from platform nine.", "She [MASK] bread with patience."]
CUT = {"truncation": True, "max_length": 8}
ANSWERS = ("What is green?", "Who bakes bread?", "Where does the train leave from?")
GREEDY = {"do_sample": False, "max_new_tokens": 6}
SAMPLED = {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "max_new_tokens": 6}

# Task, network, batch size, options; texts of five lengths each.
LABELLED = [
    ("text-classification", "BertForSequenceClassification", 3, {"padding": True, "top_k": None}),
    pytest.param("text-classification", "BertForSequenceClassification", 1, {}, marks=long),
    pytest.param("text-classification", "DistilBertForSequenceClassification", 1, {**CUT, "padding": True}, marks=long),
    pytest.param("text-classification", "AlbertForSequenceClassification", 3, {"padding": "max_length"}, marks=long),
    pytest.param("text-classification", "DebertaV2ForSequenceClassification", 3, CUT, marks=long),
    ("token-classification", "ElectraForTokenClassification", 3, {}),
    pytest.param("token-classification", "ElectraForTokenClassification", 1, {}, marks=long),
    pytest.param("token-classification", "BertForTokenClassification", 3, {"aggregation_strategy": "max"}, marks=long),
    ("fill-mask", "RobertaForMaskedLM", 3, {}),
    pytest.param("fill-mask", "RobertaForMaskedLM", 1, {"top_k": 2, "targets": ["green", "bread"]}, marks=long),
    pytest.param("feature-extraction", "MPNetModel", 3, {"return_tensors": True}, marks=long),
    pytest.param("feature-extraction", "MPNetModel", 1, {"tokenize_kwargs": CUT}, marks=long),
]


def pipeline(small: Any, task: str, network: str) -> Any:
    from transformers import pipeline

    labels = {"num_labels": 4} if "Classification" in network else {}
    return pipeline(task, model=small.encoder(network, **labels), tokenizer=small.word_pieces())


def generator(small: Any, network: str) -> Any:
    from transformers import pipeline

    return pipeline("text-generation", model=getattr(small, network)(), tokenizer=small.byte_pairs())


@pytest.mark.parametrize(("task", "network", "batch_size", "options"), LABELLED)
def test_texts(small, beside_cpu, task, network, batch_size, options):
    pipe = pipeline(small, task, network)
    texts = MASKED if task == "fill-mask" else list(small.TEXTS)
    beside_cpu(lambda: pipe(texts, batch_size=batch_size, **options), networks=[pipe.model])


@long
@pytest.mark.parametrize("together", [True, False])
def test_questions(small, beside_cpu, together):
    model, tokenizer = small.encoder("BertForQuestionAnswering"), small.word_pieces()
    texts = [small.TEXTS[place] for place in (1, 3, 0)]

    def answers(questions, contexts):
        inputs = tokenizer(questions, contexts, padding=True, truncation="only_second", return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        spans = zip(inputs.input_ids, outputs.start_logits.argmax(-1), outputs.end_logits.argmax(-1), strict=True)
        found = [tokenizer.decode(ids[min(start, end) : max(start, end) + 1]) for ids, start, end in spans]
        return found, outputs.start_logits, outputs.end_logits

    def program():
        if together:
            return answers(list(ANSWERS), texts)
        return [answers([question], [text]) for question, text in zip(ANSWERS, texts, strict=True)]

    beside_cpu(program, networks=[model])


GENERATED = [
    ("llama", 3, GREEDY),
    ("gpt2", 3, {**SAMPLED, "cache_implementation": "static"}),
    pytest.param("gpt2", 3, GREEDY, marks=long),
    pytest.param("gpt2", 1, {**GREEDY, "use_cache": False}, marks=long),
    pytest.param("gpt2", 1, {**GREEDY, "cache_implementation": "static", "max_new_tokens": 32}, marks=long),
    pytest.param("gpt2", 3, {**SAMPLED, "num_return_sequences": 2}, marks=long),
    pytest.param("llama", 1, {**GREEDY, "max_new_tokens": 24}, marks=long),
    pytest.param("llama", 3, {**GREEDY, "cache_implementation": "static", "max_new_tokens": 12}, marks=long),
    pytest.param("llama", 3, {**SAMPLED, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2}, marks=long),
]


@pytest.mark.parametrize(("network", "batch_size", "options"), GENERATED)
def test_generation(small, beside_cpu, network, batch_size, options):
    pipe = generator(small, network)

    def program():
        torch.manual_seed(0)
        return pipe(list(small.TEXTS[:3]), batch_size=batch_size, return_tensors=True, **options)

    beside_cpu(program, networks=[pipe.model])


@long
@pytest.mark.parametrize("network", ["gpt2", "llama"])
def test_a_text_that_grows_with_each_call(small, beside_cpu, network):
    pipe = generator(small, network)

    def program():
        text = small.TEXTS[1]
        for _ in range(3):
            text = pipe(text, **GREEDY)[0]["generated_text"]
        return text

    beside_cpu(program, networks=[pipe.model])


NETWORKS = {
    "BertForSequenceClassification": "text-classification",
    "DistilBertForSequenceClassification": "text-classification",
    "AlbertForSequenceClassification": "text-classification",
    "DebertaV2ForSequenceClassification": "text-classification",
    "ElectraForTokenClassification": "token-classification",
    "RobertaForMaskedLM": "fill-mask",
    "MPNetModel": "feature-extraction",
}


@long
@pytest.mark.parametrize("network", NETWORKS)
def test_validated(small, beside_cpu, network):
    pipe = pipeline(small, NETWORKS[network], network)
    report = beside_cpu(lambda: pipe(MASKED[0]), networks=[pipe.model], validate=True)
    assert report.device.validated


@long
@pytest.mark.parametrize("network", ["gpt2", "llama"])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generation_validated(small, beside_cpu, network, cache):
    pipe = generator(small, network)
    options = {**GREEDY, "max_new_tokens": 3, "cache_implementation": cache}
    # A cache that would be below the default's 1024 elements stays on the host, and so do the writes to it.
    keywords = {"validate": True, "min_upload_numel": 0}
    beside_cpu(lambda: pipe(small.TEXTS[1], **options), networks=[pipe.model], **keywords)


def classified(small):
    pipe = pipeline(small, "text-classification", "BertForSequenceClassification")
    return pipe, lambda: pipe(small.TEXTS[0])


def test_texts_of_unequal_length_without_padding(small, fails_as_on_cpu):
    pipe, then = classified(small)

    def program():
        return pipe.model(**pipe.tokenizer(list(small.TEXTS), return_tensors="pt"))

    fails_as_on_cpu(program, ValueError, then)
    with pytest.raises(ValueError, match="Unable to create tensor, you should probably activate truncation and/or pad"):
        program()


FAULTS = {
    "a number": (lambda pipe: pipe(7), ValueError),
    "None": (lambda pipe: pipe(None), ValueError),
    "a list with a number": (lambda pipe: pipe(["Leaves are green.", 7]), ValueError),
    "an unknown function": (lambda pipe: pipe("Leaves", function_to_apply="none such"), KeyError),
    "too long": (lambda pipe: pipe("bread " * 60), (IndexError, RuntimeError)),
}


@long
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_classified(small, fails_as_on_cpu, fault):
    pipe, then = classified(small)
    program, kind = FAULTS[fault]
    fails_as_on_cpu(lambda: program(pipe), kind, then)


def test_more_tokens_than_positions(small, fails_as_on_cpu):
    pipe = generator(small, "gpt2")
    fails_as_on_cpu(lambda: pipe("bread " * 80, **GREEDY), IndexError, lambda: pipe("Leaves", **GREEDY))


@long
@pytest.mark.parametrize("text", ["", "Leaves are green."])
def test_a_text_without_a_mask(small, fails_as_on_cpu, text):
    from transformers.pipelines import PipelineException

    pipe = pipeline(small, "fill-mask", "RobertaForMaskedLM")
    fails_as_on_cpu(lambda: pipe(text), PipelineException, lambda: pipe(MASKED[0]))
