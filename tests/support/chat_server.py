"""A server on this machine that speaks OpenAI's chat completions, answers by a rule, and logs what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server sends: an answer's text, or trouble of some kind."""

    text: str | None = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """The body as it is, instead of a completion."""
    lost: int = 0
    """Bytes that are announced and never sent."""
    seconds: float = 0.0
    """How long the server thinks."""
    usage: bool = True
    finish: str = "stop"


Rule = Callable[[dict[str, Any]], Reply]
"""From the body of a request to what is sent."""


class ChatServer:
    """`address` is its base address; `asked` holds the bodies of its requests, `answered` those that were sent whole.

    `keys` are the keys that it was shown, and `most` the requests that were under way at once.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.asked: list[dict[str, Any]] = []
        self.answered: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most = self.under_way = 0
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"chat": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.chat
        with chat.lock:
            chat.asked.append(body)
            chat.keys.add(self.headers.get("Authorization", "").removeprefix("Bearer "))
            chat.under_way += 1
            chat.most = max(chat.most, chat.under_way)
        try:
            reply = chat.rule(body)
            time.sleep(reply.seconds)
            self._send(reply)
            if reply.status == 200 and not reply.lost:
                with chat.lock:
                    chat.answered.append(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with chat.lock:
                chat.under_way -= 1

    def _send(self, reply: Reply) -> None:
        completion: dict[str, Any] = {
            "id": "1",
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": reply.text},
                    "finish_reason": reply.finish,
                }
            ],
        }
        if reply.usage:
            completion["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        content = reply.raw if reply.raw is not None else json.dumps(completion).encode()
        if reply.status != 200 and reply.raw is None:
            content = json.dumps({"error": {"message": "trouble"}}).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content) + reply.lost))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
        if reply.lost:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def serving(rule: Rule) -> Iterator[ChatServer]:
    """Run a server while the block runs."""
    server = ChatServer(rule)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


def last_text(body: dict[str, Any]) -> str:
    """Return the text of the last message of a request."""
    return str(body["messages"][-1]["content"])
