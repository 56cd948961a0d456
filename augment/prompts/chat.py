"""A language model behind an OpenAI-compatible endpoint: `POST /chat/completions`, asked again where that may help."""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from augment.errors import ConfigError, ModelError
from augment.prompts.llm import LanguageModelConfig
from augment.prompts.variations import SCHEMA, Answer, Costs

_LONGEST_WAIT_S = 60.0
_BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 529}


class _AskAgain(Exception):  # noqa: N818 - it says what to do
    """What went wrong in a way that may be gone the next time.

    Attributes:
        reason: to be counted.
        wait_s: what the endpoint asks for; None if it does not say.
        detail: for the message if it stays so.
    """

    def __init__(self, reason: str, detail: str = "", wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.wait_s = reason, detail, wait_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None  # the key is for this endpoint alone


@dataclass(frozen=True)
class ChatEndpoint:
    """An endpoint and how to ask it. The key is read from the environment for each request, and kept nowhere.

    Attributes:
        config: with `endpoint`.
        sleep: waits so many seconds.
    """

    config: LanguageModelConfig
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        """Raise ConfigError if the key's variable is not set, or holds no key."""
        name = self.config.key_env
        if name and not os.environ.get(name):
            problem = f"the environment variable {name!r} is not set; set it to the key of {self.config.endpoint}"
            raise ConfigError("prompts", [f"llm.key_env: {problem}"])
        if not (self._key().isascii() and self._key().isprintable()):
            problem = f"the value of the environment variable {name!r} has characters that no key has"
            raise ConfigError("prompts", [f"llm.key_env: {problem}"])

    def ask(self, system: str, user: str, seed: int, costs: Costs) -> Answer:
        """Return the answer to a question in the JSON schema of variations.

        Raises:
            ModelError: if the endpoint refuses, or is busy or broken `max_retries` times in a row and once more.
        """
        body = {
            "model": self.config.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
            "seed": seed,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "prompts", "strict": True, "schema": SCHEMA},
            },
        }
        for attempt in range(self.config.max_retries + 1):
            costs.requests += 1
            try:
                return self._answer(self._post(json.dumps(body).encode()), costs)
            except _AskAgain as problem:
                costs.retries[problem.reason] += 1
                if attempt == self.config.max_retries:
                    self._fail(f"{problem.reason}, {attempt + 1} times in a row", problem.detail)
                wait = problem.wait_s if problem.wait_s is not None else 2.0**attempt
                self.sleep(min(max(0.0, wait), _LONGEST_WAIT_S))
        raise AssertionError("the loop returns or raises")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.config.endpoint}/chat/completions", body, headers)
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=self.config.timeout_s) as response:
                data: bytes = response.read()
                return data
        except urllib.error.HTTPError as error:
            detail = self._beginning(error)
            if error.code in _BUSY:
                raise _AskAgain(f"HTTP {error.code}", detail, _wait(error.headers.get("Retry-After"))) from None
            self._fail(f"HTTP {error.code} {error.reason}", detail)
        except http.client.IncompleteRead as error:
            raise _AskAgain("half an answer", f"{len(error.partial)} bytes came") from None
        except TimeoutError:
            raise _AskAgain("no answer in time", f"llm.timeout_s is {self.config.timeout_s:g}") from None
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            raise _AskAgain("no connection", str(error)) from None

    def _answer(self, data: bytes, costs: Costs) -> Answer:
        try:
            content = json.loads(data)
            choice = content["choices"][0]
            text = choice["message"]["content"] or ""
            usage = content.get("usage") or {}
            used = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
            is_cut = choice.get("finish_reason") == "length"
            if not isinstance(text, str):
                raise TypeError(f"content is {type(text).__name__}")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _AskAgain("answer of another shape", f"{type(error).__name__}: {error}") from None
        costs.prompt_tokens += used[0]
        costs.completion_tokens += used[1]
        return Answer(text, is_cut, *used)

    def _key(self) -> str:
        return os.environ.get(self.config.key_env, "").strip() if self.config.key_env else ""

    def _beginning(self, error: urllib.error.HTTPError) -> str:
        """Return what a refusal begins with. An endpoint may repeat the key there: it is taken out."""
        try:
            text = " ".join(error.read(2000).decode(errors="replace").split())
        except (OSError, http.client.HTTPException):
            return ""
        return (text.replace(key, "***") if (key := self._key()) else text)[:300]

    def _fail(self, what: str, detail: str) -> NoReturn:
        about = f": {detail}" if detail else ""
        raise ModelError(
            f"llm.endpoint {self.config.endpoint}: {what}{about}. Look at llm.endpoint, llm.model and "
            "llm.key_env, and run the command again: it goes on with what is not answered yet"
        )


def _wait(header: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for: a number or a date."""
    if not header:
        return None
    try:
        return float(header)
    except ValueError:
        pass
    try:
        return email.utils.parsedate_to_datetime(header).timestamp() - time.time()
    except ValueError:
        return None
