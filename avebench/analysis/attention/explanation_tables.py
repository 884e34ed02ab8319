"""An explanation in the terminal: ranges and tokens as tables, attention as small maps of characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avebench.analysis.attention.overlays import attention_scale, shown_attributes
from avebench.contracts.explanation import Explanation, Figures
from avebench.tables.table import Column, Section, Table, TableRow

if TYPE_CHECKING:
    from rich.columns import Columns
    from rich.text import Text

SHADES, NEGATIVE_SHADES = " ░▒▓█", " .:+#"
"""From nothing to the largest value of the example; other characters below 0, so that they differ without colours."""
LOW = 0.05
"""Range scores from here on are shown; no others are decoded for a threshold sweep either."""


def range_table(explanation: Explanation, title: str) -> Table:
    """Return the attributes in question: score against the threshold, predicted and annotated values."""
    ranges, threshold = explanation.ranges, explanation.threshold
    names = dict.fromkeys(shown_attributes(explanation))
    names |= dict.fromkeys(name for name, score in ranges.items() if score >= LOW)
    mixed = max((len(row) for row in explanation.mixtures.values()), default=0)
    rows = []
    for name in sorted(names, key=lambda name: -ranges.get(name, 0.0)):
        selected = "" if threshold is None else "yes" if ranges.get(name, 0.0) > threshold else "no"
        predicted = ", ".join(sorted(explanation.prediction.pairs.get(name, ())))
        annotated = ", ".join(sorted(explanation.example.pairs.get(name, ())))
        weights: list[float | None] = [float(weight) for weight in explanation.mixtures.get(name, ())] or [None] * mixed
        rows.append(TableRow(name, [ranges.get(name), selected, predicted, annotated, *weights]))
    columns = [Column("score", "score"), Column("selected", "selected")]
    columns += [Column("predicted", "predicted"), Column("annotated", "annotated")]
    columns += [Column(f"expert {number}", f"{number}", source="weight of expert") for number in range(1, mixed + 1)]
    notes = [explanation.decides] if explanation.decides else []
    if ranges:
        others = len(ranges) - sum(name in ranges for name in names)
        said = [] if threshold is None else [f"selected above {threshold:g}"]
        said += [f"{others} other attribute{'s score' if others > 1 else ' scores'} below {LOW:g}"] if others else []
        notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in ["; ".join(said)] if sentence]
    if not rows:
        notes.append("No attribute is predicted or annotated" + (f", or scores {LOW:g} or more." if ranges else "."))
    return _filled(Table(title, columns, [Section(rows)], notes=notes, label_heading="Attribute"))


def token_table(explanation: Explanation) -> Table:
    """Return the tokens: predicted and annotated tags, similarities and probabilities for each attribute shown."""
    shown = set(shown_attributes(explanation))
    scores = {
        (kind, name): row
        for kind, rows in explanation.token_scores().items()
        for name, row in rows.items()
        if name in shown
    }
    columns = [Column("tags", "tags"), Column("annotated", "annotated")]
    columns += [Column(name, name, source=kind) for kind, name in scores]
    rows = []
    for number, (token, found, gold) in enumerate(
        zip(explanation.tokens(), explanation.tags(), explanation.gold_tags(), strict=True)
    ):
        figures = [float(row[number]) if number < len(row) else None for row in scores.values()]
        rows.append(TableRow(token, [" ".join(found), " ".join(gold), *figures]))
    tagged = any(found or gold for found, gold in zip(explanation.tags(), explanation.gold_tags(), strict=True))
    notes = [] if tagged else ["No token is tagged."]
    return _filled(Table("Tokens", columns, [Section(rows)], notes=notes, label_heading="Token"))


def _filled(table: Table) -> Table:
    """Return the table without the columns that are empty in every row."""
    kept = [
        place for place in range(len(table.columns)) if any(row.cells[place] not in ("", None) for row in table.rows())
    ]
    rows = [TableRow(row.label, [row.cells[place] for place in kept]) for row in table.rows()]
    columns = [table.columns[place] for place in kept]
    return Table(table.title, columns, [Section(rows)], notes=table.notes, label_heading=table.label_heading)


def attention_maps(explanation: Explanation) -> Columns | None:
    """Return a small map per token, for a rich console; None where attention cannot be laid out as the picture."""
    from rich.columns import Columns

    maps = explanation.maps()
    if maps is None:
        return None
    drawn = [_map(token, cells, explanation) for token, cells in zip(explanation.tokens(), maps, strict=False)]
    return Columns(drawn, padding=(1, 2))


def _map(token: str, cells: Figures, explanation: Explanation) -> Text:
    from rich.text import Text

    _, largest, _ = attention_scale(explanation)
    shown = Text(token, style="bold", no_wrap=True)
    shown.truncate(max(2 * cells.shape[1], 12), overflow="ellipsis")
    for row in cells:
        shown.append("\n")
        for value in row.tolist():
            level = min(round(abs(value) / largest * (len(SHADES) - 1)), len(SHADES) - 1)
            shades, colour = (SHADES, "red") if value >= 0 else (NEGATIVE_SHADES, "blue")
            shown.append(2 * shades[level], style=f"not bold {colour}")
    return shown
