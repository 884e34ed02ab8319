"""What counts as a change of the code that measured something."""

import subprocess
from pathlib import Path

import pytest

from avebench.store import provenance


def test_recorded_results_are_no_change_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        person = ("-c", "user.name=n", "-c", "user.email=e")
        subprocess.run(["git", *person, *arguments], cwd=tmp_path, check=True, capture_output=True)

    module, recorded = tmp_path / "package" / "provenance.py", tmp_path / "results" / "table.md"
    for path in (module, recorded):
        path.parent.mkdir()
        path.write_text("one")
    monkeypatch.setattr(provenance, "__file__", str(module))
    assert provenance.revision() == ("", False)
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    commit, dirty = provenance.revision()
    assert len(commit) == 40 and not dirty
    recorded.write_text("two")
    (tmp_path / "results" / "more.md").write_text("new")
    (tmp_path / "data.csv").write_text("new")
    assert provenance.revision() == (commit, False)
    module.write_text("two")
    assert provenance.revision() == (commit, True)
