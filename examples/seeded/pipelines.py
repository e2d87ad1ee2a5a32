"""Small seeded models for transformers pipelines, with tokenizers made on the spot: nothing is downloaded."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from skimage import data
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = (
    "The train to Vienna leaves from platform nine at a quarter past six every morning.",
    "Leaves are green.",
    "Many birds steer by the sun and the stars when they fly south in autumn.",
    "She baked bread with two cups of flour, a pinch of salt and a great deal of patience.",
    "This is a photo of a cat, a dog, a horse, bread, or a woman.",
)
LONGEST = 48  # tokens
SHARP = 0.3  # how far random weights spread: with less, labels and tokens would hang on rounding
END, START = "<|endoftext|>", "<|startoftext|>"


def seeded(model_class: Any, config: Any) -> Any:
    """A model with random weights, the same each time, in eval mode."""
    torch.manual_seed(0)
    model = model_class(config)
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():  # such as YOLOS's tokens, which would all detect the same
            torch.nn.init.normal_(parameter, std=1.0)
    return model.eval()


@functools.cache
def word_pieces() -> PreTrainedTokenizerFast:
    """BERT's kind of tokenizer: lower case, pieces of words, [CLS] and [SEP] around one text or two."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in special}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LONGEST, **names)


@functools.cache
def byte_pairs() -> PreTrainedTokenizerFast:
    """GPT-2's kind of tokenizer: pairs of bytes, nothing around a text, padding on the left."""
    tokenizer = _trained_on_bytes([END])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, padding_side="left"
    )


@functools.cache
def clip_tokenizer() -> transformers.CLIPTokenizer:
    """CLIP's own tokenizer, with a small vocabulary."""
    return transformers.CLIPTokenizer(**_vocabulary([START, END], suffix="</w>"), model_max_length=LONGEST)


@functools.cache
def whisper_tokenizer() -> transformers.WhisperTokenizer:
    """Whisper's own tokenizer, with a small vocabulary, two languages and time stamps of up to two seconds."""
    control = ["<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
    control += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer = transformers.WhisperTokenizer(**_vocabulary([END]), language="en", task="transcribe", pad_token=END)
    tokenizer.add_special_tokens({"additional_special_tokens": control})
    tokenizer.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(101)])
    return tokenizer


def _vocabulary(special: list[str], suffix: str = "") -> dict[str, Any]:
    model = json.loads(_trained_on_bytes(special, suffix).to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def _trained_on_bytes(special: list[str], suffix: str = "") -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=suffix))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700 if suffix else 400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix=suffix,
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.lower() for text in TEXTS] if suffix else TEXTS, trainer)
    return tokenizer


_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": SHARP,
}


def encoder(name: str, **more: Any) -> Any:
    """A small encoder of texts: the transformers class of that name, such as `BertForMaskedLM`."""
    kind = getattr(transformers, name)
    extra = {"pad_token_id": word_pieces().pad_token_id, "max_position_embeddings": LONGEST + 1}
    return seeded(kind, kind.config_class(vocab_size=len(word_pieces()), **_ENCODER, **extra, **more))


def gpt2() -> Any:
    """A small GPT-2: learned positions."""
    sizes = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": SHARP}
    return seeded(transformers.GPT2LMHeadModel, transformers.GPT2Config(**sizes, **_byte_pair_ids()))


def llama() -> Any:
    """A small Llama: rotary positions, and pairs of heads that share keys and values."""
    sizes = {**_ENCODER, "num_key_value_heads": 2, "max_position_embeddings": 64}
    return seeded(transformers.LlamaForCausalLM, transformers.LlamaConfig(**sizes, **_byte_pair_ids()))


def _byte_pair_ids() -> dict[str, int]:
    end = byte_pairs().eos_token_id
    return {"vocab_size": len(byte_pairs()), "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}


@functools.cache
def photographs() -> list[Image.Image]:
    """Three photographs of different sizes."""
    whole = [Image.fromarray(photograph) for photograph in (data.chelsea(), data.astronaut(), data.coffee())]
    return [image.resize(size) for image, size in zip(whole, [(113, 75), (64, 64), (90, 120)], strict=True)]


def vit() -> tuple[Any, Any]:
    """A small vision transformer for ten classes, and its image processor."""
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=10, **_ENCODER)
    return seeded(transformers.ViTForImageClassification, config), transformers.ViTImageProcessor(size=_square(32))


def resnet() -> tuple[Any, Any]:
    """A small ResNet for ten classes, and its image processor, which cuts out the centre."""
    config = transformers.ResNetConfig(**_BACKBONE, num_labels=10)
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 48}, crop_pct=0.875)
    return seeded(transformers.ResNetForImageClassification, config), processor


def detr() -> tuple[Any, Any]:
    """A small DETR on a ResNet, and its image processor, which keeps each image's proportions."""
    config = transformers.DetrConfig(
        backbone_config=transformers.ResNetConfig(**_BACKBONE, out_features=["stage4"]),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=12,
        num_labels=5,
        init_std=SHARP,
    )
    processor = transformers.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return seeded(transformers.DetrForObjectDetection, config), processor


def yolos() -> tuple[Any, Any]:
    """A small YOLOS, and its image processor."""
    config = transformers.YolosConfig(
        image_size=[64, 96], patch_size=16, num_detection_tokens=12, num_labels=5, **_ENCODER
    )
    processor = transformers.YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return seeded(transformers.YolosForObjectDetection, config), processor


def clip() -> tuple[Any, Any]:
    """A small CLIP, and its image processor; `clip_tokenizer` makes its tokens."""
    end = clip_tokenizer().eos_token_id
    text = {**_ENCODER, "vocab_size": len(clip_tokenizer()), "max_position_embeddings": LONGEST, "eos_token_id": end}
    text |= {"bos_token_id": clip_tokenizer().bos_token_id, "pad_token_id": end, "initializer_factor": 4.0}
    vision = {**_ENCODER, "image_size": 32, "patch_size": 8, "initializer_factor": 4.0}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=_square(32))
    return seeded(transformers.CLIPModel, config), processor


_BACKBONE = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def sounds() -> list[np.ndarray]:
    """Three sounds of different lengths, of up to two seconds at 16 kHz."""
    times = [np.arange(int(seconds * 16000)) / 16000 for seconds in (1.0, 2.0, 0.5)]
    return [(np.sin(2 * np.pi * (200 + 300 * t) * t) * np.sin(20 * t)).astype(np.float32) for t in times]


def whisper() -> tuple[Any, Any]:
    """A small Whisper for two seconds of sound, and its feature extractor; `whisper_tokenizer` makes its tokens."""
    tokenizer = whisper_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=100,
        max_target_positions=64,
        decoder_start_token_id=token("<|startoftranscript|>"),
        init_std=SHARP,
        bos_token_id=token(END),
        eos_token_id=token(END),
        pad_token_id=token(END),
        begin_suppress_tokens=[token(END)],
    )
    model = seeded(transformers.WhisperForConditionalGeneration, config)
    model.generation_config = transformers.GenerationConfig(
        **{name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        decoder_start_token_id=config.decoder_start_token_id,
        begin_suppress_tokens=config.begin_suppress_tokens,
        is_multilingual=True,
        lang_to_id={name: token(name) for name in ("<|en|>", "<|de|>")},
        task_to_id={name: token(f"<|{name}|>") for name in ("translate", "transcribe")},
        no_timestamps_token_id=token("<|notimestamps|>"),
        max_initial_timestamp_index=50,
        return_timestamps=False,
    )
    return model, transformers.WhisperFeatureExtractor(chunk_length=2)
