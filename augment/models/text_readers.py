"""What a model's text encoders read of a prompt, counted with their tokenizers alone: no network, no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HFValidationError
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, Lowercase, Replace
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.processors import RobertaProcessing

from augment.errors import ModelError
from augment.models.config import ClipConfig, ModelConfig
from augment.models.packaged import packaged_model

T5_TOKENS = {"StableDiffusion3Pipeline": 256, "FluxPipeline": 512}  # what diffusers' pipelines pad to
# A tokenizer is read as far as its own length and its encoder's positions go, a T5 as far as the pipeline pads.
_TOKENIZERS = {
    "StableDiffusionPipeline": ("tokenizer",),
    "LatentConsistencyModelPipeline": ("tokenizer",),
    "StableDiffusionXLPipeline": ("tokenizer", "tokenizer_2"),
    "StableDiffusion3Pipeline": ("tokenizer", "tokenizer_2", "tokenizer_3"),
    "FluxPipeline": ("tokenizer", "tokenizer_2"),
}
_T5 = {"StableDiffusion3Pipeline": "tokenizer_3", "FluxPipeline": "tokenizer_2"}
_POSITIONS = 77  # of a CLIP text encoder whose config does not say how many: transformers' default
_SMALL_VOCABULARY = 2_000  # CLIP's has 49,408 entries, the embedded model's 339
_START, _END = "<|startoftext|>", "<|endoftext|>"
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class TextReader:
    """A tokenizer, and how many of its tokens the encoder behind it reads.

    Attributes:
        name: what the pipeline calls it, or `clip`.
        length: tokens, with those that begin and end a text.
    """

    name: str
    length: int
    tokenizer: Tokenizer = field(repr=False)

    def count(self, text: str) -> int:
        """Return the number of a text's tokens, with those that begin and end it."""
        return len(self.tokenizer.encode(text).ids)

    def read(self, text: str) -> str:
        """Return the part of a text that is read: all of it, or up to the first word that is not read whole."""
        encoding = self.tokenizer.encode(text)
        if len(encoding.ids) <= self.length:
            return text
        own = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
        first = max(self.length - (len(encoding.ids) - len(own)), 0)  # of those that are cut
        while first and encoding.word_ids[own[first - 1]] == encoding.word_ids[own[first]]:
            first -= 1
        return text[: encoding.offsets[own[first]][0]].rstrip()

    def unknown_words(self, text: str) -> list[str]:
        """Return the words that a small vocabulary spells in pieces, so that its encoder has never read them.

        Large vocabularies spell many words in pieces that their encoders know well: they have none.
        """
        if self.tokenizer.get_vocab_size() >= _SMALL_VOCABULARY:
            return []
        return [word for word in text.split() if len(self.tokenizer.encode(word, add_special_tokens=False).ids) > 1]


def model_readers(config: ModelConfig) -> tuple[TextReader, ...]:
    """Return the readers of a model's prompts, in the order of its text encoders.

    Left out are encoders whose tokenizer is not there to be asked: not downloaded yet, or without a `tokenizer.json`.

    Args:
        config: pinned to a revision.

    Raises:
        ModelError: if a tokenizer's files are not readable.
    """
    packaged = packaged_model(config.name)
    files = SmallFiles(str(packaged.folder) if packaged is not None else config.name, config.revision)
    with_name = f"model {config.name!r}"
    index = files.json("model_index.json", with_name) or {}
    pipeline = (packaged.pipeline_class if packaged is not None else "") or str(index.get("_class_name", ""))
    found = []
    for name in _TOKENIZERS.get(pipeline, ()):
        if index.get(name) in (None, [None, None]):  # saved without, for example Stable Diffusion 3 without T5
            continue
        is_t5 = _T5.get(pipeline) == name
        tokenizer = _tokenizer(files, f"{name}/", is_t5, with_name)
        length = T5_TOKENS[pipeline] if is_t5 else _clip_length(files, name, with_name)
        if tokenizer is not None:
            found.append(TextReader(name, length, tokenizer))
    if pipeline == "StableDiffusion3Pipeline":  # it embeds a prompt for both of its CLIP encoders at one length
        shortest = min((reader.length for reader in found if reader.name != _T5[pipeline]), default=0)
        found = [reader if reader.name == _T5[pipeline] else replace(reader, length=shortest) for reader in found]
    return tuple(found)


def _clip_length(files: SmallFiles, tokenizer: str, model: str) -> int:
    """Return how many tokens of a prompt a CLIP text encoder reads, as `prompt_length` does of what is loaded."""
    encoder = files.json(f"{tokenizer.replace('tokenizer', 'text_encoder')}/config.json", model) or {}
    settings = files.json(f"{tokenizer}/tokenizer_config.json", model) or {}
    given = (encoder.get("max_position_embeddings", _POSITIONS), settings.get("model_max_length"))
    return int(min((limit for limit in given if isinstance(limit, int | float) and limit > 0), default=_POSITIONS))


def clip_reader(config: ClipConfig) -> TextReader | None:
    """Return the reader of the model that scores edits; None if its tokenizer is not there to be asked.

    Args:
        config: pinned to a revision.

    Raises:
        ModelError: if its files are not readable.
    """
    packaged = packaged_model(config.name)
    in_package = packaged.clip if packaged is not None else None
    files = SmallFiles(str(in_package or config.name), config.revision)
    with_name = f"clip.name {config.name!r}"
    tokenizer = _tokenizer(files, "", False, with_name)
    text_config = (files.json("config.json", with_name) or {}).get("text_config")
    length = text_config.get("max_position_embeddings", _POSITIONS) if isinstance(text_config, dict) else _POSITIONS
    return TextReader("clip", int(length), tokenizer) if tokenizer is not None else None


@dataclass(frozen=True)
class SmallFiles:
    """The small files of a folder, or of a hub model as far as they are cached: nothing is downloaded."""

    source: str
    revision: str

    def path(self, name: str) -> Path | None:
        """Return where a file lies; None if it is not there."""
        if Path(self.source).is_dir():
            path = Path(self.source) / name
            return path if path.is_file() else None
        try:
            cached = huggingface_hub.try_to_load_from_cache(self.source, name, revision=self.revision or None)
        except HFValidationError:
            return None  # no id of the hub
        return Path(cached) if isinstance(cached, str) else None

    def json(self, name: str, model: str) -> dict[str, Any] | None:
        """Return the object in a file; None if the file is not there. Raises ModelError if it holds no object."""
        path = self.path(name)
        if path is None:
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{model}: {path} cannot be read ({error}); download or save the model again") from error
        if not isinstance(content, dict):
            raise ModelError(f"{model}: {path} holds no JSON object; download or save the model again")
        return content


def _tokenizer(files: SmallFiles, folder: str, is_t5: bool, model: str) -> Tokenizer | None:
    whole, vocabulary, merges = (files.path(f"{folder}{n}") for n in ("tokenizer.json", "vocab.json", "merges.txt"))
    try:
        if whole is not None:
            tokenizer = Tokenizer.from_file(str(whole))
        elif not is_t5 and vocabulary is not None and merges is not None:
            tokenizer = _clip_tokenizer(vocabulary, merges)
        else:
            return None
    except Exception as error:  # the library raises plain exceptions
        where = whole or vocabulary
        raise ModelError(f"{model}: {where} cannot be read ({error}); download or save the model again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _clip_tokenizer(vocabulary: Path, merges: Path) -> Tokenizer:
    """Return CLIP's tokenizer (Radford et al. 2021) from the two files that most models on the hub have of it."""
    model = BPE.from_file(str(vocabulary), str(merges), unk_token=_END, end_of_word_suffix="</w>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = Normalizers([NFC(), Replace(Regex(r"\s+"), " "), Lowercase()])
    tokenizer.pre_tokenizer = PreTokenizers(
        [Split(Regex(_CLIP_WORDS), behavior="removed", invert=True), ByteLevel(add_prefix_space=False)]
    )
    ids = tokenizer.get_vocab()
    tokenizer.post_processor = RobertaProcessing((_END, ids[_END]), (_START, ids[_START]), False, False)
    return tokenizer
