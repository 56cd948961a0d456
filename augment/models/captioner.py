"""A model of transformers that describes pictures, for source prompts of images that came without a caption."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import UInt8
from PIL import Image

from augment.errors import ModelError
from augment.models.strict import explained, load_network, quiet
from augment.prompts.captioner import CaptionerConfig
from augment.prompts.variations import Answer

_NEEDED = (
    "name a folder that `save_pretrained` wrote, or an id of the hub, of a model for image-text-to-text with its "
    "processor and its weights in safetensors"
)


class Captioner:
    """Describes pictures with `AutoModelForImageTextToText`, each by itself and with its likeliest words.

    So a caption depends on its picture and on what was asked, and on no other picture.
    """

    def __init__(self, config: CaptionerConfig, network: Any, processor: Any) -> None:
        self._config, self._network, self._processor = config, network.eval(), processor
        self.chats = bool(processor.chat_template or processor.tokenizer.chat_template)

    @torch.no_grad()
    def describe(self, picture: UInt8[np.ndarray, "H W 3"], instructions: str, prefix: str) -> Answer:
        """Return the description of a picture, at most `max_tokens` tokens after `prefix`, which it begins with.

        Args:
            picture: of any size.
            instructions: what the model is told; "" for nothing.
            prefix: beginning of the description; may be "".

        Raises:
            ModelError: if the model cannot be asked in this way.
        """
        tokenizer = self._processor.tokenizer
        try:
            text = self._question(instructions) + prefix
            options: dict[str, Any] = {"text": text} if text else {}
            if tokenizer.bos_token and text.startswith(tokenizer.bos_token):
                options["add_special_tokens"] = False  # the template has written them
            inputs = self._processor(images=Image.fromarray(picture), return_tensors="pt", **options)
            inputs = inputs.to(self._network.device, self._network.dtype)
            asked = inputs["input_ids"][0].tolist() if "input_ids" in inputs else []
            output = self._network.generate(
                **inputs, do_sample=False, num_beams=1, max_new_tokens=self._config.max_tokens
            )[0].tolist()
        except Exception as error:  # a processor raises what it likes about a text that is not of its form
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"caption.model {self._config.model!r} cannot be asked about a picture ({type(error).__name__}: "
                f"{reason}). Without a chat template, caption.instructions has to be in the form of the model, with "
                "its image token where it has one"
            ) from error
        told, said = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (asked, output))
        new = len(output) - _repeated(asked, output)
        is_cut = new >= self._config.max_tokens and output[-1] not in tokenizer.all_special_ids
        # Decoder-only models repeat the question, some others do, and models with an encoder do not.
        rest = said[len(told) :] if said.startswith(told) else f" {said}"
        return Answer((prefix + rest).strip(), is_cut, len(asked), new)

    def _question(self, instructions: str) -> str:
        """Return the text that the model continues."""
        if not self.chats:
            return f"{instructions} " if instructions else ""
        content = [{"type": "image"}, *([{"type": "text", "text": instructions}] if instructions else [])]
        messages = [{"role": "user", "content": content}]
        text: str = self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text


def load_captioner(config: CaptionerConfig) -> Captioner:
    """Load a folder that `save_pretrained` wrote, or a model of the hub.

    Args:
        config: with `revision` pinned, see `exact_revision`.

    Raises:
        ModelError: if it cannot be found or read, is no such model, or its weights do not fit its config.
    """
    quiet()
    what = f"caption.model {config.model!r}"
    revision = config.download_revision
    with explained(what, "processor"):
        processor = transformers.AutoProcessor.from_pretrained(config.model, trust_remote_code=False, **revision)
    if not isinstance(processor, transformers.ProcessorMixin):
        raise ModelError(f"{what} has no processor for pictures and text, only a {type(processor).__name__}; {_NEEDED}")
    cls, dtype = transformers.AutoModelForImageTextToText, getattr(torch, config.dtype)
    network = load_network(cls, config.model, what, "network", dtype=dtype, trust_remote_code=False, **revision)
    return Captioner(config, network.to(config.device), processor)


def _repeated(asked: list[int], output: list[int]) -> int:
    """Return how many tokens at the beginning of an output are those that were asked; 0 if it begins otherwise.

    BLIP takes another first token, and drops the last one.
    """
    own = asked[1:-1]
    if not asked or output[1 : 1 + len(own)] != own:
        return 0
    return len(asked) if output[: len(asked)][-1:] == asked[-1:] else len(asked) - 1
