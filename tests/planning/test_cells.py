"""Cell keys depend on content alone, and overrides are laid in the documented order."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from avebench.contracts.model import ModelCard
from avebench.contracts.registry import Plugin, plugin
from avebench.files.errors import AvebenchError
from avebench.planning import configs
from avebench.planning.cells import cells_of
from avebench.planning.configs import Layers, check_settings, resolve
from avebench.planning.data_choice import DataChoice
from avebench.planning.experiment import Row
from avebench.planning.settings import merge, parse_settings

QUICK = Layers("quick", {"text_encoder": "minilm"})


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVEBENCH_CACHE", str(tmp_path / "cache"))


def test_merge_takes_the_other_budget_away() -> None:
    lower = {"training": {"epochs": 45, "batch_size": 70}}
    assert merge(lower, {"training": {"steps": 600}}) == {"training": {"steps": 600, "batch_size": 70}}
    assert merge(merge(lower, {"training": {"steps": 6}}), {"training": {"epochs": 2}})["training"]["epochs"] == 2
    assert lower == {"training": {"epochs": 45, "batch_size": 70}}


def test_precedence() -> None:
    row = Row(label="r", model="dram", options={"dropout": 0.3, "training": {"batch_size": 8}})
    settings = Layers("quick", {"training": {"batch_size": 4}}, {"dropout": 0.4}, 0.1)
    paper = resolve(Row(label="r", model="dram"), Layers("paper")).config
    assert paper["training"]["batch_size"] == 70 and paper["training"]["epochs"] == 45
    assert resolve(row, Layers("quick", {}, {"dropout": 0.4}, 0.1)).config["dropout"] == 0.3
    config = resolve(row, settings).config
    assert config["training"]["batch_size"] == 4
    assert config["training"]["steps"] == 600 and config["training"]["epochs"] is None


def test_row_options_must_fit_and_shared_ones_may_not() -> None:
    with pytest.raises(AvebenchError, match=r"Row 'r'.*no field 'dropuot'.*'dropout'"):
        resolve(Row(label="r", model="dram", options={"dropuot": 0.3}), QUICK)
    resolved = resolve(Row(label="d", model="dictionary"), QUICK)
    assert resolved.unknown == ("text_encoder",) and resolved.pretrained == {}
    check_settings([resolved, resolve(Row(label="r", model="dram"), QUICK)])
    with pytest.raises(AvebenchError, match="--set text_encoder"):
        check_settings([resolved])


def test_settings_are_toml_values() -> None:
    assert parse_settings(["training.steps=100", "text_encoder=minilm", "a.b=[1, 2]"]) == {
        "training": {"steps": 100},
        "text_encoder": "minilm",
        "a": {"b": [1, 2]},
    }
    with pytest.raises(AvebenchError, match="KEY=VALUE"):
        parse_settings(["training.steps"])


def _keys(row: Row, around: Layers, data: DataChoice, fraction: float = 1.0, repetitions: int = 2) -> list[str]:
    around = replace(around, train_fraction=fraction)
    return [cell.key for cell in cells_of(resolve(row, around), around, data, repetitions)]


def test_key_depends_on_content_only(tmp_path: Path) -> None:
    row = Row(label="d", model="dictionary")
    here = DataChoice("jsonl", tmp_path / "a", {}, "f" * 64)
    there = DataChoice("jsonl", tmp_path / "b", {}, "f" * 64)
    keys = _keys(row, QUICK, here)
    assert len(set(keys)) == 2
    assert keys == _keys(Row(label="another label", model="dictionary"), Layers("paper", {}), there)
    assert set(keys).isdisjoint(_keys(row, QUICK, DataChoice("jsonl", tmp_path, {}, "e" * 64)))
    assert set(keys).isdisjoint(_keys(row, QUICK, here, fraction=0.5))


def test_key_follows_encoder_content_not_its_path(tmp_path: Path) -> None:
    row = Row(label="t", model="dram")
    data = DataChoice("jsonl", None, {}, "f" * 64)
    for name, weights in (("one", b"w"), ("same", b"w"), ("other", b"v")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    one, same, other = (
        _keys(row, Layers("quick", {"text_encoder": str(tmp_path / name)}), data) for name in ("one", "same", "other")
    )
    assert one == same
    assert set(one).isdisjoint(other)


def test_equal_layers_of_two_models_are_remembered_apart() -> None:
    known = {"dictionary": set(), "jave": {"text_encoder"}, "m-jave": {"text_encoder", "image_encoder"}}
    for model, roles in known.items():
        for _ in range(2):  # Made, then remembered.
            assert set(resolve(Row(label="r", model=model), QUICK).pretrained) == roles


def test_a_changed_module_of_the_package_is_another_source(tmp_path: Path) -> None:
    card = ModelCard("mine", "made up", "none", 2026, "T", "test", 1)
    shared, family = tmp_path / "systems" / "shared", tmp_path / "systems" / "family"
    for folder in (tmp_path / "systems", shared, family):
        folder.mkdir()
        (folder / "__init__.py").touch()
    (shared / "options.py").write_text("SIZE = 1\n")
    (family / "mine.py").write_text("from systems.shared.options import SIZE\n")
    (tmp_path / "beside.py").touch()

    def digests(origin: str) -> list[str]:
        configs._digests_around.cache_clear()
        return configs._source_digests(Plugin("models", "mine", origin, family / "mine.py", card))

    packaged, alone = digests("systems.family.mine"), digests(str(family / "mine.py"))
    assert (len(packaged), len(alone)) == (5, 1)
    (tmp_path / "beside.py").write_text("x = 1\n")
    assert digests("systems.family.mine") == packaged
    (shared / "options.py").write_text("SIZE = 2\n")
    assert digests("systems.family.mine") != packaged
    assert digests(str(family / "mine.py")) == alone


@pytest.mark.parametrize("name", ["dram", "m-jave", "joint-bert", "opentag"])
def test_the_sources_of_a_system_hold_every_class_of_its_options(name: str) -> None:
    system = plugin("models", name)
    own = [base for base in system.load().Config.__mro__ if base.__module__.startswith("avebench.models.")]
    hashes = configs._source_digests(system)
    for base in own:
        source = importlib.import_module(base.__module__).__file__
        assert source is not None and configs.file_digest(Path(source)) in hashes
