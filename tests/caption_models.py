"""Real image-text-to-text models of transformers at toy size, written as folders: one that learns its captions by heart
from the colours of pictures, and ones with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

END, IMAGE = "<end>", "<image>"
TEMPLATE = (
    "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endfor %}:"
)
SIDE, PATCH = 16, 8


def llava(folder: Path, known: Mapping[str, str] | None = None, told: str = "", prefix: str = "") -> Path:
    """Save a LLaVA that reads and writes bytes.

    Args:
        folder: for it.
        known: name of a colour -> caption of a picture of that colour, which it learns; None leaves it random.
        told, prefix: what it is asked while it learns.
    """
    vocabulary = {char: i for i, char in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    fast.add_special_tokens({"additional_special_tokens": [IMAGE]})
    size = {"height": SIDE, "width": SIDE}
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size),
        fast,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    torch.manual_seed(0)
    ends = fast.convert_tokens_to_ids(END)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=SIDE,
                patch_size=PATCH,
                projection_dim=16,
            ),
            text_config=LlamaConfig(
                vocab_size=len(fast),
                hidden_size=48,
                intermediate_size=96,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=256,
                bos_token_id=None,
                eos_token_id=ends,
                pad_token_id=ends,
            ),
            image_token_index=fast.convert_tokens_to_ids(IMAGE),
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
        )
    )
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = ends
    if known:
        _learn(model, processor, known, told, prefix)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _learn(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, known: Mapping[str, str], told: str, prefix: str
) -> None:
    content = [{"type": "image"}, *([{"type": "text", "text": told}] if told else [])]
    question = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    batches = []
    for colour, caption in known.items():
        picture = Image.new("RGB", (SIDE, SIDE), colour)
        length = processor(images=picture, text=question + prefix, return_tensors="pt").input_ids.shape[1]
        batch = processor(images=picture, text=question + caption + END, return_tensors="pt")
        labels = batch.input_ids.clone()
        labels[:, :length] = -100
        batches.append(batch | {"labels": labels})
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(400):
        loss = sum(model(**batch).loss for batch in batches)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.002 * len(batches):
            return
    raise AssertionError(f"it has not learnt its captions: {loss}")


def blip(folder: Path, words: str) -> Path:
    """Save a BLIP with random weights that knows these words. It has no chat template."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words.split()])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    from tokenizers.processors import TemplateProcessing

    fast.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": 2,
        "sep_token_id": 3,
        "eos_token_id": 3,
        "pad_token_id": 0,
        "projection_dim": 16,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), fast).save_pretrained(folder)
    return folder
