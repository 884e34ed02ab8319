"""Finding plug-ins by entry point or file; listing them runs none of their code.

The card of a plug-in is read from its source as a literal, so that a list of thirty systems costs no import of torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from avebench.contracts.dataset import DatasetCard
from avebench.contracts.model import ModelCard
from avebench.files.errors import AvebenchError, near_matches

Kind = Literal["models", "datasets"]
CARDS: dict[Kind, type[Any]] = {"models": ModelCard, "datasets": DatasetCard}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One registered plug-in: its card, where it comes from, and its source file."""

    kind: Kind
    name: str
    origin: str
    source: Path
    card: Any

    def load(self) -> ModuleType:
        """Import the module and return it; AvebenchError if that fails or one of its three names is missing."""
        try:
            module = self._imported()
        except AvebenchError:
            raise
        except (Exception, SystemExit) as error:
            # What a plug-in does when it is imported is its own affair, and not a fault of avebench.
            what = f"{type(error).__name__}: {error}"
            raise AvebenchError(f"The plug-in '{self.name}' ({self.origin}) cannot be imported: {what}.") from error
        for needed in ("Config", "Model") if self.kind == "models" else ("Options", "Dataset"):
            if not hasattr(module, needed):
                raise AvebenchError(
                    f"The plug-in {self.origin} defines no '{needed}'. Every plug-in of {self.kind} does."
                )
        return module

    def _imported(self) -> ModuleType:
        if not self.origin.endswith(".py"):
            return importlib.import_module(self.origin)
        name = f"avebench_plugin_{self.source.stem}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, self.source)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            # Half a module must not be found in its place the next time.
            del sys.modules[name]
            raise
        return module


def read_card(source: Path) -> tuple[Kind, Any]:
    """Return the kind and the card of a plug-in file without running it; AvebenchError says what its card lacks."""
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"), filename=str(source))
    except (OSError, UnicodeDecodeError) as error:
        raise AvebenchError(f"The plug-in file {source} cannot be read: {error}.") from None
    except SyntaxError as error:
        raise AvebenchError(f"The plug-in file {source}, line {error.lineno}, is not Python: {error.msg}.") from None
    for statement in tree.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
            continue
        names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
        if names != ["CARD"] or not isinstance(statement.value.func, ast.Name):
            continue
        for kind, card in CARDS.items():
            if statement.value.func.id == card.__name__:
                try:
                    fields = {word.arg: ast.literal_eval(word.value) for word in statement.value.keywords if word.arg}
                    return kind, card(**fields)
                except (ValueError, TypeError) as error:
                    raise AvebenchError(
                        f"The plug-in file {source}, line {statement.lineno}: CARD must be written with literals only, "
                        f"one keyword per field of {card.__name__} ({error})."
                    ) from None
    raise AvebenchError(f"The plug-in file {source} has no `CARD = ModelCard(...)` or `CARD = DatasetCard(...)`.")


def _source_of(module: str) -> Path | None:
    """Return the file of a module by its dotted name; None if there is none.

    `importlib.util.find_spec` would import the packages around it, which are the plug-in's code as well.
    """
    spec: ModuleSpec | None = None
    for name in accumulate(module.split("."), "{}.{}".format):
        places = None if spec is None else spec.submodule_search_locations
        if spec is not None and places is None:
            return None  # A module that is no package holds no other.
        found = (finder.find_spec(name, places) for finder in sys.meta_path)
        spec = next((one for one in found if one is not None), None)
        if spec is None:
            return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


_files: list[Path] = []


def add_plugin_file(path: Path) -> None:
    """Register a plug-in file for this process, before anything is looked up; AvebenchError on a clash of names."""
    path = path.resolve()
    if path in _files:
        return
    kind, card = read_card(path)
    if card.name in plugins(kind):
        raise AvebenchError(f"The plug-in file {path} is called '{card.name}', a name that {kind} already have.")
    _files.append(path)
    plugins.cache_clear()


def plugin_files() -> tuple[Path, ...]:
    """Return the plug-in files registered in this process, to hand them to workers."""
    return tuple(_files)


@cache
def plugins(kind: Kind) -> dict[str, Plugin]:
    """Return every plug-in of a kind by name, sorted; no plug-in code is run."""
    found: dict[str, Plugin] = {}
    for point in entry_points(group=f"avebench.{kind}"):
        source = _source_of(point.value)
        if source is None:
            raise AvebenchError(f"The entry point '{point.name}' names the module {point.value}, which does not exist.")
        card_kind, card = read_card(source)
        if card_kind != kind or card.name != point.name:
            raise AvebenchError(
                f"The entry point '{point.name}' of {kind} leads to the card of '{card.name}' in {source}."
            )
        if point.name in found and found[point.name].origin != point.value:
            raise AvebenchError(
                f"Two plug-ins of {kind} are called '{point.name}': {found[point.name].origin}, {point.value}."
            )
        found[point.name] = Plugin(kind, point.name, point.value, source, card)
    for path in _files:
        card_kind, card = read_card(path)
        if card_kind == kind:
            found[card.name] = Plugin(kind, card.name, str(path), path, card)
    return dict(sorted(found.items()))


def plugin(kind: Kind, name: str) -> Plugin:
    """Return the plug-in called `name`; AvebenchError with the near matches if there is none."""
    known = plugins(kind)
    if name not in known:
        raise AvebenchError(f"There is no {kind[:-1]} called '{name}'. {near_matches(name, known)}")
    return known[name]
