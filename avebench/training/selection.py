"""Which weights of a training are kept, and whether it is over early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avebench.contracts.model import TrainingConfig
from avebench.files.errors import AvebenchError, CellFailedError, near_matches
from avebench.files.sealed import DamagedError
from avebench.nn.neural import NeuralModel
from avebench.training import checkpoint


@dataclass(slots=True)
class Selection:
    """The best validation so far of a run of `total` steps; the weights of that moment lie in `folder`."""

    config: TrainingConfig
    folder: Path
    total: int
    best_step: int | None = None
    best_value: float = -math.inf
    since_best: int = 0
    stopped_early: bool = False

    def judge(self, metrics: Mapping[str, float], step: int, model: NeuralModel) -> None:
        """Keep the weights if the validation at `step` is the best so far; stop if patience is over.

        AvebenchError if the selection metric is missing; CellFailedError if it is not finite.
        """
        if self.config.selection == "last":
            return
        chosen = self.config.selected(metrics)
        if chosen not in metrics:
            raise AvebenchError(
                f"Validation has no metric '{chosen}' (training.selection). {near_matches(chosen, [*metrics, 'last'])}"
            )
        self._select(metrics[chosen], step, model)

    def _select(self, value: float, step: int, model: NeuralModel) -> None:
        """Keep the weights if `value` is the best so far; stop if patience is over and half of the budget spent."""
        if not math.isfinite(value):
            raise CellFailedError(f"The metric '{self.config.selection}' is not finite ({value}) at step {step}.")
        if value > self.best_value:
            self.best_step, self.best_value, self.since_best = step, value, 0
            if step < self.total:
                checkpoint.write_best(self.folder, step, checkpoint.model_tensors(model))
            return
        self.since_best += 1
        patience = self.config.patience
        self.stopped_early = (
            patience is not None and self.since_best >= patience and self.total / 2 <= step < self.total
        )

    def load_selected(self, step: int, model: NeuralModel) -> int:
        """Load the selected weights into `model`, which holds those of `step`; return the step that they are of."""
        if self.best_step is None or self.best_step == step:
            return step
        try:
            best = checkpoint.read_best(self.folder, self.best_step)
        except DamagedError as error:
            raise AvebenchError(
                f"The best weights of a training are damaged on the disk: {self.folder / str(error)}. "
                "Run the command again: what can be continued is."
            ) from None
        checkpoint.load_model_tensors(model, best)
        return self.best_step

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it, as JSON."""
        best_value = self.best_value if self.best_step is not None else None
        return {"best_step": self.best_step, "best_value": best_value, "since_best": self.since_best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self.best_step, self.since_best = state["best_step"], state["since_best"]
        self.best_value = -math.inf if state["best_value"] is None else state["best_value"]
