"""Is a database one that MLflow can open: asked before its server is started, which answers with a traceback."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from avebench.files.errors import AvebenchError


def check_database(uri: str) -> None:
    """Raise AvebenchError if the URI names no driver that is installed, or a file that is no sound SQLite database."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(uri)
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except ModuleNotFoundError as error:
        raise AvebenchError(f"The driver of {_shown(uri)} is not installed: pip install {error.name}.") from None
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise AvebenchError(f"{_shown(uri)} is no database ({error}). Use sqlite:///mlflow.db or https://...") from None
    if url.get_backend_name() != "sqlite" or not url.database:
        return
    path = Path(url.database)
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            connection.execute("select count(*) from sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise AvebenchError(
            f"The MLflow database {path} cannot be read ({error}). Move it away; avebench run and report read the "
            "results under runs/."
        ) from None


def _shown(uri: str) -> str:
    """Return the URI without what stands before its host, which may be a password."""
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
