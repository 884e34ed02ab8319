"""The demo set written as the release of MAE is laid out.

`python tests/support/mae_shaped.py FOLDER`, then `--data FOLDER`.

MAE itself is not at hand everywhere; its reader, matching rule and accuracy are tried on products with pictures that a
system can learn from. A product's values are its specifications; that they stand in the text elsewhere as well, and so
are matched there, is MAE's way too. Attributes with several values keep the first, as a specification has one.
"""

import json
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from avebench.data.opening import open_dataset

SOURCES = {"train": ("train", "valid"), "val": ("test",)}
"""Folder of the release -> splits of the demo set."""


def write(folder: Path, products: int | None = None) -> None:
    """Write the first `products` of each split (None: all) into the folders train, val and mumie-img of `folder`."""
    demo = open_dataset("demo", None, {})
    (folder / "mumie-img").mkdir(parents=True)
    for source, splits in SOURCES.items():
        records = [
            _record(example, folder / "mumie-img") for split in splits for example in islice(demo.read(split), products)
        ]
        (folder / source).mkdir()
        for name, part in (("a", records[::2]), ("b", records[1::2])):
            (folder / source / f"{name}.json").write_text(json.dumps(part, indent=1), encoding="utf-8")


def _record(example, pictures: Path) -> dict[str, object]:
    values: dict[str, str] = {}
    for span in sorted(example.spans, key=lambda span: span.start):
        values.setdefault(span.attribute, example.text[span.start : span.end])
    name = f"{example.id}.png"
    example.picture.open().save(pictures / name)
    title, _, rest = example.text.partition(" ")
    return {"diffbotUri": f"product|4|{example.id}", "title": title, "text": rest, "images": [name], "specs": values}


def main(arguments: Iterable[str]) -> None:
    (folder,) = arguments
    write(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
