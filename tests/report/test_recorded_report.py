"""A report of what is recorded: the same from both layouts, and it says what of it cannot be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from earlier_layout import unpack
from stored_cells import write_store

from avebench.data.opening import open_dataset
from avebench.data.predictions import prediction_record, read_predictions
from avebench.report.writing import write_report
from avebench.store.examplecounts import count_examples
from avebench.store.recorded import Recording, record, slug
from avebench.store.results import Store


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Record made-up cells in a folder that is the current one, and return where they are recorded."""
    out, data = write_store(tmp_path)
    gold = list(open_dataset("jsonl", data, {}).read("test"))
    found = []
    for one in Store(out).results():
        predictions = read_predictions(Store(out).folder(one.key) / "predictions.jsonl.gz", gold)
        counts = count_examples(gold, predictions, lambda _: ("unseen",))
        records = [prediction_record(each, text_free=True) for each in predictions]
        found.append(Recording(slug(one.row), one.repetition, one, records, counts))
    record(tmp_path / "results" / "mine" / "jsonl", found)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "mine" / "jsonl"


def _page(data: Path | None) -> str:
    target = Path("page.html")
    write_report(["mine.toml"], out=Path("none"), recorded=True, data=data, output=target, format="html")
    page = target.read_text()
    # Where it lies is all that differs.
    return re.sub(r"results/mine/jsonl/[^\"\s]*", "results", page)


@pytest.mark.parametrize("data", [Path("data"), None])
def test_both_layouts_give_the_same_page(recorded: Path, data: Path | None) -> None:
    packed = _page(data)
    assert ("mistakes by kind" in packed) == (data is not None)
    unpack(recorded)
    assert _page(data) == packed


def test_counts_are_those_of_the_predictions(recorded: Path) -> None:
    """Recorded counts show what counting the same predictions again does."""
    packed = _page(Path("data"))
    (recorded / "results.jsonl").rename(recorded / "aside")
    for path in recorded.iterdir():
        path.unlink()
    write_report(["mine.toml"], out=Path("runs"), recorded=False, data=Path("data"), output=Path("p"), format="html")
    tables = [re.findall(r"<t[dh][^>]*>([^<]*)<", page) for page in (packed, Path("p").read_text())]
    assert tables[0] == tables[1] and len(tables[0]) > 100


@pytest.mark.parametrize("name", ["results.jsonl", "predictions.parquet", "counts.parquet"])
def test_what_cannot_be_read_is_left_out_and_said(recorded: Path, name: str) -> None:
    content = (recorded / name).read_bytes()
    (recorded / name).write_bytes(content[:-3])
    target = Path("page.html")
    write_report(["mine.toml"], out=Path("none"), recorded=True, data=Path("data"), output=target, format="html")
    assert f"The recorded results/mine/jsonl/{name} cannot be read" in target.read_text()
