"""MLflow, where people browse: one experiment per table and data set, one parent run per row, one child per repetition.

The files under `<out>` are the truth and MLflow is a copy of them. A run therefore never fails because the tracking
server is away: what could not be uploaded waits in `<out>/mlflow-pending/` for `avebench sync`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avebench.files.errors import AvebenchError
from avebench.store.folder import RUNS
from avebench.tracking.place import DEFAULT_URI, tracking_uri
from avebench.tracking.record import Files, RunRecord
from avebench.tracking.uploading import upload
from avebench.tracking.waiting import PENDING, forget, keep, load


def log(records: Sequence[RunRecord], tables: Files, *, out: Path, uri: str | None = None) -> bool:
    """Upload the records of one table and its rendered `tables`; return whether MLflow has them.

    What it has already is left alone, so that a table can be logged after every run. If MLflow cannot be reached, one
    line on standard error says so and the records wait under `out` for `sync`; no failure of MLflow is raised.
    """
    if not records:
        return True
    target = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    try:
        upload(records, tables, tracking_uri(uri))
    except Exception as error:  # The results are safe in files: whatever ails MLflow may not fail the run.
        for record in records:
            keep(record, tables, out)
        print(
            f"MLflow at {target} did not take {_results(len(records))} ({_reason(error, target)}). They are stored in "
            f"{out}; upload them later with `{_sync_command(out)}`.",
            file=sys.stderr,
        )
        return False
    for record in records:
        forget(record, out)
    return True


def _sync_command(out: Path) -> str:
    return "avebench sync" if out == RUNS else f"avebench sync --out {shlex.quote(str(out))}"


@dataclass(frozen=True, slots=True)
class Synced:
    """What `sync` did: how many results it uploaded to the MLflow at `uri`, and how many that had already."""

    uploaded: int
    known: int
    uri: str
    out: Path

    def said(self) -> str:
        """Return it in words."""
        if not self.uploaded + self.known:
            return (
                f"Nothing waits in {self.out / PENDING}. MLflow at {self.uri} is given the results that it lacks when "
                "their table is run again, which trains nothing that is finished."
            )
        also = f" {_results(self.known)} {'was' if self.known == 1 else 'were'} there already." if self.known else ""
        return f"{_results(self.uploaded)} uploaded to MLflow at {self.uri}.{also}"


def _results(count: int) -> str:
    return f"{count} result{'' if count == 1 else 's'}"


def sync(out: Path, uri: str | None = None) -> Synced:
    """Upload what waits in `<out>/mlflow-pending/`. Two processes may do so at once: each result is there once.

    AvebenchError if MLflow still cannot be reached, or if a waiting result or one of its files is broken or gone; what
    was not uploaded keeps waiting.
    """
    target = tracking_uri(uri)
    paths = sorted((out / PENDING).glob("*.json"))
    waiting = [(path, *loaded) for path in paths if (loaded := load(path, out)) is not None]
    uploaded = 0
    for place in dict.fromkeys(record.place for _, record, _ in waiting):
        some = [(path, record, tables) for path, record, tables in waiting if record.place == place]
        try:
            uploaded += upload([record for _, record, _ in some], some[-1][2], target)
        except Exception as error:  # MLflow raises its own, requests' and SQLAlchemy's errors.
            before = f" {_results(uploaded)} uploaded before that." if uploaded else ""
            raise AvebenchError(
                f"MLflow at {target} did not take the results of '{place}' ({_reason(error, target)}). "
                f"They stay in {out / PENDING}; run `{_sync_command(out)}` again when it is back.{before}"
            ) from error
        for path, _, _ in some:
            path.unlink(missing_ok=True)  # Another process may have been as quick.
    return Synced(uploaded, len(waiting) - uploaded, target, out)


REASON_LENGTH = 400
"""Characters of an error of MLflow that are shown; its longest advice, on upgrading a database, has 330."""


def _reason(error: Exception, uri: str) -> str:
    """Return the first line of an error, with the URI where MLflow's advice leaves a place for it."""
    line = next(iter(str(error).splitlines()), "").strip() or type(error).__name__
    if len(line) > REASON_LENGTH:
        line = line[:REASON_LENGTH].rpartition(" ")[0] + " ..."
    return line.replace("<database_uri>", shlex.quote(uri)).rstrip(".")
