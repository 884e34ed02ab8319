"""Any endpoint that speaks OpenAI's chat completions, by the `openai` client.

Base address and key come from the environment (`OPENAI_BASE_URL`, `OPENAI_API_KEY`), the address from `--endpoint` as
well. The key is written nowhere, also not as part of what an endpoint says of an error. The client sends a request
again after an error that may pass (429 with its Retry-After, 408, 409, 5xx, a connection that breaks); a response that
ends in the middle is asked for again here, since it is read here, so that an endless one is not.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from avebench.contracts.examples import printable
from avebench.files.errors import AvebenchError
from avebench.nn.completions.contract import Completion, Means, Question, Unanswered, about_tokens

if TYPE_CHECKING:
    import openai

ADDRESS, KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
_SHOWN = 200
"""Characters of what an endpoint says of an error."""


def check_endpoint(means: Means) -> None:
    """Raise AvebenchError unless an endpoint can be asked: the client is installed, address and key are given."""
    if importlib.util.find_spec("openai") is None:
        raise AvebenchError("To ask an endpoint, the openai client is needed: pip install 'avebench[llm]'")
    if not (means.endpoint or os.environ.get(ADDRESS)):
        raise AvebenchError(
            f"No endpoint is given. Name its base address with --endpoint (https://HOST/v1) or ${ADDRESS}; to ask a "
            "model on this machine, leave backend = endpoint out and name it with --llm."
        )
    if not os.environ.get(KEY):
        raise AvebenchError(f"${KEY} is not set. Set it to the endpoint's key, or to any word where it asks for none.")


class _BrokenError(Exception):
    """A response that cannot be used; `again` says that the next one may be whole."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Endpoint:
    """A model at an endpoint, by its name there. Nothing is connected, nor a key needed, before there is a question."""

    def __init__(self, model: str, means: Means) -> None:
        self.identity = f"endpoint {model}"
        self.side_by_side = means.side_by_side
        self._model, self._means = model, means

    def batches(self, questions: Sequence[Question]) -> list[list[int]]:
        """Return every question for itself; AvebenchError if the endpoint cannot be asked at all."""
        check_endpoint(self._means)
        return [[position] for position in range(len(questions))]

    def notes(self) -> list[str]:
        """Return nothing: what the endpoint does with the messages is its own affair."""
        return []

    def complete(self, questions: Sequence[Question]) -> list[Completion | Unanswered]:
        """Send the questions one after the other."""
        return [self._complete(question) for question in questions]

    @cached_property
    def _client(self) -> openai.OpenAI:
        import openai

        means = self._means
        return openai.OpenAI(base_url=means.endpoint, timeout=means.timeout, max_retries=means.retries)

    def _complete(self, question: Question) -> Completion | Unanswered:
        import openai as errors

        for attempt in range(self._means.retries + 1):
            try:
                return self._answer(question)
            except _BrokenError as error:
                if not error.again or attempt == self._means.retries:
                    return Unanswered(str(error))
            except errors.APITimeoutError:
                return Unanswered(f"no answer within {self._means.timeout:g} seconds")
            except errors.APIConnectionError as error:
                return Unanswered(f"the endpoint cannot be reached ({self._safe(error.__cause__ or error)})")
            except errors.APIStatusError as error:
                known = (errors.AuthenticationError, errors.PermissionDeniedError, errors.NotFoundError)
                return Unanswered(self._said(error), hopeless=isinstance(error, known))
        raise AssertionError("the last attempt returns")

    def _answer(self, question: Question) -> Completion:
        """Send one question and return its answer; _BrokenError for a response that is none, errors of the client."""
        parameters = question.parameters
        options: dict[str, Any] = {"max_tokens": parameters.max_tokens, "temperature": parameters.temperature}
        if parameters.top_p != 1.0:
            options["top_p"] = parameters.top_p
        if parameters.stop:
            options["stop"] = list(parameters.stop)
        messages: Any = [dict(message) for message in question.messages]
        begun = time.monotonic()
        create = self._client.chat.completions.with_streaming_response.create
        with create(model=self._model, messages=messages, **options) as response:
            content = self._read(response, begun)
        return _completion(content, question, time.monotonic() - begun)

    def _read(self, response: openai.APIResponse[Any], begun: float) -> bytes:
        """Return the body of a response; _BrokenError if it ends too early, comes too slowly, or is too large."""
        content = bytearray()
        try:
            for part in response.iter_bytes():
                content += part
                if len(content) > self._means.largest_answer:
                    raise _BrokenError(f"an answer of more than {self._means.largest_answer:,} bytes", again=False)
                if time.monotonic() - begun > self._means.timeout:
                    raise _BrokenError(f"no whole answer within {self._means.timeout:g} seconds", again=False)
        except _BrokenError:
            raise
        except Exception as error:
            # Of the client's HTTP library, whichever it is: the connection broke while the body was read.
            if "timeout" in type(error).__name__.lower():
                raise _BrokenError(f"no whole answer within {self._means.timeout:g} seconds", again=False) from None
            raise _BrokenError("an answer that ends in the middle", again=True) from None
        return bytes(content)

    def _said(self, error: openai.APIStatusError) -> str:
        return f"the endpoint says {error.status_code}: {self._safe(error)}"

    def _safe(self, error: BaseException) -> str:
        """Return what an error says, shortened, and without the key."""
        text = printable(str(error))
        key = os.environ.get(KEY)
        return (text.replace(key, "(key)") if key else text)[:_SHOWN] or type(error).__name__


def _completion(content: bytes, question: Question, seconds: float) -> Completion:
    """Return the answer in the body of a response; _BrokenError if it is no chat completion."""
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text = _text(choice["message"].get("content"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _BrokenError("a response that is no chat completion", again=True) from None
    usage = body.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    told = [count for count in counts if isinstance(count, int)]
    tokens_in, tokens_out = told if len(told) == 2 else (about_tokens(question.characters()), about_tokens(len(text)))
    return Completion(
        text=text,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        seconds=seconds,
        estimated=len(told) < 2,
        cut=choice.get("finish_reason") == "length",
    )


def _text(content: Any) -> str:
    """Return the text of a message, empty where it has none; half a surrogate pair becomes a question mark."""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if content is None:
        return ""
    if not isinstance(content, str):
        raise TypeError("content is no text")
    return content.encode("utf-8", "replace").decode("utf-8")
