"""How many texts of a data set are too long for a pretrained encoder, counted before anything is trained."""

from __future__ import annotations

from avebench.contracts.dataset import SPLITS, Dataset
from avebench.data.opening import StatisticsRow
from avebench.nn.weights import shown_name
from avebench.store.longtexts import LongTexts


def long_text_rows(dataset: Dataset, encoder: str) -> list[StatisticsRow]:
    """Return the limit of the encoder in word pieces, and for each split the texts over it and what lies behind.

    The weights are not read. A system may have a lower limit of its own: patches of pictures that stand in the same
    sequence, or an option. AvebenchError if the encoder is not here or cannot read texts.
    """
    from avebench.nn.unit_pieces import UnitPieces

    pieces = UnitPieces(encoder, dataset.schema().units)
    rows = [StatisticsRow(f"limit of {shown_name(encoder)}, word pieces", None, pieces.limit)]
    for split in SPLITS:
        long = LongTexts(pieces.limit)
        for example in dataset.read(split):
            long.count(example, pieces.encode(example).beyond, cut=False)
        rows.append(StatisticsRow(f"{split} texts over that limit", None, long.over))
        rows.append(StatisticsRow(f"{split} gold values behind it", None, long.values))
    return rows
