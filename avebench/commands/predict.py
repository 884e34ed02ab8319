"""The prediction of one product, as `avebench predict` prints it."""

from __future__ import annotations

from collections.abc import Sequence

from avebench.contracts.examples import Example, Prediction
from avebench.tables.table import Column, Section, Table, TableRow


def prediction_table(example: Example, prediction: Prediction, row: str, notes: Sequence[str] = ()) -> Table:
    """Return the prediction of one product: each attribute with its score and its values, as they stand in the text."""
    names = list(dict.fromkeys([*prediction.attributes, *prediction.pairs]))
    found: dict[str, list[str]] = {name: sorted(prediction.pairs.get(name, ())) for name in names}
    rows = [TableRow(name, [prediction.attributes.get(name), ", ".join(found[name]) or None]) for name in names]
    columns = [Column("score", "score"), Column("values", "values")]
    notes = [*notes, *([] if rows else ["No attribute is predicted."])]
    return Table(f"{row}: {example.text}", columns, [Section(rows)], notes=notes, label_heading="Attribute")
