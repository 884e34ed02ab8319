"""The subset of OA-Mine (Zhang et al. 2022) by which ExtractGPT (Brinkmann et al. 2023) is measured.

What the reader does is in `avebench.datasets.extractgpt.layout`. The figures under `published` are counts of the files
as they were released.
"""

from __future__ import annotations

from avebench.contracts.dataset import DatasetCard
from avebench.datasets.extractgpt import layout

CARD = DatasetCard(
    name="oa-mine",
    summary="ExtractGPT's subset of OA-Mine: 1,943 English titles with categories, values and known absences.",
    languages=("en",),
    units="word",
    licence="Apache-2.0, as its repository is.",
    obtain="Put data/processed_datasets/oa-mine/{train,test}.jsonl of https://github.com/wbsg-uni-mannheim/ExtractGPT "
    "into one folder.",
    reader=1,
    folders=("extractgpt-oa-mine", "oa-mine"),
    published={
        "titles in train.jsonl": 1452,
        "titles in test.jsonl": 491,
        "pairs of title and attribute in train.jsonl": 7360,
        "pairs of title and attribute in test.jsonl": 2451,
    },
    pictures=False,
)

Options = layout.Options
Dataset = layout.Dataset
