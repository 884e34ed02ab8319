"""What was measured of the cost of a range of attributes, as a table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avebench.analysis.range_cost.jobs import ENOUGH_SECONDS, PASSES, PHASES, Found, Job, Measurement, kept
from avebench.planning.experiment import Experiment
from avebench.scoring.metrics import output_range
from avebench.tables.figures import Figure, Line, Panel
from avebench.tables.table import MEASURED, Cell, Column, Measured, Section, Table, TableRow


def outputs(job: Job, selected: float | None) -> float:
    """Return the number of classification outputs of one sentence: C_o, or C_m with a range of `selected` attributes.

    A system that is asked for N attributes has C_o of one attribute N times, as if each were tagged by itself.
    """
    number, length = job.attributes, job.sizes.characters
    if job.asked:
        return number * output_range(1, length, 0)[0]
    return output_range(number, length, 0)[0] if selected is None else output_range(number, length, selected)[1]


def cost_plan_table(name: str, jobs: Sequence[Job], out: Path) -> Table:
    """Return what a run would measure."""
    lines = [
        TableRow(job.row, [f"{job.attributes:,}", job.phase, "new" if kept(job, out) is None else "finished"])
        for job in jobs
    ]
    columns = [Column("attributes", "Attributes"), Column("phase", "Phase"), Column("status", "Status")]
    return Table(f"Plan of {name}", columns, [Section(lines)])


def cost_table(experiment: Experiment, jobs: Sequence[Job], found: Found) -> Table:
    """Return a section per row of the experiment with a line per number of attributes."""
    columns = [Column("outputs", "C_o or C_m")]
    columns += [
        Column("step_seconds", "step, s", MEASURED, digits=3),
        Column("step_memory", "step, MiB", MEASURED, digits=0),
        Column("test_seconds", "test, s / sentence", MEASURED, digits=4),
        Column("test_memory", "test, MiB", MEASURED, digits=0),
    ]
    sections = []
    for label in dict.fromkeys(job.row for job in jobs):
        lines = []
        for job in (one for one in jobs if one.row == label and one.phase == "test"):
            cells: list[Cell] = []
            test = found.get((label, job.attributes, "test"))
            cells.append(f"{outputs(job, test.selected):,.0f}" if isinstance(test, Measurement) else None)
            for phase in PHASES:
                cells += _cells(found.get((label, job.attributes, phase)))
            lines.append(TableRow(f"{job.attributes:,}", cells))
        sections.append(Section(lines, label))
    return Table(
        experiment.title,
        columns,
        sections,
        source=experiment.source.place() if experiment.source else "",
        notes=[experiment.note, *_notes(jobs, found)],
        label_heading="Attributes",
    )


def _cells(measured: Measurement | str | None) -> list[Cell]:
    """Return seconds and memory in MiB of a measurement, or what stands in their way."""
    if not isinstance(measured, Measurement):
        return [measured or "not run", None]
    return [Measured(measured.seconds, None, 1), Measured(measured.peak_memory / 2**20, None, 1)]


def _notes(jobs: Sequence[Job], found: Found) -> list[str]:
    """Return sizes, machine, and of which passes the figures are."""
    sizes, device = jobs[0].sizes, jobs[0].device
    on_cpu = device == "cpu"
    where = f"{jobs[0].machine}, processor time of one thread" if on_cpu else f"{device} of {jobs[0].machine}"
    memory = "its peak, libraries and parameters included" if on_cpu else "the most that was allocated on the GPU"
    notes = [
        f"A training step of {sizes.sentences} sentences of {sizes.characters} characters with {sizes.selected} gold "
        f"attributes, and a test pass; encoder of {sizes.layers} layers and width {sizes.hidden}; "
        f"{sizes.patches} patches.",
        f"Medians of up to {PASSES} passes on {where}, each in a process of its own. MiB: {memory}.",
        "Outputs of a sentence: C_o = (2N + 1) S1; C_m = N + 3 S1 N_m, N_m as measured (journal Equations 1 and 2); "
        "asked for N attributes, 3 S1 N, as if each were tagged by itself with B, I and O.",
    ]
    fewer = [
        f"{row} {one.sentences} at {number:,}"
        for (row, number, phase), one in found.items()
        if isinstance(one, Measurement) and phase == "test" and one.sentences < sizes.sentences
    ]
    if fewer:
        notes.append(f"Sentences of a test pass that would last above {ENOUGH_SECONDS:g} s: {', '.join(fewer)}.")
    return notes


def cost_figure(experiment: Experiment, jobs: Sequence[Job], found: Found) -> Figure:
    """Return time and memory of a step and of a test pass against the number of attributes, on logarithmic axes."""
    panels = []
    for phase, title in (("step", "Training step"), ("test", "Test")):
        for field, name, scale in (("seconds", "seconds", 1.0), ("peak_memory", "MiB", 2.0**20)):
            lines = []
            for label in dict.fromkeys(job.row for job in jobs):
                of_row = {n: one for (row, n, p), one in found.items() if (row, p) == (label, phase)}
                known = {n: one for n, one in sorted(of_row.items()) if isinstance(one, Measurement)}
                lines.append(Line(label, [(n, getattr(one, field) / scale) for n, one in known.items()]))
            seconds = field == "seconds"
            per = " per sentence" if phase == "test" and seconds else ""
            shown = f"{title}, {'time' if seconds else 'peak memory'}"
            x, y = "number of attributes N", name + per
            panels.append(Panel(shown, x, y, lines, log_x=True, log_y=seconds, from_zero=not seconds))
    return Figure(experiment.title, panels, "Made-up sentences, random weights.")
