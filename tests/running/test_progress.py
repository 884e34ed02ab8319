"""What is said of running cells where nobody watches bars, and what is drawn where somebody does."""

from types import SimpleNamespace
from typing import Any

import pytest

from avebench.running import progress
from avebench.running.progress import Display
from avebench.running.runner import Event

CELL: Any = SimpleNamespace(key="k", row="DRAM", repetition=0, control=None, train_fraction=1.0)
FIGURES = {
    "step": 1200,
    "total_steps": 5000,
    "losses": {"crf": 3.14159, "range": 0.5},
    "valid": {"tag_f1": 61.2345},
    "eta_seconds": 754.0,
}


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    monkeypatch.setattr(progress, "cell_name", lambda cell: "DRAM #0")
    return made


def test_a_background_run_says_a_line_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty minutes: two of reading, one of preparing, sixteen of training, one of predicting."""
    with Display(1) as display:
        display.show(Event(CELL, "started"))
        for second in range(20 * 60):
            clock.now += 1
            if second == 120:
                display.show(Event(CELL, "phase", "train"))
            if 180 <= second < 19 * 60:
                display.show(Event(CELL, "progress", FIGURES))
            if second == 19 * 60:
                display.show(Event(CELL, "phase", "predict"))
            display.show(Event(CELL, "alive"))
        display.show(Event(CELL, "finished"))
    said = capsys.readouterr().err.splitlines()
    assert said[:4] == [
        "DRAM #0: started",
        "DRAM #0: reading the data, for 60 s",
        "DRAM #0: reading the data, for 2 min",
        "DRAM #0: preparing the training, or at its first step, for 59 s",
    ]
    figures = "DRAM #0: step 1,200 of 5,000, crf 3.142, range 0.5, valid tag_f1 61.23, 13 min left"
    assert said[4:-2] == [figures] * 16
    assert said[-2:] == ["DRAM #0: predicting, for 59 s", "DRAM #0: finished (1 of 1, 1200 s)"]


def test_a_short_run_says_no_more_than_it_did(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display(1) as display:
        display.show(Event(CELL, "started"))
        for _ in range(59):
            clock.now += 1
            display.show(Event(CELL, "progress", FIGURES))
            display.show(Event(CELL, "alive"))
        display.show(Event(CELL, "failed", "it broke"))
    assert capsys.readouterr().err.splitlines() == ["DRAM #0: started", "DRAM #0: failed: it broke (1 of 1, 59 s)"]


def test_waiting_for_another_process_is_said_too(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display(1) as display:
        display.show(Event(CELL, "started"))
        display.show(Event(CELL, "waiting"))
        clock.now += 61
        display.show(Event(CELL, "alive"))
    assert (
        capsys.readouterr().err.splitlines()[-1] == "DRAM #0: waiting for the process that works on this cell, for 61 s"
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5300, "88 min"), (11_100, "3 h 05 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert progress._duration(seconds) == words
