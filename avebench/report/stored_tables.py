"""Stored tables: one table on one data set under one set of options, put together again from stored results.

A finished cell belongs to every row, of whatever table, that is the same system with the same options, and is shown
where it was asked for. Results of one row that differ in options stand in stored tables of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avebench.files.errors import AvebenchError, near_matches
from avebench.planning.cells import cell_of
from avebench.planning.data_choice import DataChoice, data_banner
from avebench.planning.experiment import Experiment, Row
from avebench.planning.experiment_files import experiment_names, experiment_path, load_experiment, open_experiment
from avebench.planning.plan import Plan, PlannedRow
from avebench.planning.rows import is_cell_of
from avebench.report.stored_cells import FoundCell, StoredCell, found_finished, found_recorded
from avebench.scoring.metrics import METRICS
from avebench.store.recorded import slug
from avebench.store.results import Result

USUAL_METRICS = ("tag_precision", "tag_recall", "tag_f1", "cls_f1")
"""What is shown of a table whose file is not at hand, where its results have it."""


@dataclass(frozen=True, slots=True)
class StoredTable:
    """One table as measured: its plan put together from the results, and these by cell key.

    `settings` are the options that tell it from another stored table of the same table, data and profile.
    """

    plan: Plan
    cells: Mapping[str, StoredCell]
    settings: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def results(self) -> dict[str, Result]:
        """Return the results by cell key."""
        return {key: cell.result for key, cell in self.cells.items()}

    @property
    def profile(self) -> str:
        """Return the profile that its cells share; empty for a stored table without cells."""
        return next((cell.result.profile for cell in self.cells.values()), "")


@dataclass(slots=True)
class Stored:
    """The stored tables, in the order of the experiments, and in `gaps` a sentence for all that cannot be shown.

    `experiments` are those that were asked for, by name.
    """

    stored_tables: list[StoredTable] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)


def read_stored(names: Sequence[str], out: Path, *, recorded: bool) -> Stored:
    """Return what is stored under `out` and, if `recorded`, under `results/`: of the named tables, or of all.

    AvebenchError for a name that is no table and has no result.
    """
    stored = Stored()
    finished = list(found_finished(out, stored.gaps))
    found = [*finished, *(found_recorded(stored.gaps) if recorded else ())]
    stored.experiments = experiments = _experiments(names, found)
    own = {(one.experiment, one.cell.result.key) for one in found}
    # The options of rows are known from files alone.
    found += _shared(finished, {name: one for name, one in experiments.items() if not isinstance(one, _Rebuilt)})
    pool: dict[tuple[str, str, str, float, str], dict[str, dict[str, StoredCell]]] = {}
    for one in found:
        if one.experiment not in experiments:
            continue
        label = _row_label(one, experiments[one.experiment])
        if label is None:
            if not any(other.label != one.label and _same_place(one, other) for other in found):
                stored.gaps.append(
                    f"{one.cell.file}: {one.experiment} has no row '{one.label}' with these options any more."
                )
            continue
        result = one.cell.result
        place = (one.experiment, result.dataset, result.fingerprint, result.train_fraction, result.profile)
        pool.setdefault(place, {}).setdefault(label, {}).setdefault(result.key, one.cell)
    order = list(experiments)
    for place in sorted(pool, key=lambda place: (order.index(place[0]), place[1], place[2], -place[3], place[4])):
        stored_tables = _stored_tables(place[0], experiments[place[0]], pool[place])
        # Asked for by name, a table may be made up of other tables' cells at any train fraction: see `_is_whole`.
        adopted = bool(names) or place[3] == 1
        kept = [
            stored_table
            for stored_table in stored_tables
            if _is_own(stored_table, own) or (adopted and _is_whole(stored_table))
        ]
        stored.stored_tables += kept if len(kept) > 1 else [replace(stored_table, settings={}) for stored_table in kept]
    measured = {stored_table.plan.name for stored_table in stored.stored_tables}
    if names:
        stored.gaps += [
            f"No result of {name} is stored."
            for name in order
            if experiments[name].kind not in {"statistics", "cost"} and name not in measured
        ]
    return stored


# ---------------------------------------------------------------------------------------------------------------------
# Which table and row


def _experiments(names: Sequence[str], found: Sequence[FoundCell]) -> dict[str, Experiment]:
    """Return the named tables, or all packaged ones and those that results name, by name."""
    unknown = [one.experiment for one in found if one.experiment not in experiment_names()]
    if not names:
        loaded = {name: open_experiment(name) for name in experiment_names()}
        return {**{name: _rebuilt(name, found) for name in dict.fromkeys(unknown)}, **loaded}
    chosen = {}
    for name in names:
        if name in unknown:
            chosen[name] = _rebuilt(name, found)
            continue
        if "/" not in name and not name.endswith(".toml") and name not in experiment_names():
            known = {*unknown, *experiment_names()}
            raise AvebenchError(f"No result and no experiment is called '{name}'. {near_matches(name, known)}")
        path = experiment_path(name)
        chosen[path.stem] = load_experiment(path)
    return chosen


def _row_label(one: FoundCell, experiment: Experiment) -> str | None:
    """Return the label of the row that a cell was stored for; None if no row has it, or it has other options now.

    A folder of `results/` may name it by its slug; what is recorded, and what does not keep its requests, is taken at
    its word.
    """
    row = next((row for row in experiment.rows if one.label in (row.label, slug(row.label))), None)
    if row is None:
        return None
    known = isinstance(experiment, _Rebuilt) or not one.requested
    its = known or is_cell_of(one.cell.result, one.requested, row, one.experiment, experiment)
    return row.label if its else None


def _same_place(one: FoundCell, other: FoundCell) -> bool:
    places = ((found.experiment, found.cell.file, found.cell.result.key) for found in (one, other))
    return next(places) == next(places)


class _Rebuilt(Experiment):
    """A table whose file is not at hand; the options of its rows are not known."""


def _rebuilt(name: str, found: Sequence[FoundCell]) -> Experiment:
    """Return a table whose file is not at hand as its results show it."""
    results = {one.label: one.cell.result for one in found if one.experiment == name}
    some = next(iter(results.values()))
    metrics = [metric for metric in USUAL_METRICS if metric in some.scores.metrics]
    rows = [
        Row(
            label=label,
            model=result.model,
            preset=result.preset,
            protocol=result.protocol,  # type: ignore[arg-type]  # A result was a row.
            range_from=result.range_from or None,
            control=result.control,
            held_out=result.held_out,
        )
        for label, result in results.items()
    ]
    return _Rebuilt(
        title=name,
        dataset=some.dataset,
        metrics=tuple(metrics or [metric for metric in METRICS if metric in some.scores.metrics]),
        note="The file of this table is not at hand: rows and metrics are those of its results. Name its path.",
        rows=tuple(rows),
    )


def _shared(finished: Sequence[FoundCell], experiments: Mapping[str, Experiment]) -> list[FoundCell]:
    """Return the finished cells of each table that were not asked for by it, or by another row of it."""
    cells = {(one.cell.file, one.cell.result.profile): one for one in finished}
    asked = {(one.cell.file, one.experiment, one.label) for one in finished}
    return [
        FoundCell(name, row.label, one.cell, one.requested)
        for name, experiment in experiments.items()
        for row in experiment.rows
        for one in cells.values()
        if (one.cell.file, name, row.label) not in asked
        and is_cell_of(one.cell.result, one.requested, row, name, experiment)
    ]


def _is_own(stored_table: StoredTable, own: Set[tuple[str, str]]) -> bool:
    """Return whether the stored table was run for its own sake: a cell of its options is its `own`."""
    return any(
        (stored_table.plan.name, key) in own
        and _common(cell, stored_table.settings) == set(stored_table.settings.items())
        for key, cell in stored_table.cells.items()
    )


def _is_whole(stored_table: StoredTable) -> bool:
    """Return whether every row is there, be it as cells of other tables.

    Such a one is shown of all training products, or where its table is asked for: the cells of a learning curve would
    show tables at train fractions that nobody asked for.
    """
    return all(row.cells for row in stored_table.plan.rows if not row.row.planned)


# ---------------------------------------------------------------------------------------------------------------------
# Stored tables


def _stored_tables(
    name: str, experiment: Experiment, by_label: Mapping[str, Mapping[str, StoredCell]]
) -> Iterator[StoredTable]:
    """Yield the stored tables of one table, data set, fraction and profile: one for each set of options."""
    rows, notes = {}, []
    for label, cells in by_label.items():
        newest = max(cell.result.implementation for cell in cells.values())
        rows[label] = [cell for cell in cells.values() if cell.result.implementation == newest]
        older = len(cells) - len(rows[label])
        if older:
            notes.append(f"{label}: {older} cells of an older implementation are left out.")
    for settings in _distinct_settings(rows):
        chosen = {
            label: _by_repetition([cell for cell in cells if cell.options.items() >= _common(cell, settings)])
            for label, cells in rows.items()
        }
        yield _stored_table(name, experiment, chosen, settings, notes)


def _common(cell: StoredCell, settings: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return the settings that the cell's system has."""
    return {(name, value) for name, value in settings.items() if name in cell.options}


def _distinct_settings(rows: Mapping[str, Sequence[StoredCell]]) -> list[dict[str, str]]:
    """Return the sets of options under which the rows were run; one, which is empty, if no row was run twice.

    A row without some of these options belongs to every set that agrees in those that it has.
    """
    differing: set[str] = set()
    for cells in rows.values():
        names = {name for cell in cells for name in cell.options}
        differing |= {name for name in names if len({cell.options.get(name) for cell in cells}) > 1}
    found = {
        tuple(sorted((name, value) for name, value in cell.options.items() if name in differing))
        for cells in rows.values()
        for cell in cells
    }
    whole = [one for one in found if not any(set(one) < set(other) for other in found)]
    return [dict(one) for one in sorted(whole)]


def _by_repetition(cells: Sequence[StoredCell]) -> list[StoredCell]:
    """Return one cell per repetition, the newest, in order."""
    chosen = {cell.result.repetition: cell for cell in sorted(cells, key=lambda cell: cell.result.finished)}
    return [chosen[number] for number in sorted(chosen)]


def _stored_table(
    name: str,
    experiment: Experiment,
    rows: Mapping[str, Sequence[StoredCell]],
    settings: Mapping[str, str],
    notes: Sequence[str],
) -> StoredTable:
    some = next(cell.result for cells in rows.values() for cell in cells)
    data = DataChoice(some.dataset, None, some.dataset_options, some.fingerprint, some.dataset_title)
    planned = [
        PlannedRow(row, tuple(cell_of(row.label, cell.result, data) for cell in rows.get(row.label, ())))
        for row in experiment.rows
    ]
    banner = data_banner(experiment, some.dataset, some.fingerprint)
    plan = Plan(name, experiment, data, some.train_fraction, banner, tuple(planned))
    cells = {cell.result.key: cell for own in rows.values() for cell in own}
    return StoredTable(plan, cells, dict(settings), tuple(notes))


def settings_text(settings: Mapping[str, Any], most: int = 3) -> str:
    """Return options as people read them: `most` of them, and how many more there are."""
    shown = [f"{name} {value}" for name, value in list(settings.items())[:most]]
    more = [f"and {len(settings) - most} more"] if len(settings) > most else []
    return ", ".join([*shown, *more])
