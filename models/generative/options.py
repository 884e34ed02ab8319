"""Options of every system that an encoder-decoder writes for."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from avebench.contracts.model import TrainedConfig, TrainingConfig
from avebench.models.generative.codec import Mode


class WriterOptions(TrainedConfig):
    """Options of a system that writes; the training is ours, as T5 and BART are mostly tuned.

    The presets are the generators of Joint-AVE's paper and one for Chinese.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "flan-t5": {"generator": "google/flan-t5-base"},
        "bart": {"generator": "facebook/bart-base"},
        "mepave": {"generator": "google/mt5-base"},
    }

    generator: str = "google-t5/t5-base"
    """Hub id in the local cache, folder, or `demo`: an encoder-decoder of type T5, mT5 or BART."""
    longest_text: int = Field(default=512, ge=16)
    """Word pieces of the source that are read, with the prompt; a shorter limit of the model holds."""
    longest_answer: int = Field(default=128, ge=2)
    """Word pieces of an answer at test."""
    beams: int = Field(default=1, ge=1)
    """1: greedy."""
    constrained: bool = False
    """Whether only attributes that may be answered, and values that stand in the text, can be written."""
    values: Mode = "constrained"
    """Whether written values that have no place in the text are dropped, or kept without one."""
    training: TrainingConfig = TrainingConfig(
        optimizer="adamw",
        learning_rates={"default": 1e-4},
        schedule="linear",
        clip_norm=1.0,
        batch_size=16,
        epochs=10,
        selection="tag_f1 or string_f1",
        prediction_batch_size=32,
    )

    def pretrained(self) -> dict[str, str]:
        """Return the encoder-decoder by its role."""
        return {"generator": self.generator}
