"""MLflow's own user interface on the results: the command that serves it."""

from __future__ import annotations

import os
import socket
import sys

from avebench.files.errors import AvebenchError
from avebench.tracking.databases import check_database
from avebench.tracking.place import artifact_root, is_database, sqlite_path, tracking_uri
from avebench.tracking.uploading import ENVIRONMENT


def server_command(uri: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves MLflow's user interface on a database, and the environment that it needs.

    MLflow answers requests for 127.0.0.1 and localhost without further settings; those of other host names it refuses.
    """
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        uri,
        "--host",
        host,
        "--port",
        str(port),
    ]
    command += ["--artifacts-destination", str(artifact_root(uri)), "--workers", "1"]
    environment = {**ENVIRONMENT, **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # Python would look in the current folder first, where our `datasets` hides the library of that name.
    return command, {**environment, "PYTHONSAFEPATH": "1"}


def serve(uri: str | None = None, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Become MLflow's server until it is stopped. AvebenchError if there is nothing to show or the port is taken."""
    target = tracking_uri(uri)
    if not is_database(target):
        raise AvebenchError(f"The results are on a tracking server already: open {target} in a browser.")
    path = sqlite_path(target)
    if path is not None and not path.is_file():
        raise AvebenchError(f"There is no MLflow database at {path}. Run a table first: avebench run table6")
    check_database(target)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AvebenchError(f"Port {port} of {host} cannot be used ({error.strerror}). Choose another.") from None
    command, environment = server_command(target, host, port)
    print(
        f"MLflow will be at http://{host}:{port}/#/experiments?workflowType=machine_learning in a few seconds; "
        "Ctrl-C stops it. Choose 'Model training' at the top left if it shows 'GenAI'.",
        flush=True,
    )
    os.execve(command[0], command, environment)
