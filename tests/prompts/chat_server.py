"""An OpenAI-compatible endpoint on this machine that behaves as it is told to, once for each request."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from augment.prompts.llm import LanguageModelConfig

Prompt = dict[str, str]  # key, class, prompt, and refused if the last answer was
Writer = Callable[[Prompt], list[str]]


@dataclass
class Reply:
    """One answer of the server.

    Attributes:
        status, headers: of the answer.
        body: None for that of a model that answers in the form.
        missing: bytes at the end that the answer promises and does not send.
        finish_reason: `length` for an answer that was cut.
        content: what the model says; None for JSON with the texts of `write`, keys in reverse order.
        write: the texts for a prompt; None for those of the server.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    missing: int = 0
    finish_reason: str = "stop"
    content: str | None = None
    write: Writer | None = None


@dataclass
class ChatServer:
    """What the server was asked, and what it is to say.

    Attributes:
        url: of the endpoint.
        write: the texts for a prompt, unless a reply says otherwise.
        replies: for the next requests; then it behaves.
        asked: the bodies of all requests.
        keys: their authorizations.
    """

    url: str
    write: Writer
    replies: list[Reply] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def config(self, **changes: Any) -> LanguageModelConfig:
        return LanguageModelConfig.model_validate({"model": "toy", "endpoint": self.url, "timeout_s": 10} | changes)

    def prompts(self, number: int) -> list[Prompt]:
        """The prompts of a request."""
        return prompts_of(self.asked[number])


def prompts_of(request: dict[str, Any]) -> list[Prompt]:
    prompts: list[Prompt] = json.loads(request["messages"][1]["content"])["prompts"]
    return prompts


@contextlib.contextmanager
def chat_server(write: Writer) -> Iterator[ChatServer]:
    """Run a server for as long as the block lasts."""
    state = ChatServer("", write)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(request | {"path": self.path})
            state.keys.append(self.headers["Authorization"])
            reply = state.replies.pop(0) if state.replies else Reply()
            data = (reply.body if reply.body is not None else _completion(request, reply, state.write)).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) - reply.missing])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _completion(request: dict[str, Any], reply: Reply, write: Writer) -> str:
    content = reply.content
    if content is None:
        items = [{"key": p["key"], "texts": (reply.write or write)(p)} for p in prompts_of(request)]
        content = json.dumps({"prompts": items[::-1]})
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reply.finish_reason}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 7}})
