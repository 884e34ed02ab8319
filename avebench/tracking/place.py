"""Where MLflow keeps runs: the URI that is meant, the database behind it, and the turns that processes take there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from avebench.files.cache import cache_folder, place_digest
from avebench.files.errors import AvebenchError

DEFAULT_URI = "sqlite:///mlflow.db"
TURN_SECONDS = 600.0
"""How long a process waits for its turn."""


def tracking_uri(uri: str | None = None) -> str:
    """Return `uri`, else $MLFLOW_TRACKING_URI, else a database in the current folder; AvebenchError for a folder."""
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    scheme = urlsplit(chosen).scheme
    if scheme in {"", "file"} or len(scheme) == 1:
        raise AvebenchError(
            f"The tracking URI '{chosen}' is a folder; MLflow keeps runs in a database or on a server. "
            "Use sqlite:///mlflow.db or https://..."
        )
    return chosen


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite URI (three slashes: relative, four: absolute), None for other URIs."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix).partition("?")[0]) if uri.startswith(prefix) else None


def is_database(uri: str) -> bool:
    """Return whether MLflow reaches its tables at `uri` without a server between."""
    return urlsplit(uri).scheme.partition("+")[0] in {"sqlite", "postgresql", "mysql", "mssql"}


def artifact_root(uri: str) -> Path:
    """Return the folder of artifacts: beside an SQLite database, else in the current folder."""
    path = sqlite_path(uri)
    return (path.parent if path is not None else Path()).resolve() / "mlartifacts"


def _absolute(uri: str) -> str:
    """Return `uri`, of an SQLite database its whole path."""
    path = sqlite_path(uri)
    return uri if path is None else str(path.resolve())


def uri_digest(uri: str) -> str:
    """Return a hash of where `uri` leads. It is what may be written down: a URI can hold a password."""
    return place_digest(_absolute(uri))


def database_identity(uri: str) -> str | None:
    """Return a hash that tells the database at `uri` from every other, or None where there is none.

    A database that was deleted and made anew at the same path is another one: the moment at which MLflow made it
    counts. Of a server, only the URI is known.
    """
    import sqlite3

    path = sqlite_path(uri)
    if path is None:
        return uri_digest(uri)
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            made = connection.execute("select min(creation_time) from experiments").fetchone()[0]
    except sqlite3.Error:  # No file, or not yet one of MLflow.
        return None
    return None if made is None else place_digest(f"{path.resolve()}\x1f{made}")


@contextmanager
def turn(uri: str) -> Iterator[None]:
    """Let one process at a time write to the MLflow at `uri`.

    The lock lies in the cache folder; where that cannot be written, beside an SQLite database, or in the folder of
    temporary files. Where none of them can be written, processes do not wait for each other. AvebenchError if another
    process holds the lock for longer than `TURN_SECONDS`.
    """
    lock = _acquired(uri)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _acquired(uri: str) -> FileLock | None:
    import tempfile

    digest, path = place_digest(_absolute(uri)), sqlite_path(uri)
    places = [cache_folder() / "locks" / f"{digest}.lock"]
    if path is not None:
        places.append(path.with_name(f".{path.name}.lock"))
    places.append(Path(tempfile.gettempdir()) / f"avebench-{digest[:32]}.lock")
    for place in places:
        lock = FileLock(place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=TURN_SECONDS)
        except Timeout:
            raise AvebenchError(f"another process has been writing there for {TURN_SECONDS:.0f} s") from None
        except OSError:  # Read-only, or full: the next one.
            continue
        return lock
    return None
