"""What this machine can run: versions, device, room, what is installed and at hand, how far each experiment gets."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from avebench.data.opening import dataset_table
from avebench.files.cache import cache_folder
from avebench.planning.experiment_files import experiment_names, open_experiment
from avebench.planning.requirements import Encoder, Requirements, Trial, requirements
from avebench.running.devices import threads
from avebench.store.provenance import hardware, revision, versions
from avebench.tables.table import Column, Section, Table, TableRow

FURTHER_LIBRARIES = ("mlflow", "pandas", "pydantic", "rich", "matplotlib")
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is here or not: `here` in words, and what to do where it is not."""

    name: str
    here: str
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware, room and places; sizes in bytes. `gpu` says what torch finds, or that nothing is supported."""

    version: str
    revision: str
    changed: bool
    system: str
    cpu: str
    cores: int
    threads: int
    gpu: str
    memory: int
    memory_free: int
    disk_free: int
    cache: str
    cache_free: int
    data: str | None


@dataclass(frozen=True, slots=True)
class Ability:
    """How far an experiment gets on this machine.

    `runs_on` is "own data", "demo", "made-up data" or "not at all", `profile` the one that it needs for that.
    `left_out` are rows that cannot run so; `missing` names what the papers' own settings lack here.
    """

    experiment: str
    runs_on: str
    profile: str
    left_out: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that is known of this machine."""

    machine: Machine
    libraries: dict[str, str]
    extras: tuple[Item, ...]
    data_sets: tuple[Item, ...]
    encoders: tuple[Item, ...]
    experiments: tuple[Ability, ...]


def examine() -> Findings:
    """Look at this machine. Plug-ins are imported the first time only; torch also where there is a GPU to ask about."""
    needed = {name: requirements(open_experiment(name)) for name in experiment_names()}
    return Findings(
        machine=_machine(),
        libraries=_libraries(),
        extras=tuple(_extras()),
        data_sets=tuple(Item(row["name"], row["here"], row["needs"]) for row in dataset_table()),
        encoders=tuple(_encoders(needed.values())),
        experiments=tuple(_ability(name, one) for name, one in needed.items()),
    )


def _machine() -> Machine:
    import psutil  # type: ignore[import-untyped]  # Its types are a package of their own.

    commit, changed = revision()
    memory, processor = psutil.virtual_memory(), hardware("cpu")
    return Machine(
        version=version("avebench"),
        revision=commit,
        changed=changed,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=processor["cpu"],
        cores=processor["cores"],
        threads=threads(),
        gpu=_gpu(),
        memory=memory.total,
        memory_free=memory.available,
        disk_free=_room(Path()),
        cache=str(cache_folder()),
        cache_free=_room(cache_folder()),
        data=os.environ.get("AVEBENCH_DATA"),
    )


def _gpu() -> str:
    """Return what torch says of the GPU; it is asked only where a driver is."""
    if not Path("/dev/nvidiactl").exists():
        return "none that is supported; everything runs on the CPU"
    import torch

    if not torch.cuda.is_available():
        return f"a driver, but torch {torch.__version__} cannot use it; everything runs on the CPU"
    memory = torch.cuda.get_device_properties(0).total_memory / GIGABYTE
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {memory:.0f} GB"


def _room(folder: Path) -> int:
    """Return the free bytes of the disk of a folder, or of the nearest one above it that exists."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _libraries() -> dict[str, str]:
    found = versions() | {name: version(name) for name in FURTHER_LIBRARIES if _installed(name)}
    return {name: number for name, number in found.items() if name != "avebench"}


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _extras() -> list[Item]:
    """Return the extras of this package, and which of them are installed whole."""
    wanted: dict[str, list[str]] = {name: [] for name in metadata("avebench").get_all("Provides-Extra") or []}
    for requirement in requires("avebench") or []:
        match = re.match(r"([\w.-]+).*extra\s*==\s*['\"]([\w-]+)", requirement)
        if match:
            wanted[match[2]].append(match[1])
    items = []
    for extra, names in wanted.items():
        missing = [name for name in names if not _installed(name)]
        items.append(Item(extra, "no" if missing else "yes", f"pip install 'avebench[{extra}]'" if missing else ""))
    return items


def _encoders(needed: Iterable[Requirements]) -> list[Item]:
    """Return every encoder that a row of an experiment asks for by name, under the papers' settings or small ones."""
    found: dict[tuple[str, str], Encoder] = {}
    for one in needed:
        for trial in (one.own, one.chosen):
            for encoder in trial.encoders if trial else ():
                found.setdefault((encoder.role, encoder.name), encoder)
    return [
        Item(f"{encoder.name} ({encoder.role.replace('_', ' ')})", "no" if encoder.missing else "yes", encoder.missing)
        for _, encoder in sorted(found.items())
    ]


def _ability(name: str, needed: Requirements) -> Ability:
    own: Trial | None = needed.own
    profile = needed.chosen.profile if needed.chosen and needed.chosen.encoders else ""
    return Ability(name, needed.reach, profile, tuple(needed.left_out()), tuple(own.missing()) if own else ())


# ---------------------------------------------------------------------------------------------------------------------
# Shown


def tables(findings: Findings) -> list[Table]:
    """Return what was found as tables for people."""
    return [
        _machine_table(findings.machine, findings.libraries),
        _items("Extras", "Extra", findings.extras),
        _items("Data sets", "Data set", findings.data_sets),
        _items("Pretrained encoders that the experiments name", "Encoder", findings.encoders),
        _abilities(findings.experiments),
    ]


def _machine_table(machine: Machine, libraries: Mapping[str, str]) -> Table:
    def size(count: int) -> str:
        return f"{count / GIGABYTE:.1f} GB"

    revision = f", revision {machine.revision[:12]}" if machine.revision else ""
    changed = ", with changes that are not committed" if machine.changed else ""
    lines = {
        "avebench": f"{machine.version}{revision}{changed}",
        "system": machine.system,
        "processor": f"{machine.cpu}, {machine.cores} cores; a cell uses {machine.threads} thread(s)",
        "GPU": machine.gpu,
        "memory": f"{size(machine.memory_free)} of {size(machine.memory)} free",
        "disk": f"{size(machine.disk_free)} free here",
        "cache": f"{machine.cache}, {size(machine.cache_free)} free",
        "data": machine.data or "$AVEBENCH_DATA is not set",
        "libraries": ", ".join(f"{name} {number}" for name, number in libraries.items()),
    }
    rows = [TableRow(name, [text]) for name, text in lines.items()]
    return Table("This machine", [Column("found", "Found")], [Section(rows)], label_heading="Part")


def _items(title: str, heading: str, items: Sequence[Item]) -> Table:
    rows = [TableRow(one.name, [one.here, "" if one.here not in {"no"} else one.needs]) for one in items]
    return Table(
        title, [Column("here", "Here"), Column("needs", "How to get it")], [Section(rows)], label_heading=heading
    )


def _abilities(abilities: Sequence[Ability]) -> Table:
    rows = []
    for one in abilities:
        how = f"{one.runs_on}, profile {one.profile}" if one.profile else one.runs_on
        rows.append(TableRow(one.experiment, [how, ", ".join(one.left_out), ", ".join(one.missing)]))
    columns = [
        Column("runs_on", "Runs on"),
        Column("left_out", "Without the rows"),
        Column("missing", "Missing for its own data and encoders"),
    ]
    notes = ["Rows that are not built yet are not counted. A row that lacks an encoder runs with --text-encoder or "
             "--image-encoder, or is left out with --rows; 'avebench run all' leaves it out by itself."]  # fmt: skip
    return Table("What runs here", columns, [Section(rows)], notes=notes, label_heading="Experiment")
