"""The registry: listing runs no plug-in code, files join in, mistakes are answered with near matches."""

import subprocess
import sys
from pathlib import Path

import pytest
from made_up import card

from avebench.contracts import registry
from avebench.files.errors import AvebenchError, near_matches

FAILS = "import avebench_no_such_module  # running this file would fail\n\n"


@pytest.fixture(autouse=True)
def forget_plugin_files():
    before = list(registry._files)
    yield
    registry._files[:] = before
    registry.plugins.cache_clear()


def test_listing_loads_no_plugin_code() -> None:
    code = (
        "import sys\nfrom avebench.contracts.registry import plugins; "
        "names = [*plugins('models'), *plugins('datasets')];"
        "assert 'dram' in names and 'demo' in names, names;"
        "loaded = [m for m in sys.modules if m.startswith(('avebench.models.', 'avebench.datasets.', 'torch'))];"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_entry_point_loads() -> None:
    for kind, names in (("models", ("Config", "Model")), ("datasets", ("Options", "Dataset"))):
        for plugin in registry.plugins(kind).values():
            module = plugin.load()
            assert plugin.card == module.CARD
            assert all(hasattr(module, name) for name in names)


def test_a_module_is_found_without_its_packages_being_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "avebench_made_up" / "family"
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").write_text("raise RuntimeError\n")
    (folder / "mine.py").write_text(FAILS + card("mine"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry._source_of("avebench_made_up.family.mine") == folder / "mine.py"
    for missing in ("avebench_made_up.family.yours", "avebench_made_up.family.mine.json", "avebench_not_made_up.mine"):
        assert registry._source_of(missing) is None


def test_file_is_listed_without_being_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FAILS + card("mine"))
    registry.add_plugin_file(path)
    assert registry.plugin("models", "mine").card.summary == "made up"
    with pytest.raises(AvebenchError, match="cannot be imported: ModuleNotFoundError"):
        registry.plugin("models", "mine").load()


def test_clash_of_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FAILS + card("dram"))
    with pytest.raises(AvebenchError, match=r"mine\.py.*'dram'"):
        registry.add_plugin_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no `CARD"),
        ("CARD = ModelCard(name=NAME)\n", "line 1.*literals"),
        ("CARD = ModelCard(nam='x')\n", "line 1.*nam"),
        ("def f(:\n", "line 1.*not Python"),
    ],
)
def test_broken_card(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(AvebenchError, match=message):
        registry.add_plugin_file(path)


def test_unknown_name_is_answered_with_near_matches() -> None:
    with pytest.raises(AvebenchError, match="Did you mean 'dram'"):
        registry.plugin("models", "dramm")
    assert near_matches("zzz", ["a", "b"]) == "Known: a, b."


def test_core_imports_no_plugin() -> None:
    """Arrows go one way: no core module imports a plug-in or names one as a module."""
    core = Path(registry.__file__).parent
    for source in core.rglob("*.py"):
        text = source.read_text()
        assert "avebench.models" not in text.replace('"avebench.models"', ""), source
        assert "import avebench.datasets" not in text and "from avebench.datasets" not in text, source
