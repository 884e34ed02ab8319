"""How the house is laid out: rooms with their paragraphs, modules that can be read, all of it in the wheel."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_named() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    named = set()
    for place, folder in setuptools["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            named.add(".".join((place, *init.parent.relative_to(ROOT / folder).parts)))
    assert named == set(setuptools["packages"])


def test_nothing_but_rooms_lies_in_the_core() -> None:
    assert {path.name for path in (ROOT / "avebench").iterdir() if path.is_file()} == {"__init__.py", "py.typed"}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rooms = {layer.removeprefix("avebench.") for layer in contracts[0]["layers"]}
    assert {path.parent.name for path in (ROOT / "avebench").glob("*/__init__.py")} == rooms
    tested = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("**/test_*.py"))}
    assert tested <= rooms | {"models", "datasets", "campaigns"}


def test_every_folder_says_what_it_is_for() -> None:
    folders = [path for root in ("avebench", "models", "datasets") for path in (ROOT / root).rglob("__init__.py")]
    for path in folders:
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        whole = path.parent.parent.name == "avebench"
        assert len(said) > (120 if whole else 40), path


def test_no_module_is_longer_than_400_lines() -> None:
    modules = [path for root in ("avebench", "models", "datasets") for path in (ROOT / root).rglob("*.py")]
    assert not {str(path): lines for path in modules if (lines := len(path.read_text().splitlines())) > 400}
