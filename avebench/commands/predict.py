"""`avebench predict`: a trained row on products."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avebench.commands.options import (
    Asked,
    CellKey,
    DataFolder,
    Device,
    ExperimentName,
    Format,
    Formats,
    MissingImages,
    MissingPictures,
    Out,
    Plugins,
    ProductImage,
    ProductText,
    Repetition,
    RowName,
    TrainedFraction,
    TrainedOn,
    register,
)
from avebench.files.errors import AvebenchError
from avebench.store.folder import RUNS

if TYPE_CHECKING:
    from avebench.contracts.examples import Example, Prediction
    from avebench.tables.table import Table


def predict(
    experiment: ExperimentName,
    row: RowName,
    input: Annotated[Path | None, typer.Option(help="Products, gold JSONL; gold in it is not looked at.")] = None,
    output: Annotated[Path | None, typer.Option(help="New file of predictions, one line per product.")] = None,
    text: ProductText = None,
    image: ProductImage = None,
    dataset: TrainedOn = None,
    train_fraction: TrainedFraction = None,
    repetition: Repetition = None,
    cell: CellKey = "",
    ask: Asked = None,
    data: DataFolder = None,
    missing_images: MissingPictures = None,
    device: Device = "auto",
    out: Out = RUNS,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
) -> None:
    """Use a trained row on products: a file of them, or one that is given and printed.

    A line that is no product, or whose picture the row needs and cannot read, is answered by a record
    {id, line, error}, and the exit code stays 0. The same command continues one that was killed.

    Examples: avebench predict --experiment table6 --row DRAM --input products.jsonl --output out.jsonl;
    avebench predict --experiment table6 --row DRAM --text "a blue dress" --image photo.jpg
    """
    from avebench.running.chosen_cell import Choice, find_trained
    from avebench.running.predict import predict_file, single_product
    from avebench.running.trained import load_trained
    from avebench.store.results import Store
    from avebench.tables.render import emit

    if (input is None) == (text is None) or (input is None) != (output is None) or (image and text is None):
        raise AvebenchError("Give --input and --output for a file of products, or --text (and --image) for one.")
    register(plugin)
    result = find_trained(Choice(experiment, row, out, dataset, train_fraction, repetition, cell, data))
    trained = load_trained(result, Store(out), device, data, ask)
    if input is not None and output is not None:
        missing = missing_images or MissingImages.error
        print(predict_file(trained, result.key, input, output, missing.value))
    elif text is not None:
        example = single_product(text, image, trained)
        (prediction,), long = trained.predict([example])
        emit(prediction_table(example, prediction, row, long.said()), format.value)


def prediction_table(example: Example, prediction: Prediction, row: str, notes: Sequence[str] = ()) -> Table:
    """Return the prediction of one product: each attribute with its score and its values, as they stand in the text."""
    from avebench.tables.table import Column, Section, Table, TableRow

    names = list(dict.fromkeys([*prediction.attributes, *prediction.pairs]))
    found: dict[str, list[str]] = {name: sorted(prediction.pairs.get(name, ())) for name in names}
    rows = [TableRow(name, [prediction.attributes.get(name), ", ".join(found[name]) or None]) for name in names]
    columns = [Column("score", "score"), Column("values", "values")]
    notes = [*notes, *([] if rows else ["No attribute is predicted."])]
    return Table(f"{row}: {example.text}", columns, [Section(rows)], notes=notes, label_heading="Attribute")
