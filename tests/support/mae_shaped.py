"""The demo set written as the release of MAE is laid out.

`python tests/support/mae_shaped.py FOLDER`, then `--data FOLDER`.

MAE itself is not at hand everywhere; its reader, matching rule and accuracy are tried on products with pictures that a
system can learn from. A product's values are its specifications; that they stand in the text elsewhere as well, and so
are matched there, is MAE's way too. Attributes with several values keep the first, as a specification has one. A
product has one to five pictures: the demo set's own, mirrored, turned, and two of its halves.
"""

import json
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from PIL import Image, ImageOps

from avebench.data.opening import open_dataset

SOURCES = {"train": ("train", "valid"), "val": ("test",)}
"""Folder of the release -> splits of the demo set."""


def write(folder: Path, products: int | None = None) -> None:
    """Write the first `products` of each split (None: all) into the folders train, val and mumie-img of `folder`."""
    demo = open_dataset("demo", None, {})
    (folder / "mumie-img").mkdir(parents=True)
    for source, splits in SOURCES.items():
        records = [
            _record(example, number, folder / "mumie-img")
            for split in splits
            for number, example in enumerate(islice(demo.read(split), products))
        ]
        (folder / source).mkdir()
        for name, part in (("a", records[::2]), ("b", records[1::2])):
            (folder / source / f"{name}.json").write_text(json.dumps(part, indent=1), encoding="utf-8")


def _record(example, number: int, pictures: Path) -> dict[str, object]:
    values: dict[str, str] = {}
    for span in sorted(example.spans, key=lambda span: span.start):
        values.setdefault(span.attribute, example.text[span.start : span.end])
    views = _views(example.picture.open())[: 1 + number % 5]
    names = [f"{example.id}{f'-{place}' if place else ''}.png" for place in range(len(views))]
    for name, view in zip(names, views, strict=True):
        view.save(pictures / name)
    title, _, rest = example.text.partition(" ")
    return {"diffbotUri": f"product|4|{example.id}", "title": title, "text": rest, "images": names, "specs": values}


def _views(picture: Image.Image) -> list[Image.Image]:
    """Return a picture and four others of what it shows."""
    width, height = picture.size
    halves = [picture.crop((0, top, width, top + height // 2)) for top in (0, height // 2)]
    return [picture, ImageOps.mirror(picture), picture.rotate(90), *halves]


def main(arguments: Iterable[str]) -> None:
    (folder,) = arguments
    write(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
