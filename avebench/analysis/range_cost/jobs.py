"""The measurements of a cost experiment: what each is of, what came of it, and where that is kept.

A measurement is kept with all that it depends on, in `<out>/costs/`, and recorded as `measurements.json`: the tables
and the report are made from these files alone, on whatever machine they were written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from avebench.files.atomic import write_atomically
from avebench.files.digests import sha256
from avebench.files.errors import AvebenchError
from avebench.planning.cells import keyed_config
from avebench.planning.configs import Layers, ResolvedRow, check_protocol, check_settings, resolve
from avebench.planning.experiment import Cost, Experiment
from avebench.planning.request import Request
from avebench.store.provenance import hardware, versions

Phase = Literal["step", "test"]
PHASES: tuple[Phase, ...] = ("step", "test")
PASSES = 3
ENOUGH_SECONDS = 10.0
"""After this time no further pass is begun; a test pass that is longer has fewer sentences."""
RECORDED = "measurements.json"


Clock = Literal["wall", "processor"]


def clock_of(device: str) -> Clock:
    """Return the clock by which a device is measured: on a CPU the processor's, which no other program lengthens."""
    return "processor" if device == "cpu" else "wall"


class Job(BaseModel):
    """One measurement: a row with its resolved config at a number of attributes, in training or at test.

    `encoders` are the roles of the encoders of the config, which random ones of the measured sizes stand in for;
    `asked` says whether the system is asked for attributes: at test for all of them. Measurements that name no
    `clock` are of an earlier version, which took that on the wall for CPUs too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: str
    model: str
    implementation: int
    config: Mapping[str, Any]
    encoders: tuple[str, ...]
    asked: bool
    attributes: int
    phase: Phase
    sizes: Cost
    machine: str
    device: str
    torch: str
    clock: Clock = "wall"

    def key(self) -> str:
        """Return a key of everything that the measurement depends on; labels do not count."""
        return self._hash({"row", "encoders"})

    def measures(self) -> str:
        """Return a key of what is measured, wherever that is; what another clock measured is something else."""
        other = "" if self.clock == clock_of(self.device) else self.clock
        return self._hash({"row", "encoders", "machine", "device", "torch", "clock"}) + other

    def _hash(self, left_out: set[str]) -> str:
        # The numbers of attributes beside this one do not matter.
        return sha256(self.model_dump(mode="json", exclude={**dict.fromkeys(left_out, True), "sizes": {"attributes"}}))

    @property
    def place(self) -> tuple[str, str, str]:
        """Return machine, device and version of torch: measurements of one place are compared."""
        return self.machine, self.device, self.torch


class Measurement(BaseModel):
    """Seconds of a training step, or of a test pass per sentence (median over passes), and peak memory in bytes.

    `selected` is the mean number of attributes in range per sentence of a system that has a range module, else None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float
    peak_memory: int
    passes: int
    sentences: int
    selected: float | None


class CostRecord(BaseModel):
    """A job and what was measured, as kept in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: Job
    measurement: Measurement


Found = dict[tuple[str, int, Phase], Measurement | str]
"""(row, number of attributes, phase) -> what was measured, or why it could not be."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Every measurement of an experiment, and what was found."""

    jobs: Sequence[Job]
    found: Found

    @property
    def failed(self) -> bool:
        """Return whether something could not be measured."""
        return any(isinstance(one, str) for one in self.found.values())


def cost_device(device: str) -> str:
    """Return the device that "auto" means, without importing torch."""
    return ("cuda" if Path("/dev/nvidiactl").exists() else "cpu") if device == "auto" else device


def cost_jobs(experiment: Experiment, request: Request, device: str) -> list[Job]:
    """Return every measurement of an experiment in table order; AvebenchError for an option that no row has."""
    sizes = experiment.cost
    assert sizes is not None
    rows = experiment.select(list(request.rows))
    around = Layers("paper", request.settings, experiment.defaults.options)
    resolved = [resolve(row, around) for row in rows]
    check_settings(resolved)
    for one in resolved:
        _check_protocol(one)
    machine, torch = hardware(device)["cpu"], versions()["torch"]
    return [
        Job(
            row=row.label,
            model=row.model,
            implementation=one.system.card.implementation,
            config={**keyed_config(one.config), **dict.fromkeys(one.pretrained, "random")},
            encoders=tuple(one.pretrained),
            asked=row.protocol == "all",
            attributes=number,
            phase=phase,
            sizes=sizes,
            machine=machine,
            device=device,
            torch=torch,
            clock=clock_of(device),
        )
        for row, one in zip(rows, resolved, strict=True)
        for number in sizes.attributes
        for phase in PHASES
    ]


def _check_protocol(resolved: ResolvedRow) -> None:
    """Raise AvebenchError unless a row finds its range itself, or is asked for every attribute."""
    check_protocol(resolved)
    if resolved.row.protocol not in {"native", "all"}:
        raise AvebenchError(
            f"Row '{resolved.row.label}': what the protocol '{resolved.row.protocol}' asks for does not depend on the "
            "number of attributes. Give protocol = all."
        )


# ---------------------------------------------------------------------------------------------------------------------
# Files


def keep(job: Job, measurement: Measurement, out: Path) -> None:
    """Keep what was measured under the output folder `out`."""
    write_atomically(_path(job, out), CostRecord(job=job, measurement=measurement).model_dump_json(indent=1) + "\n")


def kept(job: Job, out: Path) -> Measurement | None:
    """Return what was measured of a job before and is kept under `out`; None too for a file that cannot be read."""
    try:
        return CostRecord.model_validate_json(_path(job, out).read_bytes()).measurement
    except (OSError, ValidationError):
        return None


def all_kept(out: Path) -> tuple[list[CostRecord], list[Path]]:
    """Return everything that is kept under `out`, and the files that cannot be read."""
    found, unreadable = [], []
    for path in sorted((out / "costs").glob("*.json")):
        try:
            found.append(CostRecord.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            unreadable.append(path)
    return found, unreadable


def _path(job: Job, out: Path) -> Path:
    return out / "costs" / f"{job.key()}.json"


_RECORDED: TypeAdapter[list[CostRecord]] = TypeAdapter(list[CostRecord])


def record_costs(jobs: Iterable[Job], found: Found, folder: Path) -> None:
    """Write what was measured of an experiment as one file into a folder of `results/`."""
    pairs = [(job, found.get((job.row, job.attributes, job.phase))) for job in jobs]
    known = [CostRecord(job=job, measurement=one) for job, one in pairs if isinstance(one, Measurement)]
    write_atomically(folder / RECORDED, json.dumps([one.model_dump(mode="json") for one in known], indent=1) + "\n")


def recorded_costs(path: Path) -> list[CostRecord]:
    """Return what a file of `results/` holds; AvebenchError if it cannot be read."""
    try:
        return _RECORDED.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise AvebenchError(f"{path} does not hold measurements of costs ({reason}). Record them again.") from None
