"""Tables in every format: nothing cut, nothing rounded where programs read, no source mixed with another."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from avebench.files.errors import AvebenchError
from avebench.files.printing import spreadsheet_cell
from avebench.tables.markup import escape_latex
from avebench.tables.render import emit, render
from avebench.tables.table import Column, Measured, Section, Table, TableRow
from avebench.tables.terminal import print_table

METRICS = {"tag_precision": "TAG P", "tag_f1": "TAG F1", "cls_f1": "CLS F1"}
COLUMNS = [Column(name, heading, source) for source in ("published", "measured") for name, heading in METRICS.items()]
LONG = "query system with a rather long label"


def measured(mean: float, sd: float | None = None, n: int = 1) -> Measured:
    return Measured(mean, sd, n)


def table(*, several: bool = False, protocol: str = "native", banner: str = "") -> Table:
    def cell(mean: float) -> Measured:
        return measured(mean, 0.123456789, 3) if several else measured(mean)

    figures = [cell(91.23456789012345), cell(90.0), cell(200 / 3)]
    rows = [
        TableRow("planned", [89.1, 90.25, None, *["not built yet"] * 3]),
        TableRow("broken", [None] * 3 + ["failed: out of memory at step 7"] * 3, marks=("‡",)),
        TableRow(LONG, [89.1, 90.25, 95.0, *figures], protocol=protocol),
    ]
    reference = Section([TableRow("dictionary", [None] * 3 + figures)], heading="Reference rows (not in the paper)")
    return Table(
        title="Precision & recall",
        columns=COLUMNS,
        sections=[Section(rows), reference],
        source="journal, Table 6",
        notes=["A note."],
        banner=banner,
        marks={"‡": "reproduced by others", "*": "more pretraining data"},
    )


def printed(content: Table, width: int) -> str:
    stream = io.StringIO()
    print_table(content, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_csv_reads_back_to_every_digit() -> None:
    rows = list(csv.DictReader(io.StringIO(render(table(several=True), "csv"))))
    assert [row["label"] for row in rows] == ["planned", "broken", LONG, "dictionary"]
    assert float(rows[2]["measured_tag_precision"]) == 91.23456789012345
    assert float(rows[2]["measured_cls_f1"]) == 200 / 3
    assert float(rows[2]["measured_cls_f1_sd"]) == 0.123456789
    assert rows[2]["measured_cls_f1_n"] == "3"
    assert float(rows[0]["published_tag_f1"]) == 90.25
    assert rows[0]["published_cls_f1"] == rows[0]["measured_cls_f1"] == ""
    assert rows[0]["measured_status"] == "not built yet"
    assert rows[1]["measured_status"] == "failed: out of memory at step 7"
    assert rows[3]["section"] == "Reference rows (not in the paper)"


@given(
    st.lists(
        st.tuples(
            st.floats(0, 100),
            st.integers(1, 5),
            st.floats(0, 50),
            st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_csv_and_json_carry_any_label_and_figure(content: list[tuple[float, int, float, str]]) -> None:
    rows = [TableRow(label, [measured(mean, sd if n > 1 else None, n)]) for mean, n, sd, label in content]
    small = Table("t", [Column("tag_f1", "TAG F1", "measured")], [Section(rows)])
    from_csv = list(csv.DictReader(io.StringIO(render(small, "csv"))))
    from_json = json.loads(render(small, "json"))["rows"]
    for (mean, n, sd, label), one, other in zip(content, from_csv, from_json, strict=True):
        assert other["label"] == label and one["label"] == spreadsheet_cell(label)
        assert float(one["measured_tag_f1"]) == other["measured"]["tag_f1"]["value"] == mean
        assert int(one["measured_tag_f1_n"]) == other["measured"]["tag_f1"]["n"] == n
        assert other["measured"]["tag_f1"]["sd"] == (sd if n > 1 else None)
        assert one.get("measured_tag_f1_sd", "") == (repr(sd) if n > 1 else "")


def test_json_keeps_sources_apart() -> None:
    content = json.loads(render(table(several=True, banner="demo"), "json"))
    planned, _, full, _ = content["rows"]
    assert full["published"] == {"tag_precision": 89.1, "tag_f1": 90.25, "cls_f1": 95.0}
    assert full["measured"]["tag_precision"] == {"value": 91.23456789012345, "sd": 0.123456789, "n": 3}
    assert planned["measured"]["tag_f1"] == {"text": "not built yet"}
    assert content["banner"] == "demo"
    assert any("±" in note for note in content["notes"])


@pytest.mark.parametrize("format", ["md", "latex"])
def test_one_repetition_claims_no_spread(format: str) -> None:
    one, many = render(table(), format), render(table(several=True), format)
    assert "91.23" in one
    for sign in ("±", r"\pm", "mean", "deviation", "sd"):
        assert sign not in one
    assert ("91.23 ± 0.12" if format == "md" else r"91.23 $\pm$ 0.12") in many
    assert "standard deviation (n - 1)" in many


def test_n_column_counts_repetitions_per_row() -> None:
    rows = [TableRow("a", [measured(1, 0.5, 3)]), TableRow("b", [measured(2)]), TableRow("c", ["not built yet"])]
    text = render(Table("t", [Column("tag_f1", "TAG F1", "measured")], [Section(rows)]), "md")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert cells[0] == ["Row", "measured TAG F1", "measured n"]
    assert cells[2:] == [["a", "1.00 ± 0.50", "3"], ["b", "2.00", "1"], ["c", "not built yet", ""]]


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def test_markdown_columns_are_aligned_and_escaped() -> None:
    rows = [
        TableRow("a|b*c_d", [1.5, measured(2)]),
        TableRow("颜色", [None, "failed: x"]),
        TableRow("long label here", [10.25, measured(1)]),
    ]
    columns = [Column("tag_f1", "TAG F1", "published"), Column("tag_f1", "TAG F1", "measured")]
    text = render(Table("t", columns, [Section(rows)]), "md")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert len({width(line) for line in lines}) == 1
    assert r"a\|b\*c\_d" in lines[2]
    assert lines[0].count("published TAG F1") == lines[0].count("measured TAG F1") == 1
    assert "- 颜色: failed: x" in text


def test_latex_rows_have_as_many_cells_as_columns() -> None:
    text = render(table(several=True, protocol="predicted"), "latex")
    specification = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert specification is not None
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 7
    for row in rows:
        spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
        assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) == len(specification[1])
    assert r"\caption{Precision \& recall (journal, Table 6)}" in text
    assert r"broken $\ddagger$" in text
    assert r"\cmidrule(lr){3-5} \cmidrule(lr){6-9}" in text
    assert text.count("{") == text.count("}")


def test_latex_specials_are_escaped() -> None:
    assert escape_latex(r"50% of a_b & {c} #1 $x ~ ^ \d") == (
        r"50\% of a\_b \& \{c\} \#1 \$x \textasciitilde{} \textasciicircum{} \textbackslash{}d"
    )


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_terminal_never_cuts_labels_or_figures(columns: int) -> None:
    text = printed(table(several=True, protocol="oracle"), columns)
    assert "…" not in text
    for label in ("planned", "broken ‡", "dictionary", "published", "measured", "not built yet"):
        assert label in text
    for figure in ("91.23 ± 0.12", "66.67 ± 0.12", "90.25"):
        assert figure in text
    if columns >= 80:
        assert f"{LONG} [oracle]" in text
        assert max(len(line.rstrip()) for line in text.splitlines()) <= columns


def test_terminal_puts_sources_beside_each_other_when_they_fit() -> None:
    heads = [line for line in printed(table(), 120).splitlines() if "published" in line or "measured" in line]
    assert heads[0].split() == ["published", "measured"]
    narrow = [line.split() for line in printed(table(several=True), 80).splitlines()]
    assert ["published"] in narrow and ["measured"] in narrow


def test_terminal_rows_are_level() -> None:
    line = next(line for line in printed(table(), 120).splitlines() if line.startswith(LONG))
    assert line.split()[-6:] == ["89.10", "90.25", "95.00", "91.23", "90.00", "66.67"]


def test_lists_of_texts_wrap_without_losing_words() -> None:
    summary = "the values of the training set, which is the floor of every table, said at length"
    content = Table("Models", [Column("summary", "Summary")], [Section([TableRow("dictionary", [summary])])])
    text = printed(content, 50)
    assert summary.split() == [word for word in " ".join(text.splitlines()).split() if word in summary.split()]
    assert max(len(line) for line in text.splitlines()) <= 50


def test_output_that_is_no_terminal_is_plain_and_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    emit(table(several=True), "terminal")
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert any("published" in line and "measured" in line for line in text.splitlines())
    assert max(len(line) for line in text.splitlines()) < 200
    emit(table(), "csv")
    assert capsys.readouterr().out == render(table(), "csv")


@pytest.mark.parametrize("format", ["md", "latex", "csv", "json"])
def test_protocol_and_marks_are_said_in_every_format(format: str) -> None:
    text = render(table(protocol="oracle", banner="Scores on the demo set."), format)
    assert "oracle" in text and "Scores on the demo set." in text
    native = render(table(), format)
    assert "oracle" not in native
    if format in {"md", "latex"}:
        assert "Protocol" in text and "Protocol" not in native
        assert "reproduced by others" in native and "more pretraining data" not in native
        assert "broken: failed: out of memory at step 7" in native


def test_sources_do_not_mix() -> None:
    columns = [Column("tag_f1", "TAG F1", "measured")]
    with pytest.raises(ValueError, match="another source"):
        Table("t", columns, [Section([TableRow("a", [90.0])])])
    with pytest.raises(ValueError, match="another source"):
        Table("t", [Column("tag_f1", "TAG F1", "published")], [Section([TableRow("a", [measured(90)])])])
    with pytest.raises(ValueError, match="2 cells, the table 1 columns"):
        Table("t", columns, [Section([TableRow("a", [None, None])])])
    with pytest.raises(ValueError, match="same name and source"):
        Table("t", columns * 2, [])
    with pytest.raises(ValueError, match="several have one"):
        Measured(90.0, None, 3)
    with pytest.raises(ValueError, match="finite"):
        Measured(float("nan"), None, 1)
    with pytest.raises(AvebenchError, match=r"'¶'.*explained nowhere"):
        Table("t", columns, [Section([TableRow("a", [None], marks=["¶"])])])
    with pytest.raises(ValueError, match="unknown format 'html'"):
        render(table(), "html")


def test_counts_are_grouped_for_people_and_bare_for_programs() -> None:
    content = Table("t", [Column("products", "Products", "counted")], [Section([TableRow("a", [2200000])])])
    assert "2,200,000" in render(content, "md")
    assert next(csv.DictReader(io.StringIO(render(content, "csv"))))["counted_products"] == "2200000"


def test_a_column_says_how_many_decimals_people_see() -> None:
    columns = [Column("p", "p", "test", digits=4), Column("difference", "diff.", "test")]
    content = Table("t", columns, [Section([TableRow("row", [0.00123456, 1.23456])])])
    assert "0.0012" in printed(content, 80) and "1.23" in printed(content, 80)
    assert "0.00123456" not in render(content, "md") and "0.0012 |" in render(content, "md")
    assert json.loads(render(content, "json"))["rows"][0]["test"] == {"p": 0.00123456, "difference": 1.23456}


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\nfrom avebench.tables.render import *\nfrom avebench.tables.table import *\n"
        "t = Table('t', [Column('a', 'A', 'measured')], [Section([TableRow('x', [Measured(1.0, None, 1)])])])\n"
        "[emit(t, f) for f in FORMATS]\n"
        "print([m for m in ('pandas', 'numpy', 'torch', 'mlflow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
