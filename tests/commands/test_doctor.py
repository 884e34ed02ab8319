"""What `avebench doctor` and `avebench list experiments` say of a machine whose data and encoders are known."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from commandline import avebench

from avebench.analysis.machine import examine
from avebench.files.errors import AvebenchError
from avebench.nn import weights
from avebench.planning.experiment_files import experiment_names, open_experiment
from avebench.planning.requirements import Requirements, requirements

ROBERTA = "uer/chinese_roberta_L-4_H-512"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a machine that has no data, and no encoder but the shipped ones."""
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AVEBENCH_DATA", "HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def _needs(name: str) -> Requirements:
    return requirements(open_experiment(name))


def _reach(found: Requirements) -> tuple[str, str]:
    return found.reach, found.chosen.profile if found.chosen else ""


def test_a_table_gets_as_far_as_its_data_and_encoders(machine: Path) -> None:
    found = _needs("table6")
    assert _reach(found) == ("demo", "quick") and found.left_out() == []
    assert found.own is not None and found.own.missing() == ["data mepave", ROBERTA, "resnet152"]
    (machine / "AVEBENCH_DATA" / "mepave").mkdir(parents=True)
    found = _needs("table6")
    assert _reach(found) == ("own data", "quick")
    assert found.own is not None and found.own.missing() == [ROBERTA, "resnet152"]
    # With its text encoder alone, a part of the table runs as the paper has it.
    hub = machine / "HF_HOME" / "hub" / ("models--" + ROBERTA.replace("/", "--"))
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("r")
    (hub / "snapshots" / "r").mkdir(parents=True)
    (hub / "snapshots" / "r" / "config.json").write_text("{}")
    found = _needs("table4")
    assert _reach(found) == ("own data", "paper") and "V-IRC, text (RoBERTa)" not in found.left_out()
    assert "+TEM" in found.left_out() and "V-IRC, text (BERT)" in found.left_out()
    checkpoints = machine / "TORCH_HOME" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet152-b121ed2d.pth").write_bytes(b"")
    found = _needs("table6")
    assert _reach(found) == ("own data", "paper") and found.left_out() == []
    assert found.own is not None and found.own.missing() == []


def test_what_the_demo_set_cannot_stand_in_for(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _reach(_needs("snips")) == ("not at all", "")
    assert _reach(_needs("table1")) == ("demo", "quick")
    assert _needs("range").reach == "made-up data"
    (machine / "AVEBENCH_DATA" / "snips").mkdir(parents=True)

    def nowhere() -> Path:
        raise AvebenchError("not installed")

    monkeypatch.setattr(weights, "minilm_folder", nowhere)
    found = _needs("snips")
    assert _reach(found) == ("own data", "paper") and found.left_out() == ["joint-bert"]


def test_doctor_names_everything(machine: Path) -> None:
    asked = examine()  # What it resolves is remembered, so that the command need not import torch.
    done = avebench(machine, "doctor", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["experiments"] == json.loads(json.dumps([asdict(one) for one in asked.experiments]))
    assert found["machine"]["memory"] >= found["machine"]["memory_free"] > 0 and found["machine"]["disk_free"] > 0
    assert found["libraries"]["torch"].startswith("2.") and found["machine"]["data"] is None
    here = {one["name"]: one["here"] for kind in ("data_sets", "encoders", "extras") for one in found[kind]}
    assert here["demo"] == "built in" and here["mepave"] == "no" and here["demo (text encoder)"] == "yes"
    assert here["resnet152 (image encoder)"] == "no" and here["dev"] == "yes"
    abilities = {one["experiment"]: one for one in found["experiments"]}
    assert list(abilities) == experiment_names()
    assert abilities["table6"]["runs_on"] == "demo" and "data mepave" in abilities["table6"]["missing"]
    assert abilities["snips"]["runs_on"] == "not at all"


def test_the_list_says_what_is_needed_and_loads_nothing() -> None:
    code = (
        "import sys; from avebench.commands.list import listing; from avebench.tables.render import render\n"
        "print(render(listing('experiments'), 'json'))\n"
        "loaded = [m for m in sys.modules if m.startswith(('avebench.models.', 'avebench.datasets.', 'torch'))]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    rows = {row["label"]: row["columns"] for row in json.loads(done.stdout)["rows"]}
    assert list(rows) == experiment_names()
    assert rows["figure6"]["cells"] == "table6" and rows["figure6"]["kind"] == "sweep"
    assert rows["arxiv-pr"]["kind"] == "alias" and rows["arxiv-pr"]["encoders"] == "text, picture"
    assert rows["table8"]["built"] == "18 of 23" and rows["table1"]["encoders"] == "none"
    assert rows["range"]["dataset"] == "none, made up"
