"""A trained row for a program: texts and pictures in, predictions out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from avebench.contracts.examples import AttributeSchema, Example, Prediction
from avebench.contracts.explanation import Explanation
from avebench.files.errors import AvebenchError
from avebench.running.chosen_cell import Choice, find_trained
from avebench.running.predict import single_product
from avebench.running.trained import Trained, asked_for, explanations, load_trained
from avebench.store.results import Result, Store


class LoadedModel:
    """A trained row: `result` says how it was trained and how well it does, `schema` what it predicts."""

    def __init__(self, trained: Trained, result: Result) -> None:
        self.result = result
        self._trained = trained

    @property
    def schema(self) -> AttributeSchema:
        """Return the attributes in their order, and the units that texts are cut into."""
        return self._trained.model.schema

    def predict(
        self, texts: str | Sequence[str], images: Sequence[str | PathLike[str] | None] | None = None
    ) -> list[Prediction]:
        """Return the prediction of each text, in order, with the ids "0", "1", ...; scores lie in [0, 1].

        `images` are the files of the products' pictures, one per text or None. AvebenchError if a text is empty, a
        picture cannot be read, or the row needs one that is not given. What is cut at an encoder's limit is warned of.
        """
        predictions, long = self._trained.predict(self._examples(texts, images))
        for line in long.said():
            warnings.warn(line, stacklevel=2)
        return predictions

    def explain(
        self, text: str, image: str | PathLike[str] | None = None, asked: Sequence[str] | None = None
    ) -> Explanation:
        """Return why a product's prediction is what it is; AvebenchError if the system explains nothing.

        A query system is `asked` for these attributes, by default for those that the model was loaded with.
        """
        (example,) = self._examples([text], [image])
        return explanations(asked_for(self._trained, self.result, asked), self.result.row)(example)

    def _examples(
        self, texts: str | Sequence[str], images: Sequence[str | PathLike[str] | None] | None
    ) -> list[Example]:
        texts = [texts] if isinstance(texts, str) else list(texts)
        pictures = [None] * len(texts) if images is None else list(images)
        if len(pictures) != len(texts):
            raise AvebenchError(f"{len(texts)} texts and {len(pictures)} images. Give one image, or None, per text.")
        return [
            single_product(text, None if image is None else Path(image), self._trained, name=str(number))
            for number, (text, image) in enumerate(zip(texts, pictures, strict=True))
        ]


def load_model(choice: Choice, device: str, asked: Sequence[str] | None = None) -> LoadedModel:
    """Return the trained row that is meant, asked for these attributes; AvebenchError if there is none, or several."""
    result = find_trained(choice)
    return LoadedModel(load_trained(result, Store(choice.out), device, choice.data, asked), result)
