"""Text, images and speech with transformers' pipelines, written as for any other device."""

from seeded import pipelines as small
from transformers import pipeline

import ttreg

# With trained weights: pipeline("text-generation", "openai-community/gpt2"), and so on.
write = pipeline("text-generation", model=small.llama(), tokenizer=small.byte_pairs())
classifier, image_processor = small.vit()
classify = pipeline("image-classification", model=classifier, image_processor=image_processor)
whisper, feature_extractor = small.whisper()
listen = pipeline(
    "automatic-speech-recognition",
    model=whisper,
    tokenizer=small.whisper_tokenizer(),
    feature_extractor=feature_extractor,
)

with ttreg.device_mode() as session:
    texts = write(list(small.TEXTS[:3]), batch_size=3, max_new_tokens=5, do_sample=False)
    classes = classify(small.photographs(), batch_size=3, top_k=1)
    heard = listen(small.sounds()[0], generate_kwargs={"num_beams": 1, "max_new_tokens": 5})

# Random weights make no sense of what they read, see and hear.
for [text] in texts:
    print(repr(text["generated_text"]))
for photograph, [best] in zip(small.photographs(), classes, strict=True):
    print(f"{photograph.width} × {photograph.height} pixels: {best['label']}, {best['score']:.2f}")
print(repr(heard["text"]))
print(session.report())
