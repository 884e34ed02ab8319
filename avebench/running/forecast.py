"""How much a cell would ask a language model, without asking: for `run --dry-run`."""

from __future__ import annotations

from avebench.contracts.registry import plugin
from avebench.files.errors import UnusableError
from avebench.nn.completions.asking_model import AskingModel, Forecast
from avebench.planning.cells import Cell, cell_name
from avebench.running.material import read_for, shown_to
from avebench.running.trained import CLOSED_FORM, Trained
from avebench.store.results import Store


def forecast(cell: Cell, store: Store) -> str | None:
    """Return how many questions a cell would ask, and about how many tokens those without an answer would take.

    None for a cell that is finished or asks no language model. AvebenchError if its data cannot be read.
    """
    if "llm" not in cell.config or store.finished(cell.key):
        return None
    module = plugin("models", cell.model).load()
    if not issubclass(module.Model, AskingModel):
        return None
    _, material = read_for(cell)
    try:
        shown = shown_to(cell, material, store)
    except UnusableError as error:
        return f"{cell_name(cell)}: how much would be asked is not known yet. {error}"
    config = module.Config.model_validate(dict(cell.config))
    vocabulary = module.Model.learn_vocabulary(config, shown.schema, shown.train)
    model, counted = module.Model(config, shown.schema, vocabulary), Forecast(config)
    model.asker = counted
    Trained(model, CLOSED_FORM, "cpu").predict(shown.test)
    further = ", and those that follow from the answers," if config.asks_again() else ""
    return (
        f"{cell_name(cell)}: {counted.requests:,} questions{further} to {config.llm}, of which {counted.answered:,} "
        f"are answered already; the others have about {counted.tokens_in:,} tokens, and their answers at most "
        f"{counted.tokens_out:,}."
    )
