"""Shows running cells: live bars with losses and time left on a terminal; elsewhere a line per event and minute."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from avebench.planning.cells import cell_name
from avebench.running.runner import Event

LINE_SECONDS = 60.0
"""Where nobody watches bars, a cell that runs says so every so often."""
PHASES = {
    "wait": "waiting for the process that works on this cell",
    "read": "reading the data",
    "vocabulary": "learning the vocabulary",
    "build": "building the model",
    "train": "preparing the training, or at its first step",
    "predict": "predicting",
    "predict_extended": "predicting the training products that were left out",
    "score": "scoring",
}
"""What a cell does, in words, by the name of its phase."""


@dataclass(slots=True)
class _Running:
    """What is known of a cell at work: when it and its phase began, and the last figures of its training."""

    started: float
    phase: str = "read"
    since: float = 0.0
    said: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)


class Display:
    """Draws the events of `run_cells` on standard error; a context manager."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.running: dict[str, _Running] = {}
        self.live: Any = None
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Display:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            from avebench.files.printing import console

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
            now = time.monotonic()
            self.running[key] = _Running(started=now, since=now, said=now)
            if self.live is not None:
                self.tasks[key] = self.live.add_task(name, total=None, losses=PHASES["read"])
            else:
                self._say(f"{name}: started")
        elif event.kind == "waiting":
            self._enter(key, "wait")
            self._say(f"{name}: another process works on this cell; waiting for it")
        elif event.kind == "phase":
            self._enter(key, event.detail)
        elif event.kind == "notice":
            self._say(f"{name}: {event.detail}")
        elif event.kind == "progress":
            self.running[key].figures = event.detail
            if self.live is not None:
                self._draw(key, event.detail)
        elif event.kind == "alive":
            self._say_now_and_then(key, name)
        else:
            self.done += 1
            seconds = time.monotonic() - self.running.pop(key).started
            outcome = "finished" if event.kind == "finished" else f"failed: {event.detail}"
            if self.live is not None:
                self.live.remove_task(self.tasks.pop(key))
            self._say(f"{name}: {outcome} ({self.done} of {self.total}, {seconds:.0f} s)")

    def _enter(self, key: str, phase: str) -> None:
        """Note what a cell does from now on."""
        one = self.running[key]
        one.phase, one.since, one.figures = phase, time.monotonic(), {}
        if self.live is not None:
            self.live.update(self.tasks[key], losses=PHASES.get(phase, phase))

    def _say_now_and_then(self, key: str, name: str) -> None:
        """Write a line where there are no bars, if the cell has said nothing for `LINE_SECONDS`."""
        one, now = self.running[key], time.monotonic()
        if self.live is not None or now - one.said < LINE_SECONDS:
            return
        one.said = now
        if one.figures:
            self._say(f"{name}: {_figures(one.figures)}")
        else:
            self._say(f"{name}: {PHASES.get(one.phase, one.phase)}, for {_duration(now - one.since)}")

    def _draw(self, key: str, detail: dict[str, Any]) -> None:
        text = "  ".join(f"{name} {value:.2f}" for name, value in _values(detail).items())
        self.live.update(self.tasks[key], completed=detail["step"], total=detail["total_steps"], losses=text)

    def _say(self, line: str) -> None:
        if self.live is not None:
            self.live.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _values(detail: dict[str, Any]) -> dict[str, float]:
    """Return the losses and the validation metric of a progress report by what they are called."""
    return {**detail["losses"], **{f"valid {name}": value for name, value in detail["valid"].items()}}


def _figures(detail: dict[str, Any]) -> str:
    """Return a progress report in one line."""
    parts = [f"step {detail['step']:,} of {detail['total_steps']:,}"]
    parts += [f"{name} {value:.4g}" for name, value in _values(detail).items()]
    if detail["eta_seconds"] is not None:
        parts.append(f"{_duration(detail['eta_seconds'])} left")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
