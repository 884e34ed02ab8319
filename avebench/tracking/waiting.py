"""Results that MLflow could not be given: files under `<out>/mlflow-pending/`, which `avebench sync` uploads later."""

from __future__ import annotations

import json
from pathlib import Path

from avebench.files.atomic import write_atomically
from avebench.files.errors import AvebenchError
from avebench.tracking.record import Files, RunRecord, file_name, plain

PENDING = "mlflow-pending"


def keep(record: RunRecord, tables: Files, out: Path) -> None:
    """Let a record wait under `out`, with the tables of its experiment."""
    write_atomically(_marker(out, record), _dump(record, tables, out))


def forget(record: RunRecord, out: Path) -> None:
    """Let a record wait no more, if it did."""
    _marker(out, record).unlink(missing_ok=True)


def waits(out: Path, experiment: str, dataset: str, key: str) -> bool:
    """Return whether the result of a cell waits under `out` for `sync`."""
    return _marker_of(out, f"{experiment} on {dataset}", key).is_file()


def _marker(out: Path, record: RunRecord) -> Path:
    return _marker_of(out, record.place, record.key)


def _marker_of(out: Path, place: str, key: str) -> Path:
    return out / PENDING / f"{file_name(place)}-{key}.json"


def _dump(record: RunRecord, tables: Files, out: Path) -> str:
    """Return a waiting record as JSON. Files under `out` are named relative to it, so that the folder may be moved."""
    content, root = plain(record), out.resolve()

    def named(path: Path) -> str:
        whole = path.resolve()
        return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)

    content["artifacts"] = [named(path) for path in record.artifacts]
    files = {name: {"file": named(one)} if isinstance(one, Path) else one for name, one in tables.items()}
    return json.dumps({"record": content, "tables": files}, indent=1, ensure_ascii=False) + "\n"


def load(path: Path, out: Path) -> tuple[RunRecord, dict[str, str | Path]] | None:
    """Return a waiting record and its tables, None if it does not wait any more: another process has uploaded it.

    AvebenchError if the file is broken or a file of the record is gone. A drawing that is gone is left out.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fields = content["record"]
        fields["artifacts"] = [out.resolve() / name for name in fields["artifacts"]]
        record = RunRecord(**fields)
        waiting = content["tables"].items()
        files = {name: one if isinstance(one, str) else out.resolve() / one["file"] for name, one in waiting}
        tables = {name: one for name, one in files.items() if isinstance(one, str) or one.is_file()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise AvebenchError(
            f"The waiting result {path} cannot be read ({error}). Delete it and run its table again."
        ) from None
    for artifact in record.artifacts:
        if not artifact.is_file():
            raise AvebenchError(
                f"The waiting result {path} names the file {artifact}, which is gone. Delete {path.name} and run its "
                "table again."
            )
    return record, tables
