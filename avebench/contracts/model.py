"""The contract of a model plug-in. Nothing here imports torch: planning a run must stay cheap.

A plug-in is one module with three names: `CARD` (a `ModelCard` written with literals only, so that it can be read
without running the module), `Config` (a subclass of `ModelConfig` or `TrainedConfig` whose defaults are the paper's)
and `Model`. Systems trained by gradient descent derive it from `avebench.nn.neural.NeuralModel`, the others from the
`Model` here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avebench.contracts.examples import AttributeSchema, Example, Prediction

Protocol = Literal["native", "predicted", "all", "category", "annotated", "oracle"]
Negatives = Literal[0, 1, 3, 25, "all"]
ChunkScheme = Literal["lenient", "strict"]
LongTexts = Literal["window", "cut"]
Vocabulary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a system is. Every field is a literal in the plug-in's source.

    `implementation` is raised whenever the plug-in's results may change; it is part of every cell key. `needs_spans`
    says that it learns from values that are marked in the text; without it, value strings (pairs) are enough.

    `protocol` is what the system is told at test time, and in validation unless its options say. A system that is asked
    for attributes may be tested under the `protocols` as well, without being trained for each. `open_attributes` says
    that it can be asked for any name, also of an attribute that training does not have.
    """

    name: str
    summary: str
    paper: str
    year: int
    modality: Literal["T", "T+V"]
    family: str
    implementation: int
    protocol: Protocol = "native"
    protocols: tuple[Protocol, ...] = ()
    open_attributes: bool = False
    needs: tuple[str, ...] = ()
    needs_spans: bool = True
    published_with: str = ""
    code: str = ""


class ModelConfig(BaseModel):
    """Options of every system. Unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Named sets of overrides, nested like the config itself."""

    chunk_scheme: ChunkScheme = "lenient"
    """How predicted tags become spans: conlleval's lenient rule, or seqeval's strict IOB2."""

    def pretrained(self) -> dict[str, str]:
        """Return role -> encoder name (hub id, folder, `minilm`, `demo`) of every pretrained weight that is used."""
        return {}


class TrainingConfig(BaseModel):
    """How the one training loop runs. The budget is `steps` or `epochs`, exactly one of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rates: dict[str, float] = Field(default_factory=lambda: {"default": 1e-3})
    """Rate per parameter group of the model; groups that are not named take `default`."""
    adam_eps: float = Field(default=1e-8, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    clip_norm: float | None = Field(default=5.0, gt=0)
    batch_size: int = Field(default=32, ge=1)
    accumulation: int = Field(default=1, ge=1)
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps."""
    epochs: int | None = Field(default=None, ge=1)
    validate_every: int | None = Field(default=None, ge=1)
    """Optimiser steps between validations; None: at the end of every epoch."""
    patience: int | None = Field(default=None, ge=1)
    """Validations without improvement before training stops; never before half of the budget."""
    selection: str = "tag_f1"
    """Validation metric that chooses the checkpoint (`A or B`: B where the data have no A), or `last`."""
    order: Literal["bucketed", "shuffled", "sequential", "sampled"] = "bucketed"
    """How batches are formed (`avebench.nn.batching.epoch_batches`); `sampled` draws with replacement."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    prediction_batch_size: int = Field(default=128, ge=1)

    @model_validator(mode="after")
    def _one_budget(self) -> TrainingConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of training.steps and training.epochs")
        if "default" not in self.learning_rates:
            raise ValueError("training.learning_rates needs the entry 'default'")
        if any(rate < 0 for rate in self.learning_rates.values()):
            raise ValueError("training.learning_rates: a rate is 0 or above")
        return self

    def selected(self, available: Collection[str]) -> str:
        """Return the first metric of `selection` that is available, the first of all if none is."""
        names = self.selection.split(" or ")
        return next((name for name in names if name in available), names[0])


class TrainedConfig(ModelConfig):
    """Options of a system that the shared loop trains."""

    training: TrainingConfig


class EncoderConfig(TrainedConfig):
    """Options of a system that is trained over a pretrained text encoder, whose default each system names."""

    text_encoder: str
    """Hub id in the local cache, folder, `minilm` or `demo`."""
    long_texts: LongTexts = "window"
    """A text over the encoder's limit is read in overlapping windows, or cut as in the papers, its end tagged O."""

    def pretrained(self) -> dict[str, str]:
        """Return the text encoder by its role."""
        return {"text_encoder": self.text_encoder}


class QueryOptions(TrainedConfig):
    """Options of a system that is asked for attributes (`Example.asked`)."""

    negatives: Negatives = 3
    """Attributes without a value that each training text is asked for beside its own, drawn once per repetition."""
    cap: int | None = Field(default=None, ge=1)
    """Most attributes that a test or validation text is asked for where nothing of it is told (all, category): those
    that most training texts have. None: all of them, be they thousands."""
    validation: Literal["all", "annotated"] = "all"
    """What a validation text is asked for: everything, or what its annotation speaks of (data with known absences)."""


class QueryConfig(EncoderConfig, QueryOptions):
    """Options of a system over a pretrained text encoder that is asked for attributes."""


class Model(ABC):
    """One system: built from its config, the attribute schema and the vocabulary learnt from training examples.

    A closed-form system (a dictionary, a prompt) keeps all that it learns in its vocabulary. A system may also say why
    it predicts what it predicts, with the method `explain` of `avebench.contracts.explanation.Explains`.
    """

    def __init__(self, config: Any, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        self.config = config
        self.schema = schema
        self.vocabulary = vocabulary

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return what must be known before the model is built, as plain JSON; stored beside the weights."""
        return {}

    @abstractmethod
    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one prediction per example, in the same order."""
