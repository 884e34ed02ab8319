"""The trained system of a finished cell, ready to predict. Only loading a model that the loop trained imports torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from avebench.contracts.examples import AttributeSchema, Example, Prediction, blind
from avebench.contracts.explanation import Explains, Explanation
from avebench.contracts.model import Model, TrainedConfig
from avebench.contracts.registry import plugin
from avebench.data.opening import open_dataset
from avebench.files.atomic import write_atomically
from avebench.files.errors import AvebenchError, UnusableError
from avebench.files.sealed import DamagedError, check_digest, read_record
from avebench.nn.weights import weights_digest
from avebench.planning.cells import kind_of
from avebench.planning.validation import describe
from avebench.store.longtexts import LongTexts
from avebench.store.results import Result, Store

VOCABULARY, SCHEMA, WEIGHTS, RECORD = "vocabulary.json", "schema.json", "weights.safetensors", "training.json"
"""What a cell keeps of its system, beside `config.json`; weights and record only where the loop trains it."""
CLOSED_FORM: Mapping[str, Any] = {
    "steps": 0,
    "epochs": 0.0,
    "best_step": 0,
    "selection": "none",
    "history": [],
    "seconds": {},
    "peak_memory_bytes": 0,
    "parameters": {"trained": 0},
    "diagnostics": {},
}
"""What a training record holds for a system that the loop does not train."""
SHOWN = 8
"""Characters of a key that a message shows."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model ready to predict, and how it was trained."""

    model: Model
    record: Mapping[str, Any]
    device: str
    asked: tuple[str, ...] | None = None
    """What a query system is asked for, of every example; None: what each example says, and of others everything."""

    def predict(self, examples: Sequence[Example]) -> tuple[list[Prediction], LongTexts]:
        """Return the predictions in order, and how many examples run over the encoder's limit.

        The system sees no gold annotation.
        """
        shown = [self.shown(example) for example in examples]
        if not isinstance(self.model.config, TrainedConfig):
            return self.model.predict(shown), LongTexts()
        model: Any = self.model
        encoded = [model.encode(example) for example in shown]
        return model.predict_encoded(encoded), self._long_texts(examples, encoded)

    def shown(self, example: Example) -> Example:
        """Return what the system sees of an example: no gold annotation, and what it is asked for."""
        seen = blind(example)
        return seen if self.asked is None else replace(seen, asked=self.asked)

    def long_texts(self, example: Example) -> LongTexts:
        """Return whether an example runs over the encoder's limit."""
        if not isinstance(self.model.config, TrainedConfig):
            return LongTexts()
        model: Any = self.model
        return self._long_texts([example], [model.encode(self.shown(example))])

    def _long_texts(self, examples: Sequence[Example], encoded: Sequence[Any]) -> LongTexts:
        model: Any = self.model
        long = LongTexts(limit=model.text_limit())
        for example, one in zip(examples, encoded, strict=True):
            long.count(example, model.beyond(one), cut=model.truncated(one) > 0)
        return long


def write_schema(folder: Path, schema: AttributeSchema) -> None:
    """Keep the attributes beside the weights, so that a system predicts where its data set is not."""
    write_atomically(folder / SCHEMA, json.dumps(asdict(schema), ensure_ascii=False))


def restored(model: Any, folder: Path, device: str) -> Trained:
    """Put the weights that a cell keeps into its model, on `device`; UnusableError if they are not what was trained."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from avebench.training import checkpoint

    try:
        record = read_record(folder / RECORD)
    except DamagedError as error:
        raise _unfit(folder, f"its {RECORD} cannot be read: {error}") from None
    if not CLOSED_FORM.keys() <= record.keys():
        raise _unfit(folder, f"its {RECORD} lacks {', '.join(sorted(CLOSED_FORM.keys() - record.keys()))}")
    try:
        check_digest(folder, WEIGHTS)
        tensors = load_file(folder / WEIGHTS)
        checkpoint.load_model_tensors(model, tensors)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unfit(folder, f"its {WEIGHTS} cannot be read: {error}") from None
    if any(not tensor.isfinite().all() for tensor in tensors.values()):
        raise _unfit(folder, f"its {WEIGHTS} holds numbers that are not finite")
    return Trained(model.to(device).eval(), record, device)


def load_trained(
    result: Result,
    store: Store,
    device: str = "auto",
    data: Path | None = None,
    asked: Sequence[str] | None = None,
) -> Trained:
    """Return the system of a finished cell, which is `asked` for these attributes, or for all.

    `data` is looked at only for a cell that does not keep its attributes. AvebenchError if something is missing, or is
    no longer what the cell was trained with, and if a system is asked for attributes that cannot be.
    """
    _check_asked(result, asked)
    folder = store.folder(result.training_key or result.key)
    _check_unchanged(result)
    schema = _schema(folder, result, data)
    module = plugin("models", result.model).load()
    try:
        config = module.Config.model_validate(result.config)
    except ValidationError as error:
        raise _unfit(folder, f"its options are of another version: {describe(error, module.Config)}") from None
    vocabulary = _kept(folder, VOCABULARY)
    place = "cpu"
    if isinstance(config, TrainedConfig):
        from avebench.nn.neural import device_named

        place = str(device_named(device))
    try:
        model = module.Model(config, schema, vocabulary)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _unfit(folder, f"its {VOCABULARY} fits no {result.model} ({type(error).__name__}: {error})") from None
    system = restored(model, folder, place) if isinstance(config, TrainedConfig) else Trained(model, CLOSED_FORM, place)
    return _asking(system, asked)


def asked_for(trained: Trained, result: Result, asked: Sequence[str] | None) -> Trained:
    """Return the system of a cell, asked for these attributes; for None as it is. AvebenchError if it cannot be."""
    _check_asked(result, asked)
    return _asking(trained, asked)


def _asking(system: Trained, asked: Sequence[str] | None) -> Trained:
    return replace(system, asked=tuple(dict.fromkeys(asked))) if asked else system


def _check_asked(result: Result, asked: Sequence[str] | None) -> None:
    """Raise AvebenchError if a system that is never asked is `asked` for attributes."""
    if asked and plugin("models", result.model).card.protocol == "native":
        raise AvebenchError(
            f"--ask {asked[0]}: {result.model} finds attributes by itself and cannot be asked. Leave --ask out."
        )


def _check_unchanged(result: Result) -> None:
    """Raise AvebenchError unless plug-in and pretrained encoders are those that the cell was trained with."""
    here = plugin("models", result.model).card.implementation
    if here != result.implementation:
        raise AvebenchError(
            f"The cell {result.key[:SHOWN]} was trained by implementation {result.implementation} of {result.model}; "
            f"here is {here}. Train its row again with 'avebench run'."
        )
    for role, weight in result.weights.items():
        if weights_digest(weight.name, kind_of(role)) != weight.sha256:
            raise AvebenchError(
                f"The {role} '{weight.name}' is not the one that the cell {result.key[:SHOWN]} was trained with. "
                "Put that one back, or train the row again with 'avebench run'."
            )


def _schema(folder: Path, result: Result, data: Path | None) -> AttributeSchema:
    """Return the attributes that a cell was trained for: as it keeps them, else those of its data set."""
    if (folder / SCHEMA).exists():
        try:
            return TypeAdapter(AttributeSchema).validate_python(_kept(folder, SCHEMA))
        except ValidationError as error:
            raise _unfit(folder, f"its {SCHEMA} is no list of attributes: {error.errors()[0]['msg']}") from None
    dataset = open_dataset(result.dataset, data, result.dataset_options)
    if dataset.fingerprint() != result.fingerprint:
        raise _unfit(folder, f"it keeps no attributes, and the data set {result.dataset} here is another")
    return dataset.schema()


def _kept(folder: Path, name: str) -> Any:
    """Return what a JSON file of a cell holds; UnusableError if it is not what was written."""
    try:
        check_digest(folder, name)
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unfit(folder, f"its {name} cannot be read: {error}") from None


def _unfit(folder: Path, why: str) -> UnusableError:
    return UnusableError(f"The cell {folder} cannot be used: {why}. Run its row again with 'avebench run --fresh'.")


def explanations(trained: Trained, row: str) -> Callable[[Example], Explanation]:
    """Return what explains an example by a row's system, which sees no gold; AvebenchError if it explains nothing.

    The example of an explanation is as it was given, and asked for what the system is asked for by name.
    """
    model = trained.model
    if not isinstance(model, Explains):
        raise AvebenchError(
            f"The system of the row '{row}' does not explain itself: its plug-in has no explain(example) "
            "(avebench/contracts/explanation.py). Use 'avebench predict', or name a row of another system."
        )

    def explained(example: Example) -> Explanation:
        whole = example if trained.asked is None else replace(example, asked=trained.asked)
        return replace(model.explain(trained.shown(example)), example=whole)

    return explained
