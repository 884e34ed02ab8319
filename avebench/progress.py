"""Shows running cells: live bars with losses and time left on a terminal, one line per event elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from avebench.cells import cell_name
from avebench.runner import Event


class Display:
    """Draws the events of `run_cells` on standard error; a context manager."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.started: dict[str, float] = {}
        self.live: Any = None
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Display:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            from avebench.printing import console

            self.live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}", markup=False),
                console=console(stderr=True),
            )
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, event: Event) -> None:
        """Draw one event."""
        key, name = event.cell.key, cell_name(event.cell)
        if event.kind == "started":
            self.started[key] = time.monotonic()
            if self.live is not None:
                self.tasks[key] = self.live.add_task(name, total=None, losses="reading")
            else:
                self._say(f"{name}: started")
        elif event.kind == "waiting":
            self._say(f"{name}: another process works on this cell; waiting for it")
        elif event.kind == "progress":
            if self.live is not None:
                self._draw(key, event.detail)
        else:
            self.done += 1
            seconds = time.monotonic() - self.started[key]
            outcome = "finished" if event.kind == "finished" else f"failed: {event.detail}"
            if self.live is not None:
                self.live.remove_task(self.tasks.pop(key))
            self._say(f"{name}: {outcome} ({self.done} of {self.total}, {seconds:.0f} s)")

    def _draw(self, key: str, detail: dict[str, Any]) -> None:
        figures = {**detail["losses"], **{f"valid {name}": value for name, value in detail["valid"].items()}}
        text = "  ".join(f"{name} {value:.2f}" for name, value in figures.items())
        self.live.update(self.tasks[key], completed=detail["step"], total=detail["total_steps"], losses=text)

    def _say(self, line: str) -> None:
        if self.live is not None:
            self.live.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)
