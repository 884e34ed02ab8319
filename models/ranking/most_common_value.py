"""The most common value: for every attribute the value that most training products have (Logan et al. 2017).

The paper's baseline, and the floor of what a system that ranks values for a given attribute must beat: it reads neither
text nor picture. Values are ranked by the number of training products; those that training has for other attributes
alone are not ranked. Of equally frequent values the first by spelling is predicted, and all have the worst of their
ranks, so that the share of first ranks can lie below the accuracy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from avebench.contracts.examples import AttributeSchema, Example, Prediction
from avebench.contracts.model import Model as BaseModel
from avebench.contracts.model import ModelCard, ModelConfig, Vocabulary
from avebench.models.ranking.values import answered, known_asked, learn_values

CARD = ModelCard(
    name="most-common-value",
    summary="The value that most training products have for the attribute; nothing is read, nothing is trained",
    paper="Multimodal Attribute Extraction, 2017 (baseline); arXiv 1711.11118",
    year=2017,
    modality="T",
    family="query",
    implementation=1,
    protocol="oracle",
    needs_spans=False,
)


class Config(ModelConfig):
    """The most common value has no options of its own."""


class Model(BaseModel):
    """Counts of values by attribute."""

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self._products: dict[str, dict[str, float]] = defaultdict(dict)
        for value, products in vocabulary["values"]:
            for attribute, number in products.items():
                self._products[attribute][value] = float(number)

    @classmethod
    def learn_vocabulary(cls, config: Config, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `values`, the list of [value, {attribute: training products}]."""
        return {"values": learn_values(schema, train)}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the most common value of each attribute that is asked for, and the ranks of its values."""
        return [
            answered(
                example,
                {name: self._products.get(name, {}) for name in known_asked(example, self.schema, CARD.name)},
            )
            for example in examples
        ]
