"""Folders named in any script work in a locale that knows nothing but ASCII."""

from pathlib import Path

from commandline import avebench
from made_up import gold_line, write_gold

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "1"}


def _data(folder: Path) -> Path:
    write_gold(
        folder,
        lambda split: (
            gold_line(f"{split}{i}", f"a blue dress {split} {i}", {"Color": "blue"}, image="蓝色.png") for i in range(3)
        ),
    )
    from PIL import Image

    Image.new("RGB", (8, 8), "blue").save(folder / "蓝色.png")
    return folder


def _fingerprint(printed: str) -> str:
    return printed.partition("Fingerprint ")[2].split()[0]


def test_a_chinese_folder_is_read_run_and_reported_in_a_plain_c_locale(tmp_path: Path) -> None:
    data = _data(tmp_path / "数据")
    here = avebench(tmp_path, "data", "stats", "jsonl", "--data", str(data), variables=ASCII)
    usual = avebench(tmp_path, "data", "stats", "jsonl", "--data", str(data), variables=UTF8)
    assert here.returncode == usual.returncode == 0, here.stderr + usual.stderr
    assert _fingerprint(here.stdout) == _fingerprint(usual.stdout)
    assert avebench(tmp_path, "data", "check", "jsonl", "--data", str(data), variables=ASCII).returncode == 0

    where = ("--dataset", "jsonl", "--data", str(data), "--out", "运行")
    run = avebench(tmp_path, "run", "table6", "--rows", "dictionary", *where, variables=ASCII)
    assert run.returncode == 0, run.stderr
    assert "100.00" in run.stdout

    report = avebench(tmp_path, "report", "--out", "运行", variables=ASCII)
    assert report.returncode == 0, report.stderr
    assert "运行" in (tmp_path / "report.html").read_text(encoding="utf-8")
