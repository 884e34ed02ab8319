"""Control characters and formulas of other people's data reach no terminal, table or spreadsheet as such."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import COMMAND, environment
from inprocess import avebench_here

from avebench.files.printing import console, in_line, spreadsheet_cell, visible, visible_output
from avebench.tables.render import render
from avebench.tables.table import MEASURED, Column, Measured, Section, Table, TableRow
from avebench.tables.terminal import print_table

NAME = "Col\x1b]0;pwn\x07or\x9b2J\x7f"
SHOWN = r"Col\u001b]0;pwn\u0007or\u009b2J\u007f"


def controls(text: str) -> list[str]:
    """Return the control characters of a text, but for tabs and line feeds."""
    return [one for one in text if one not in "\t\n" and (one < " " or "\x7f" <= one <= "\x9f")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ± 黑 \xa0\u3000\u200d", "plain ± 黑 \xa0\u3000\u200d"),
        (NAME, SHOWN),
        ("a\tb\nc\rd\0", "a\tb\nc\\u000dd\\u0000"),
        ("half \ud800", "half \ufffd"),
        ("caf\udce9", "caf\ufffd"),  # A path in Latin-1, which no locale of UTF-8 can decode.
        ("\udce6\udc95\udcb0", "\udce6\udc95\udcb0"),  # A path in UTF-8 under a locale of ASCII: written as its bytes.
        ("\udcc2\udc9b2J", "\ufffd\ufffd2J"),  # The same way to a control character.
    ],
)
def test_what_is_shown_of_a_text(text: str, shown: str) -> None:
    assert visible(text) == shown and visible(shown) == shown
    assert "\n" not in in_line(text) and "\t" not in in_line(text)


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =x", "\t=x", "-x", "+ARM", "=\x1b"]
)
def test_what_a_spreadsheet_would_compute_is_text(text: str) -> None:
    assert spreadsheet_cell(text) == "'" + visible(text)


@pytest.mark.parametrize("text", ["-1", "+1.5e-3", "-0.25", "-1,5", "+3 ± 1", "-5 %", "-", "=", "a=b", "", "1-2", "x"])
def test_numbers_and_other_texts_stay(text: str) -> None:
    assert spreadsheet_cell(text) == text


def hostile() -> Table:
    row = TableRow(NAME, [Measured(50.0, None, 1), "=HYPERLINK(1)\x1b[2J", "-0.5"], marks=("*",))
    columns = [Column("f1", "F1\x1b", MEASURED), Column("text", "te\x9bxt"), Column("number", "number")]
    return Table(
        f"Of {NAME}", columns, [Section([row], NAME)], source=NAME, banner=NAME, notes=[NAME], marks={"*": NAME}
    )


@pytest.mark.parametrize("format", ["md", "latex", "csv"])
def test_tables_hold_no_control_character(format: str) -> None:
    text = render(hostile(), format)
    assert controls(text) == [] and "001b" in text


def test_a_csv_cell_is_text_or_a_number_and_json_keeps_every_character() -> None:
    (row,) = csv.DictReader(io.StringIO(render(hostile(), "csv")))
    assert (row["label"], row["text"], row["number"]) == (SHOWN, r"'=HYPERLINK(1)\u001b[2J", "-0.5")
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        with visible_output():
            sys.stdout.write(render(hostile(), "json"))
    assert controls(stream.getvalue()) == []
    assert json.loads(stream.getvalue())["rows"][0]["label"] == NAME


def test_a_table_without_rows_still_has_its_header() -> None:
    columns = [Column("value", "%", MEASURED), Column("tp", "tp")]
    assert render(Table("Nothing", columns, []), "csv") == "label,section,marks,protocol,measured_value,tp\n"


def test_a_terminal_gets_the_styles_of_rich_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with visible_output():
        styled = console(force_terminal=True, width=200, color_system="standard", _environ={})
        print_table(hostile(), styled)
        styled.print(NAME, markup=False, highlight=False)
        print(NAME)
    written = stream.getvalue()
    assert "\x1b[1mOf Col\\u001b]0;pwn" in written
    assert not any(part in written for part in ("\x1b]", "\x1b[2J", "\x07", "\x9b"))
    # Rich drops bells by itself.
    assert written.endswith(SHOWN.replace(r"\u0007", "") + f"\n{SHOWN}\n")


def _write(folder: Path, attribute: str = NAME, name: str = "a") -> None:
    spans = [{"attribute": attribute, "start": 2, "end": 5}]
    (folder / "gold.jsonl").write_text(json.dumps({"id": "a", "text": "a red dress", "spans": spans}) + "\n")
    (folder / "found.jsonl").write_text(json.dumps({"id": name, "attributes": {attribute: 1.0}, "spans": spans}) + "\n")


@pytest.mark.parametrize("arguments", [("--format", "terminal"), ("--format", "md"), ("--format", "json")])
def test_score_prints_names_that_a_terminal_does_not_obey(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    _write(tmp_path)
    done = avebench_here(tmp_path, "score", "found.jsonl", "--gold", "gold.jsonl", *arguments)
    assert done.returncode == 0 and controls(done.stdout) == [] and "001b" in done.stdout


def test_messages_on_a_terminal_hold_no_escape_of_the_data(tmp_path: Path) -> None:
    _write(tmp_path, name=NAME)
    end, terminal = pty.openpty()
    command = [COMMAND, "score", "found.jsonl", "--gold", "gold.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), stdout=terminal, stderr=terminal, check=False)
    os.close(terminal)
    said = os.read(end, 10_000).decode().replace("\r\n", "\n")
    os.close(end)
    assert done.returncode == 2 and controls(said) == [] and SHOWN in said.replace("\n", "")


def test_a_path_that_the_locale_cannot_decode_is_written_as_its_bytes(tmp_path: Path) -> None:
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [COMMAND, "data", "stats", "jsonl", "--data", "数据"]
    for folder in (None, tmp_path / "数据"):
        if folder is not None:
            folder.mkdir()
        done = subprocess.run(command, cwd=tmp_path, env=environment() | variables, capture_output=True, check=False)
        assert done.returncode == 2 and "数据" in done.stderr.decode(), done.stderr
        assert b"udc" not in done.stderr
