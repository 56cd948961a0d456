"""A language model of transformers in this process, behind the interface of `augment.prompts.variations`."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from augment.errors import ModelError
from augment.models.strict import load_network
from augment.prompts.llm import LanguageModelConfig
from augment.prompts.variations import Answer, Costs


class LocalLanguageModel:
    """Generates text with `AutoModelForCausalLM`.

    Its answers are JSON as far as it follows the instructions; what is not is asked again.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        """Load the model.

        Args:
            config: without `endpoint`.

        Raises:
            ModelError: if it cannot be loaded.
        """
        self._config = config
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(config.model)
            model = load_network(AutoModelForCausalLM, config.model, f"llm.model {config.model!r}", "network")
            self._model: Any = model.to(config.device).eval()
        except ModelError:
            raise
        except Exception as error:  # transformers raises what it likes
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"llm.model {config.model!r} cannot be loaded ({type(error).__name__}: {reason}). Name a folder or an "
                "id of the hub with a model for text-generation and its weights in safetensors, or give llm.endpoint"
            ) from error

    @torch.no_grad()
    def ask(self, system: str, user: str, seed: int, costs: Costs) -> Answer:
        """Return the continuation of a question, at most `max_tokens` tokens."""
        text, special = self._question(system, user)
        inputs = self._tokenizer(text, return_tensors="pt", add_special_tokens=special).to(self._config.device)
        length = inputs["input_ids"].shape[1]
        warm = self._config.temperature > 0
        sampling: dict[str, Any] = {"do_sample": warm}
        if warm:
            sampling["temperature"] = self._config.temperature
        ends = self._tokenizer.eos_token_id
        sampling |= {"max_new_tokens": self._config.max_tokens, "pad_token_id": ends if ends is not None else 0}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            output = self._model.generate(**inputs, **sampling)
        new = output[0, length:].tolist()
        costs.requests += 1
        costs.prompt_tokens += length
        costs.completion_tokens += len(new)
        is_cut = len(new) >= self._config.max_tokens and (not new or new[-1] != ends)
        return Answer(self._tokenizer.decode(new, skip_special_tokens=True), is_cut, length, len(new))

    def _question(self, system: str, user: str) -> tuple[str, bool]:
        """Return the text that a model continues, and whether the tokenizer is to add its special tokens."""
        if self._tokenizer.chat_template:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return text, False
        return f"{system}\n{user}\n", True
