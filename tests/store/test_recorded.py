"""What is recorded under results/ is policed: whole, of registered models, within what theory allows."""

from pathlib import Path

import numpy as np
import pytest

from avebench.contracts.registry import plugins
from avebench.datasets.demo import demo
from avebench.planning.experiment_files import experiment_names
from avebench.store.examplecounts import columns_of
from avebench.store.invariants import check_invariants
from avebench.store.recorded import recorded_cells, recorded_folders
from avebench.tables.table import MARKED_PROTOCOLS

RESULTS = Path(__file__).parents[2] / "results"
FOLDERS = recorded_folders(RESULTS)
MOST_FILES = 15


def test_something_is_recorded() -> None:
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(RESULTS).as_posix())
def test_recorded_folder(folder: Path) -> None:
    cells = recorded_cells(folder)
    results = [cell.result() for cell in cells]
    for cell, result in zip(cells, results, strict=True):
        assert result.model in plugins("models") and result.dataset in plugins("datasets")
        # A cell that several tables share names the one that ran it first.
        assert {result.experiment, folder.parent.name} <= set(experiment_names())
        assert result.repetition == cell.repetition
        assert not result.dirty and len(result.revision) == 40
        counts = cell.counts()
        assert len(counts) == result.scores.examples
        assert [one["id"] for one in cell.records()] == columns_of(counts).ids
    assert len({result.key for result in results}) == len(results)
    check_invariants(results)


def test_folders_hold_few_files() -> None:
    for folder in RESULTS.glob("*/*/"):
        assert len([path for path in folder.rglob("*") if path.is_file()]) <= MOST_FILES, folder


def test_nothing_without_the_pictures_beats_the_ceiling_of_the_demo_set() -> None:
    """The expected F1 of the optimal rule given the texts bounds what neither sees the own pictures nor is told."""
    ceiling = demo.split_ceiling("test")
    checked = 0
    for folder in (folder for folder in FOLDERS if folder.name == "demo"):
        for cell in recorded_cells(folder):
            result = cell.result()
            if ("image_encoder" in result.weights and result.control is None) or result.protocol in MARKED_PROTOCOLS:
                continue
            counts = columns_of(cell.counts()).counts["tag"]
            draws = np.random.default_rng(0).integers(0, len(counts), (1000, len(counts)))
            tp, predicted, gold = counts[draws].sum(axis=1).T
            error = float(np.std(200 * tp / (predicted + gold)))
            assert result.scores.metrics["tag_f1"].value <= ceiling + 3 * error, (folder, cell.row)
            checked += 1
    assert checked > 0, "no text-only result on the demo set is recorded"
