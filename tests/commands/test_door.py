"""How a command ends that does not end by itself: pipes, full disks, terminals, signals, faults and bad numbers."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import COMMAND, environment
from inprocess import avebench_here
from made_up import card
from small_table import ONE_ROW

from avebench.contracts.model import TrainingConfig
from avebench.files.errors import AvebenchError, DataError
from avebench.files.rowstore import limit_bytes
from avebench.planning.experiment_files import load_experiment
from avebench.planning.plan import make_plan
from avebench.planning.request import Request
from avebench.planning.settings import parse_settings
from avebench.running.devices import check_device, computing_on, threads
from avebench.running.runner import run_cells

CARD = "from avebench.contracts.model import ModelCard, ModelConfig\n\n" + card("mine")
SLOW = """
import os, time
from pathlib import Path
class Config(ModelConfig):
    pass
class Model:
    @staticmethod
    def learn_vocabulary(config, schema, examples):
        Path("began").write_text(str(os.getpid()))
        time.sleep(120)
"""
INTERRUPTED = """
import multiprocessing, os, signal, time
from pathlib import Path
from avebench.planning.plan import Request, make_plan
from avebench.contracts.registry import add_plugin_file
from avebench.files.rowstore import limit_bytes
from avebench.running.runner import run_cells
from avebench.running.devices import computing_on
from multiprocessing.context import ForkServerProcess

start = ForkServerProcess.start
def interrupted(process):
    start(process)
    os.kill(os.getpid(), signal.SIGINT)
ForkServerProcess.start = interrupted

if __name__ == "__main__":
    add_plugin_file(Path("mine.py"))
    cells = list(make_plan(Request("mine.toml", Path("runs"))).cells())
    try:
        run_cells(cells, experiment="mine", out=Path("runs"), jobs=1, device="cpu", show=str, debug=False)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    time.sleep(1)
    print(len(multiprocessing.active_children()), flush=True)
    os._exit(0)
"""


def _table(folder: Path, label: str = "mine", model: str = "mine", options: str = "") -> Path:
    path = folder / "mine.toml"
    path.write_text(ONE_ROW.format(label=label, model=model, options=options))
    return path


@pytest.mark.parametrize("arguments", [("list", "models"), ("data", "list"), ("--help",)])
def test_a_closed_pipe_ends_a_command_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [COMMAND, *arguments], cwd=tmp_path, env=environment(), stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("arguments", [("list", "models"), ("data", "list", "--format", "json")])
def test_full_output_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "avebench: no space left on the device: the output could not be written. What was finished before is stored. "
        f"Free some space, then continue with: avebench {shlex.join(arguments)}"
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_is_replaced(tmp_path: Path, encoding: str) -> None:
    code = "from avebench.commands.door import enter; from rich.console import Console; "
    code += "exit(enter(lambda: (print('50 \\u00b1 1 \\u9ed1'), Console().print('1 \\u00b1 2')), debug=False))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment() | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == "50 ± 1 黑\n1 ± 2\n".encode(encoding, errors="replace")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_one_line(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "mine.py").write_text(CARD + SLOW)
    _table(tmp_path)
    running = subprocess.Popen(
        [COMMAND, "run", "mine.toml", "--plugin", "mine.py", "--no-mlflow"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What runs in the background ignores Ctrl-C and hands that on; a terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < until and running.poll() is None:
        time.sleep(0.05)
    # As a terminal does it: to every process of the group.
    os.killpg(running.pid, number) if number is signal.SIGINT else running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 128 + number
    assert "Traceback" not in said
    assert said.splitlines()[-1].endswith("The same command continues where it was.")
    assert said.count("avebench:") == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system does not show its processes as files")
def test_a_killed_run_leaves_no_worker(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CARD + SLOW)
    _table(tmp_path)
    command = [COMMAND, "run", "mine.toml", "--plugin", "mine.py", "--no-mlflow"]
    with (tmp_path / "said").open("w") as said:
        running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=said, stderr=said)
    began = tmp_path / "began"
    assert _within(60, lambda: began.exists() and began.read_text() != "")
    running.kill()
    running.wait()
    assert _within(20, lambda: not Path(f"/proc/{began.read_text()}").exists())


def _within(seconds: float, happened: Callable[[], bool]) -> bool:
    """Return whether it happened in time."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_an_unforeseen_fault_is_two_lines_and_a_file(tmp_path: Path) -> None:
    code = (
        "from avebench.commands.door import enter\ndef broken(): raise KeyError('gone')\nexit(enter(broken, debug={}))"
    )
    variables = environment() | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code.format(False)], env=variables, capture_output=True, text=True, check=False
    )
    (log,) = tmp_path.glob("avebench-*.log")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "avebench: KeyError: 'gone'",
        f"This is a fault of avebench or of a plug-in; the details are in {log}.",
    ]
    assert "in broken" in log.read_text()
    shown = subprocess.run(
        [sys.executable, "-c", code.format(True)], env=variables, capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stderr.splitlines()[-1]) == (1, "KeyError: 'gone'")


@pytest.mark.parametrize("fault", ["raise RuntimeError('lost')", "import nowhere_to_be_found", "raise SystemExit(3)"])
def test_a_plugin_that_raises_on_import_is_named(tmp_path: Path, fault: str) -> None:
    (tmp_path / "mine.py").write_text(f"{CARD}\n{fault}\n")
    _table(tmp_path)
    done = avebench_here(tmp_path, "run", "mine.toml", "--plugin", "mine.py", "--dry-run")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"avebench: The plug-in 'mine' ({tmp_path / 'mine.py'}) cannot be imported: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "table6", "--jobs", "-1"),
        ("run", "table6", "--jobs", "0"),
        ("run", "table6", "--seeds", "0"),
        ("run", "table6", "--dry-run", "--seeds", "100000000000000000000"),
        ("compare", "dram", "dictionary", "--seeds", "1001"),
        ("run", "table6", "--dry-run", "--train-fraction", "nan"),
        ("ui", "--port", "70000"),
        ("compare", "dram", "dictionary", "--examples", "100000000000000000000"),
    ],
)
def test_counts_have_bounds(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = avebench_here(tmp_path, *arguments)
    assert done.returncode == 2
    assert f"{arguments[-2]}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_library_has_the_same_bounds(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match="--seeds 1001: give a number from 1 to 1000"):
        make_plan(Request("table6", tmp_path, repetitions=1001))
    with pytest.raises(AvebenchError, match="-1 cells at a time would never end"):
        run_cells([], experiment="", out=tmp_path, jobs=-1, device="cpu", debug=False, show=lambda event: None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nan", "nan is no number"),
        ("[1.0, -inf]", "-inf is no number"),
        ("2026-01-01", "2026-01-01 is a date"),
        ("9" * 5000, "too many digits"),
        ("9" * 30, "too many digits"),
        ("[" * 3000, "too deep"),
        ("[" * 100 + "]" * 100, "too deep"),
    ],
)
def test_values_that_cannot_be_used(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(AvebenchError, match=f"^dropout: .*{message}"):
        parse_settings([f"dropout={value}"])
    with pytest.raises(AvebenchError, match=f"mine.toml, (field|line) .*{message}"):
        load_experiment(_table(tmp_path, options=f"dropout = {value}"))


def test_settings_that_cannot_be_used() -> None:
    with pytest.raises(AvebenchError, match="text_encoder: it holds bytes that are not UTF-8"):
        parse_settings(["text_encoder=\udcff"])
    with pytest.raises(AvebenchError, match="no option has so many parts"):
        parse_settings([".".join("a" * 3000) + "=1"])
    assert parse_settings(["training.steps=100", "a=[[1, 2.5], [true]]", "name=plain"]) == {
        "training": {"steps": 100},
        "a": [[1, 2.5], [True]],
        "name": "plain",
    }


def test_a_slash_in_a_label_is_answered_in_words(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match=r"'rows\.0\.label': a label has no slash, .*'a/b'"):
        load_experiment(_table(tmp_path, label="a/b"))


@pytest.mark.parametrize(
    "fields", [{"learning_rates": {"default": -1e-3}}, {"weight_decay": -0.1}, {"learning_rates": {"default": "nan"}}]
)
def test_rates_have_bounds(fields: dict[str, object]) -> None:
    TrainingConfig(steps=1, learning_rates={"default": 0.0})
    with pytest.raises(ValueError, match=r"a rate is 0 or above|greater than or equal to 0|finite"):
        TrainingConfig.model_validate({"steps": 1, **fields})


def test_an_interrupt_while_a_worker_starts_leaves_no_worker(tmp_path: Path) -> None:
    """The signal comes after the process began and before the run has noted it."""
    (tmp_path / "mine.py").write_text(CARD + SLOW)
    _table(tmp_path)
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, "interrupted.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.stdout.split() == ["interrupted", "0"], done.stdout + done.stderr


def test_a_device_that_is_none_is_said_before_any_cell_starts(tmp_path: Path) -> None:
    done = avebench_here(tmp_path, "run", "table6", "--rows", "dictionary", "--no-mlflow", "--device", "gpu")
    assert done.returncode == 2
    assert done.stderr == "avebench: There is no device 'gpu'. Give --device cpu, cuda, cuda:N or auto.\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cuda:0:1", "CPU", "cuda:99999"])
def test_names_of_devices(name: str) -> None:
    for known in ("auto", "cpu", "cuda", "cuda:0", "cuda:12"):
        check_device(known)
    with pytest.raises(AvebenchError, match=f"There is no device '{name}'"):
        check_device(name)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("tag_f2", "no metric 'tag_f2'. Did you mean 'tag_f1'"),
        ("tag_f1 or lst", "no metric 'lst'"),
        ("", "no metric ''"),
    ],
)
def test_a_selection_that_is_no_metric_is_said_before_any_cell_starts(
    tmp_path: Path, selection: str, message: str
) -> None:
    request = Request("table6", tmp_path, rows=["virc-text"], settings={"training": {"selection": selection}})
    with pytest.raises(AvebenchError, match=rf"'virc-text' .*training\.selection: there is {message}"):
        make_plan(request)


def test_what_only_a_worker_can_know_of_the_machine_stops_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="'cuda:9999' is not on this machine"):
        computing_on("cuda:9999")
    for wrong in ("many", "0", "-1", "", "1e3", "9" * 5000):
        monkeypatch.setenv("OMP_NUM_THREADS", wrong)
        with pytest.raises(DataError, match=r"OMP_NUM_THREADS is '.*'. Set it to a number"):
            computing_on("cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert threads() == 2
    monkeypatch.setenv("AVEBENCH_CACHE_GB", "much")
    with pytest.raises(DataError, match="AVEBENCH_CACHE_GB is 'much'"):
        limit_bytes()
