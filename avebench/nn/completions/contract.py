"""What asks and what answers: questions, completions, backends, and the means of a run. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from avebench.files.digests import sha256

Message = Mapping[str, Any]
"""One turn of a chat in the form of OpenAI: `role` (system, user, assistant) and `content`."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How an answer is written: at most `max_tokens` tokens; greedily at `temperature` 0; up to a `stop` string."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """The messages that a language model is sent, and how it is to answer."""

    messages: tuple[Message, ...]
    parameters: Parameters = Parameters()

    def key(self, model: str) -> str:
        """Return the SHA-256 of the question to a model: what its answer is kept under."""
        return sha256({"model": model, "messages": list(self.messages), "parameters": asdict(self.parameters)})

    def characters(self) -> int:
        """Return the number of characters of the messages' text."""
        return sum(len(str(message["content"])) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer: its text, the tokens of question and answer, and the seconds that it took.

    `estimated`: an endpoint did not tell the tokens. `cut`: the answer ended because it had `max_tokens` tokens.
    """

    text: str
    tokens_in: int
    tokens_out: int
    seconds: float
    estimated: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why a question has no answer. `hopeless` says that no other question to this backend would have one either."""

    reason: str
    hopeless: bool = False


class Backend(Protocol):
    """A language model. `identity` names it in the cache: equal identities give equal answers."""

    @property
    def identity(self) -> str:
        """Return the name of the model at its endpoint, or the hash of its weights."""

    @property
    def side_by_side(self) -> int:
        """Return how many batches may be under way at once, each in a thread of its own."""

    def batches(self, questions: Sequence[Question]) -> list[list[int]]:
        """Return the positions of the questions in batches, in the order in which they are best asked."""

    def complete(self, questions: Sequence[Question]) -> list[Completion | Unanswered]:
        """Ask the questions of one batch; return what became of each, in order."""

    def notes(self) -> list[str]:
        """Return what a reader of the answers must know of how they were made."""


@dataclass(frozen=True, slots=True)
class Means:
    """How a run asks, whatever it asks; nothing of it is part of a cell's key.

    Budgets hold for the whole run, whose cells share the name `run`; None: without end. The key of the endpoint is in
    the environment alone.
    """

    endpoint: str | None = None
    """Base address; None: that of `$OPENAI_BASE_URL`."""
    max_requests: int | None = None
    max_tokens: int | None = None
    """Tokens of questions and answers; what is under way when they are used up ends."""
    run: str = ""
    side_by_side: int = 8
    """Requests to an endpoint that a cell has under way at once."""
    timeout: float = 120.0
    """Seconds until a request is given up."""
    retries: int = 4
    """How often a request is sent again after an error that may pass."""
    largest_answer: int = 2_000_000
    """Bytes of an endpoint's response beyond which it is not read."""
    device: str = "auto"
    """Where a local model computes."""


DEFAULT_MEANS = Means()
"""Without budgets, at the endpoint that the environment names."""


def about_tokens(characters: int) -> int:
    """Return about how many tokens a text has, where nobody counted them: a quarter of its characters, rounded up."""
    return -(-characters // 4)
