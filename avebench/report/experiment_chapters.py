"""Chapters of no one stored table: statistics of data, the cost of a range, and a table over all train fractions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avebench.analysis.data_statistics import counted_statistics, published_statistics_table
from avebench.analysis.fractions import fraction_figure, fraction_table
from avebench.analysis.range_cost.jobs import RECORDED, CostRecord, Found, Job, all_kept, cost_jobs, recorded_costs
from avebench.analysis.range_cost.tables import cost_figure, cost_table
from avebench.analysis.recording import RESULTS
from avebench.files.errors import AvebenchError
from avebench.planning.data_choice import MADE_UP
from avebench.planning.experiment import Experiment
from avebench.planning.plan import Plan, make_plan
from avebench.planning.request import Request
from avebench.report.chapters import Chapter, Part, stored_table_title
from avebench.report.figures import drawings_of
from avebench.report.stored_tables import StoredTable
from avebench.tables.result_tables import result_table

# ---------------------------------------------------------------------------------------------------------------------
# Statistics


def statistics_chapters(
    experiments: Mapping[str, Experiment],
    stored_tables: Iterable[StoredTable],
    data: Path | None,
    *,
    by_name: bool,
    gaps: list[str],
) -> list[Chapter]:
    """Return a chapter per table of statistics: of those asked for `by_name`, or of measured data."""
    measured = {stored_table.plan.data.fingerprint for stored_table in stored_tables}
    chapters = []
    counted: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, experiment in experiments.items():
        if experiment.kind != "statistics":
            continue
        try:
            plan = make_plan(Request(name, Path(), data=data if by_name else None, forgiving=True))
            if not by_name and plan.data.fingerprint not in measured:
                continue
            data_set = (plan.data.name, plan.data.fingerprint, str(plan.data.folder), repr(plan.data.options))
            if data_set not in counted:
                counted[data_set] = counted_statistics(plan)
            table = published_statistics_table(plan, counted[data_set])
        except AvebenchError as error:
            gaps += [f"{name}: {error}"] if by_name else []
            continue
        stored_table = StoredTable(plan, {}, {}, ())
        parts = (Part("table", "The table", (table,)),)
        chapters.append(Chapter("", stored_table, f"{name} on {plan.data.shown}", parts, None, ()))
    return chapters


# ---------------------------------------------------------------------------------------------------------------------
# Cost


def cost_chapters(
    experiments: Mapping[str, Experiment], out: Path, *, recorded: bool, by_name: bool, gaps: list[str]
) -> list[Chapter]:
    """Return a chapter per cost experiment and machine on which some of it was measured."""
    costs = {name: one for name, one in experiments.items() if one.cost is not None}
    if not costs:
        return []
    records, unreadable = all_kept(out)
    gaps += [f"{path} does not hold a measurement of a cost. A run of its table takes it again." for path in unreadable]
    records += _recorded(gaps) if recorded else []
    chapters = []
    unknown = {record.job.key() for record in records}
    for name, experiment in costs.items():
        try:
            asked = {job.measures(): job for job in cost_jobs(experiment, Request(name, out), "cpu")}
        except AvebenchError as error:
            gaps.append(f"{name}: {error}")
            continue
        places: dict[tuple[str, str, str], Found] = {}
        for record in records:
            job = asked.get(record.job.measures())
            if job is not None:
                unknown.discard(record.job.key())
                where = (job.row, job.attributes, job.phase)
                places.setdefault(record.job.place, {}).setdefault(where, record.measurement)
        chapters += [_cost_chapter(name, experiment, asked.values(), *one) for one in places.items()]
        if not places and by_name:
            gaps.append(f"Nothing of {name} is measured.")
    if unknown:
        gaps.append(
            f"{len(unknown)} measurements of costs are of other options, or of an older implementation, than those "
            f"of {' and '.join(costs)}."
        )
    return chapters


def _recorded(gaps: list[str]) -> list[CostRecord]:
    records = []
    for path in sorted(RESULTS.glob(f"*/*/{RECORDED}")):
        try:
            records += recorded_costs(path)
        except AvebenchError as error:
            gaps.append(str(error))
    return records


def _cost_chapter(
    name: str, experiment: Experiment, asked: Iterable[Job], place: tuple[str, str, str], found: Found
) -> Chapter:
    machine, device, torch = place
    jobs = [job.model_copy(update={"machine": machine, "device": device, "torch": torch}) for job in asked]
    plan = Plan(name, experiment, MADE_UP, 1.0, "", ())
    figures = drawings_of(cost_figure(experiment, jobs, found))
    parts = (Part("table", "The table", (cost_table(experiment, jobs, found),), figures=figures),)
    lacking = len(jobs) - len(found)
    missing = (f"Not measured: {lacking} of {len(jobs)} figures.",) if lacking else ()
    title = f"{name} on {MADE_UP.name} sentences ({machine if device == 'cpu' else device}, torch {torch})"
    return Chapter("", StoredTable(plan, {}, {}, ()), title, parts, None, missing)


# ---------------------------------------------------------------------------------------------------------------------
# Train fractions


def fraction_chapters(stored_tables: Iterable[StoredTable]) -> list[Chapter]:
    """Return a chapter per experiment over train fractions, of all its stored tables that differ in nothing else."""
    groups: dict[tuple[object, ...], list[StoredTable]] = {}
    for stored_table in stored_tables:
        if stored_table.plan.experiment.kind == "fractions":
            settings = tuple(sorted(stored_table.settings.items()))
            place = (
                stored_table.plan.name,
                stored_table.plan.data.name,
                stored_table.plan.data.fingerprint,
                stored_table.profile,
                settings,
            )
            groups.setdefault(place, []).append(stored_table)
    return [_fraction_chapter(group) for group in groups.values()]


def _fraction_chapter(stored_tables: Sequence[StoredTable]) -> Chapter:
    ordered = sorted(stored_tables, key=lambda stored_table: stored_table.plan.train_fraction)
    plans = [stored_table.plan for stored_table in ordered]
    cells = {key: cell for stored_table in ordered for key, cell in stored_table.cells.items()}
    whole = replace(ordered[-1], cells=cells)
    table = fraction_table(plans, whole.results, result_table(plans[-1], whole.results, ()), ())
    figures = drawings_of(fraction_figure(plans, whole.results))
    lacking = sorted(set(plans[0].experiment.train_fractions) - {plan.train_fraction for plan in plans})
    missing = (f"Not run: {', '.join(f'{fraction:g}' for fraction in lacking)} of the training products.",)
    parts = (Part("table", "The table", (table,), figures=figures),)
    title = f"{stored_table_title(replace(whole, plan=replace(plans[-1], train_fraction=1.0)))}, all train fractions"
    return Chapter("", whole, title, parts, None, missing if lacking else ())
