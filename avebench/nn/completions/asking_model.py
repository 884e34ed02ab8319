"""The contract of a system that asks a language model: options, means, and what its answers cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import Field, model_validator

from avebench.contracts.examples import AttributeSchema
from avebench.contracts.model import Model, ModelConfig, Vocabulary
from avebench.nn.completions.asker import Account, Asker
from avebench.nn.completions.cache import AnswerCache
from avebench.nn.completions.contract import Backend, Completion, Means, Parameters, Question, about_tokens
from avebench.nn.weights import language_model_folder, weights_digest


class AskingConfig(ModelConfig):
    """Options of a system that asks a language model. `llm` counts by its weights, at an endpoint by its name there."""

    llm: str = ""
    """Folder or hub id of a causal language model, or the name of a model at an endpoint."""
    backend: Literal["local", "endpoint"] = "local"
    precision: Literal["float32", "bf16"] = "float32"
    """Of a local model's weights."""
    batch_size: int = Field(default=8, ge=1)
    """Questions that a local model answers together; answers are the same up to rounding."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens of an answer at most."""
    temperature: float = Field(default=0.0, ge=0)
    """0: greedy; a local model knows nothing else."""
    top_p: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _named(self) -> AskingConfig:
        if self.backend == "endpoint" and not self.llm:
            raise ValueError("backend = endpoint needs llm (--llm), the name of the model at the endpoint")
        if self.backend == "local" and (self.temperature != 0 or self.top_p != 1):
            raise ValueError("a local model answers greedily: temperature is 0 and top_p 1")
        return self

    def pretrained(self) -> dict[str, str]:
        """Return the local model by its role."""
        return {"llm": self.llm} if self.backend == "local" else {}

    def parameters(self) -> Parameters:
        """Return how answers are written."""
        return Parameters(self.max_tokens, self.temperature, self.top_p)

    def asks_again(self) -> bool:
        """Return whether answers may lead to further questions, which nobody can count beforehand."""
        return False

    def identity(self) -> str:
        """Return what answers are kept under; AvebenchError if the model is local and not here."""
        if self.backend == "endpoint":
            return f"endpoint {self.llm}"
        return f"weights {weights_digest(self.llm, 'language')} {self.precision}"


class Asks(Protocol):
    """What answers questions: an `Asker`, or a `Forecast`."""

    def ask(self, questions: Sequence[Question]) -> list[Completion]:
        """Return the answers in order."""


class AskingModel(Model):
    """A system that asks a language model and learns nothing but its prompts, which are its vocabulary.

    The harness sets `means` before it predicts, which says to whom and how much; `asker` is made when it is needed.
    """

    def __init__(self, config: AskingConfig, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.means = Means()
        self.asker: Asks | None = None

    def ask(self, questions: Sequence[Question]) -> list[Completion]:
        """Return the answers in order; CellFailedError if some questions have none, after the others were asked."""
        if self.asker is None:
            self.asker = Asker(backend_of(self.config, self.means), self.means)
        return self.asker.ask(questions)

    def account(self) -> tuple[Account, list[str]]:
        """Return what was asked so far and what it cost, and what is to be said of how."""
        return (self.asker.account, self.asker.backend.notes()) if isinstance(self.asker, Asker) else (Account(), [])


def backend_of(config: AskingConfig, means: Means) -> Backend:
    """Return the language model that a config names, loaded; AvebenchError if it cannot be asked."""
    if config.backend == "endpoint":
        from avebench.nn.completions.endpoint import Endpoint

        return Endpoint(config.llm, means)
    from avebench.nn.completions.causal import CausalModel

    folder = language_model_folder(config.llm)
    return CausalModel(folder, config.identity(), config.precision, config.batch_size, means.device)


class Forecast:
    """Counts what would be asked and asks nobody; an answer that is not in the cache is an empty object."""

    def __init__(self, config: AskingConfig, cache: AnswerCache | None = None) -> None:
        self._identity = config.identity()
        self._cache = cache or AnswerCache()
        self._counted: set[str] = set()
        self.requests = self.answered = self.tokens_in = self.tokens_out = 0

    def ask(self, questions: Sequence[Question]) -> list[Completion]:
        """Return what the cache knows; count the distinct questions, and about the tokens of those without an answer.

        `tokens_out` is the most that the answers may have.
        """
        keys = [question.key(self._identity) for question in questions]
        known = self._cache.find(set(keys))
        for key, question in zip(keys, questions, strict=True):
            if key in self._counted:
                continue
            self._counted.add(key)
            self.requests += 1
            self.answered += key in known
            if key not in known:
                self.tokens_in += about_tokens(question.characters())
                self.tokens_out += question.parameters.max_tokens
        return [known.get(key) or Completion("{}", 0, 0, 0.0) for key in keys]
