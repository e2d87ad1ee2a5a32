"""A Stable Diffusion pipeline with small seeded networks, where the trained ones cannot be had."""

from __future__ import annotations

import string

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WORDS = ("photo", "of", "an", "astronaut", "cat", "in", "space")
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def pipeline(seed: int = 0) -> StableDiffusionPipeline:
    """A StableDiffusionPipeline for images of 128 × 128 pixels: every part of the real one's, with small layers."""
    torch.manual_seed(seed)
    vocabulary = tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=vocabulary.model_max_length,
        bos_token_id=vocabulary.bos_token_id,
        eos_token_id=vocabulary.eos_token_id,
        pad_token_id=vocabulary.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    vae = AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16, 16),
        decoder_block_out_channels=(16, 16, 16, 16),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    _give_contrast(vae)
    made = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=vocabulary,
        unet=unet,
        scheduler=DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


@torch.no_grad()
def _give_contrast(vae: AutoencoderTiny) -> None:
    """Let the colours of a decoded picture, in 0 to 1, have mean 0.5 and deviation 0.2, by the last layer's weights."""
    last = vae.decoder.layers[-1]
    colours = vae.decode(torch.randn(4, 4, 16, 16)).sample / 2 + 0.5
    mean, scale = colours.mean((0, 2, 3)), 0.2 / colours.std((0, 2, 3))
    last.weight *= scale[:, None, None, None]
    last.bias.copy_(0.5 + (last.bias - mean) * scale)


def tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of characters and of WORDS, which its merges build up letter by letter."""
    characters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = ["<|startoftext|>", "<|endoftext|>", *characters, *(f"{character}</w>" for character in characters)]
    merges = []
    for word in WORDS:
        letters = [*word[:-1], f"{word[-1]}</w>"]
        while len(letters) > 1:
            first, second, *rest = letters
            merges.append((first, second))
            letters = [first + second, *rest]
            tokens.append(letters[0])
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=list(dict.fromkeys(merges)), model_max_length=24)
