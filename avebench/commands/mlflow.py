"""`avebench ui` and `avebench sync`: MLflow on what was measured."""

from __future__ import annotations

from typing import Annotated

import typer

from avebench.commands.options import Out, TrackingUri
from avebench.store.folder import RUNS


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
    tracking_uri: TrackingUri = None,
) -> None:
    """Serve the MLflow UI on 127.0.0.1."""
    from avebench.tracking.server import serve

    serve(tracking_uri, port=port)


def sync(
    out: Out = RUNS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Upload to MLflow what could not be uploaded when it was measured."""
    from avebench.tracking.mlflow_log import sync as upload

    print(upload(out, tracking_uri).said())
