"""What is installed: every folder of modules is named in pyproject.toml, or a wheel would lack it."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_named() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    named = set()
    for place, folder in setuptools["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            named.add(".".join((place, *init.parent.relative_to(ROOT / folder).parts)))
    assert named == set(setuptools["packages"])
