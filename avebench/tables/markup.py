"""A table in Markdown and in LaTeX."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from avebench.files.printing import visible
from avebench.tables.layout import Layout, lay_out, source_runs
from avebench.tables.table import Table


def markdown(table: Table) -> str:
    """Return the table in Markdown, ending in a line feed."""
    from tabulate import tabulate

    shown = lay_out(table)
    headings = [f"{source} {heading}".strip() for source, heading in shown.headings]
    lines: list[list[str]] = []
    for section, rows in shown.sections:
        if section:
            lines.append([f"**{_escape_markdown(section)}**", *[""] * (len(headings) - 1)])
        lines += [[_escape_markdown(cell) for cell in row] for row in rows]
    body = tabulate(
        lines,
        headers=[_escape_markdown(heading) for heading in headings],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left" if place < shown.lead else "right" for place in range(len(headings))] if lines else None,
    )
    parts = [f"> {_escape_markdown(table.banner)}"] if table.banner else []
    parts.append(
        f"**{_escape_markdown(table.title)}**" + (f" ({_escape_markdown(table.source)})" if table.source else "")
    )
    parts.append(body)
    if shown.notes:
        parts.append("\n".join(f"- {_escape_markdown(note)}" for note in shown.notes))
    return "\n\n".join(parts) + "\n"


def _escape_markdown(text: str) -> str:
    text = visible(text)
    for character in "\\|*_<`[":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",
    "]": "{]}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "*": r"$^{*}$",
    "−": r"$-$",
    "–": "--",
    "→": r"$\rightarrow$",
}
"""Characters that LaTeX reads as commands, and the marks of our tables. A bracket may not follow a line's end."""


def escape_latex(text: str) -> str:
    """Return `text` so that LaTeX prints it as it stands."""
    return " ".join("".join(LATEX.get(character, character) for character in visible(text)).split())


_DIGITS = ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"]
_SPELLED = {"+": "Plus", **{str(number): word for number, word in enumerate(_DIGITS)}}
"""What stands in the name of a LaTeX command, which takes letters only."""


def latex_with_macros(table: Table, prefix: str, taken: set[str]) -> str:
    r"""Return the table in LaTeX with a `\newcommand` for every cell of figures, by which the table prints it.

    A command is named after `prefix`, row, source and column, where a row's label stands in several sections after the
    section too; in letters only, and by more letters where that name is in `taken`, to which all names are added.
    """
    shown = lay_out(table)
    labels = [row[0] for _, rows in shown.sections for row in rows]
    names, macros = {}, []
    for section, (heading, rows) in enumerate(shown.sections):
        for line, row in enumerate(rows):
            apart = [heading] if labels.count(row[0]) > 1 else []
            for place in range(shown.lead, len(row)):
                if row[place]:
                    name = _free_name(_letters([prefix, *apart, row[0], *shown.headings[place]]), taken)
                    names[section, line, place] = rf"\{name}"
                    macros.append(rf"\newcommand{{\{name}}}{{{escape_latex(row[place])}}}")
    return "\n".join([*macros, latex(table, names)])


def _letters(parts: Sequence[str]) -> str:
    """Return the words of `parts` as one name of ASCII letters, each word with a capital."""
    spelled = "".join(_SPELLED.get(character, character) for character in " ".join(parts))
    return "".join(word[0].upper() + word[1:] for word in re.findall("[A-Za-z]+", spelled))


def _free_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name` with the first letters that make it new, and add it to `taken`."""
    letters = (itertools.product(string.ascii_uppercase, repeat=number) for number in itertools.count())
    endings = map("".join, itertools.chain.from_iterable(letters))
    free = next(name + ending for ending in endings if name + ending not in taken)
    taken.add(free)
    return free


def latex(table: Table, commands: Mapping[tuple[int, int, int], str] = MappingProxyType({})) -> str:
    """Return a `table` environment; it needs the package booktabs.

    `commands` stand in the cells of their section, row and column, instead of what the cells hold.
    """
    shown = lay_out(table)
    figures = len(shown.headings) - shown.lead
    lines = [
        "% Needs \\usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title + (f' ({table.source})' if table.source else ''))}}}",
        rf"\begin{{tabular}}{{{'l' * shown.lead}{'r' * figures}}}",
        r"\toprule",
    ]
    lines += _latex_sources(shown)
    lines += [" & ".join(escape_latex(heading) for _, heading in shown.headings) + r" \\"]
    for section, (heading, rows) in enumerate(shown.sections):
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{len(shown.headings)}}}{{l}}{{\emph{{{escape_latex(heading)}}}}} \\")
        for line, row in enumerate(rows):
            cells = [commands.get((section, line, place)) or escape_latex(cell) for place, cell in enumerate(row)]
            lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    remarks = [table.banner] if table.banner else []
    lines += [rf"\par\smallskip\footnotesize {escape_latex(note)}" for note in [*remarks, *shown.notes]]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_sources(shown: Layout) -> list[str]:
    """Return the line of sources above the headings, and the rules under it; nothing if no column has a source."""
    runs = source_runs(shown, range(len(shown.headings)))
    names, rules = [], []
    for run in runs:
        source = shown.headings[run[0]][0]
        if source:
            names.append(rf"\multicolumn{{{len(run)}}}{{c}}{{{escape_latex(source)}}}")
            rules.append(rf"\cmidrule(lr){{{run[0] + 1}-{run[-1] + 1}}}")
        else:
            names += [""] * len(run)
    return [" & ".join(names) + r" \\", " ".join(rules)] if rules else []
