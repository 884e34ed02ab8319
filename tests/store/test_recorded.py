"""What is recorded under results/ is policed: whole, of registered models, within what theory allows."""

import json
from pathlib import Path

import pytest

from avebench.contracts.registry import plugins
from avebench.datasets.demo import demo
from avebench.planning.experiment_files import experiment_names
from avebench.store.invariants import check_invariants
from avebench.store.results import Result, load_result

RESULTS = Path(__file__).parents[2] / "results"
FILES = sorted(path for path in RESULTS.rglob("*.json") if path.stem.isdigit())


def test_something_is_recorded() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(RESULTS).as_posix())
def test_recorded_result(path: Path) -> None:
    result = load_result(path)
    assert result.model in plugins("models") and result.dataset in plugins("datasets")
    # A cell that several tables share names the one that ran it first.
    assert {result.experiment, path.parts[-4]} <= set(experiment_names()) and str(result.repetition) == path.stem
    assert not result.dirty and len(result.revision) == 40
    assert path.with_suffix(".predictions.jsonl.gz").is_file() and path.with_suffix(".counts.jsonl.gz").is_file()


def test_no_cell_stands_twice_and_tables_are_consistent() -> None:
    tables: dict[Path, list[Result]] = {}
    for path in FILES:
        tables.setdefault(path.parent.parent, []).append(load_result(path))
    for results in tables.values():
        assert len({result.key for result in results}) == len(results)
        check_invariants(results)


def test_nothing_without_the_pictures_beats_the_ceiling_of_the_demo_set() -> None:
    """The expected F1 of the optimal rule given the texts bounds every system that does not see the own pictures."""
    import gzip

    import numpy as np

    ceiling = demo.split_ceiling("test")
    checked = 0
    for path in FILES:
        result = load_result(path)
        sees_the_picture = "image_encoder" in result.weights and result.control is None
        if result.dataset != "demo" or sees_the_picture:
            continue
        lines = gzip.decompress(path.with_suffix(".counts.jsonl.gz").read_bytes()).splitlines()
        counts = np.array([json.loads(line)["counts"]["tag"] for line in lines])
        draws = np.random.default_rng(0).integers(0, len(counts), (1000, len(counts)))
        tp, predicted, gold = counts[draws].sum(axis=1).T
        error = float(np.std(200 * tp / (predicted + gold)))
        assert result.scores.metrics["tag_f1"].value <= ceiling + 3 * error, path
        checked += 1
    assert checked > 0, "no text-only result on the demo set is recorded"
