"""The subset of AE-110K in ten categories by which ExtractGPT (Brinkmann et al. 2023) is measured.

What the reader does is in `avebench.datasets.extractgpt.layout`. The figures under `published` are counts of the files
as they were released.
"""

from __future__ import annotations

from avebench.contracts.dataset import DatasetCard
from avebench.datasets.extractgpt import layout

CARD = DatasetCard(
    name="extractgpt",
    summary="ExtractGPT's subset of AE-110K: 2,092 English titles of 10 categories, values and known absences.",
    languages=("en",),
    units="word",
    licence="Apache-2.0, as its repository is.",
    obtain="Put data/processed_datasets/ae-110k/{train,test}.jsonl of https://github.com/wbsg-uni-mannheim/ExtractGPT "
    "into one folder.",
    reader=1,
    folders=("extractgpt-ae110k", "extractgpt"),
    published={
        "titles in train.jsonl": 1568,
        "titles in test.jsonl": 524,
        "pairs of title and attribute in train.jsonl": 4360,
        "pairs of title and attribute in test.jsonl": 1482,
        "pairs with a value in train.jsonl": 3730,
        "pairs with a value in test.jsonl": 1248,
        "values in train.jsonl": 3769,
        "values in test.jsonl": 1257,
        "categories": 10,
        "attributes of a category": 101,
    },
    pictures=False,
)

Options = layout.Options
Dataset = layout.Dataset
