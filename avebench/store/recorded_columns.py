"""Text-free predictions and counts of examples as Arrow columns: the tables behind a recorded folder's parquet files.

A row of either table is one example of one repetition of one row: `row` (its slug), `repetition`, `id`, and

* predictions: `attributes` [{attribute, score}], `spans` [{attribute, start, end, score or null}] or null, `intent`
  [label] or null, `candidates` [{attribute, score, spans}] or null, in the order in which they were predicted;
* counts: `product` (null: the example is one of its own), `slices`, per family `<family>_tp`, `_predicted`, `_gold`
  (null: it cannot be counted), `by_tag` and `by_string` [{attribute, tp, predicted, gold}] (both null: not known).

There are no strings but ids, products, slices, attributes and intents. What a system that gives no spans predicts are
values, which are left out: of its predictions the attributes stay, and of its figures the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from avebench.contracts.examples import INTENT, Example, Prediction, Span, pairs_from_spans
from avebench.files.errors import AvebenchError
from avebench.scoring.families import Counts
from avebench.store.examplecounts import ColumnarCounts, CountColumns, ExampleCounts

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]  # It ships no types.
    from numpy.typing import NDArray

Record = Mapping[str, Any]
"""A text-free prediction as the JSON object of its line: see `data.predictions`."""
PARTS = ("tp", "predicted", "gold")
_BY = {"by_tag": "tag", "by_string": "string"}


class ValuesLeftOutError(AvebenchError):
    """Recorded predictions were values without spans, so that nothing of them can be read or scored again."""


# ---------------------------------------------------------------------------------------------------------------------
# Predictions


def predictions_table(row: str, repetition: int, records: Iterable[Record]) -> pa.Table:
    """Return the table of one repetition's predictions; ValueError for a record that holds a text, or lacks a key."""
    import pyarrow as pa

    span = [("attribute", pa.string()), ("start", pa.int64()), ("end", pa.int64())]
    candidate = [("attribute", pa.string()), ("score", pa.float64()), ("spans", pa.list_(pa.struct(span)))]
    schema = pa.schema(
        [
            ("row", pa.string()),
            ("repetition", pa.int64()),
            ("id", pa.string()),
            ("attributes", pa.list_(pa.struct([("attribute", pa.string()), ("score", pa.float64())]))),
            ("spans", pa.list_(pa.struct([*span, ("score", pa.float64())]))),
            ("intent", pa.list_(pa.string())),
            ("candidates", pa.list_(pa.struct(candidate))),
        ]
    )
    rows = [{"row": row, "repetition": repetition, **_prediction_row(record)} for record in records]
    return pa.Table.from_pylist(rows, schema)


def _prediction_row(record: Record) -> dict[str, Any]:
    pairs = record.get("pairs") or {}
    if not pairs.keys() <= {INTENT} or not record.keys() <= {"id", "attributes", "spans", "pairs", "candidates"}:
        raise ValueError(f"the prediction of '{record.get('id')}' holds more than offsets and attributes")
    return {
        "id": record["id"],
        "attributes": [{"attribute": name, "score": float(score)} for name, score in record["attributes"].items()],
        "spans": record.get("spans"),
        "intent": pairs.get(INTENT),
        "candidates": record.get("candidates"),
    }


def prediction_records(table: pa.Table) -> list[dict[str, Any]]:
    """Return the predictions of a table as JSON objects, as they were before they were put into it."""
    found = []
    for one in table.to_pylist():
        attributes = {each["attribute"]: each["score"] for each in one["attributes"]}
        record: dict[str, Any] = {"id": one["id"], "attributes": attributes}
        if one["spans"] is not None:
            record["spans"] = [
                {name: value for name, value in span.items() if value is not None} for span in one["spans"]
            ]
        if one["intent"] is not None:
            record["pairs"] = {INTENT: one["intent"]}
        if one["candidates"] is not None:
            record["candidates"] = one["candidates"]
        found.append(record)
    return found


def predictions_of(table: pa.Table, gold: Sequence[Example], shown: str) -> list[Prediction]:
    """Return the predictions of a table in the order of `gold`, with the strings that their spans cover in its texts.

    AvebenchError, which names the file as `shown`, unless they are of these examples and their spans of these texts;
    ValuesLeftOutError where there are no spans.
    """
    if table["spans"].null_count:
        raise ValuesLeftOutError(
            f"{shown} holds no values: its system gives no spans, and nothing that is recorded holds texts. What it "
            "got right is in the counts, which `avebench compare` reads; run its row for its values."
        )
    places = {name: place for place, name in enumerate(_list(table["id"]))}
    if len(places) < len(table) or places.keys() != {example.id for example in gold}:
        raise AvebenchError(f"{shown} holds other examples than the data. Record it again.")
    attributes = _Lists(table["attributes"], ("attribute", "score"))
    spans = _Lists(table["spans"], ("attribute", "start", "end", "score"))
    candidates = _Lists(table["candidates"], ("attribute", "score"))
    inner = _Lists(candidates.values.field("spans"), ("attribute", "start", "end"))
    of_texts, of_candidates = _spans(spans), _spans(inner)
    intents = table["intent"].to_pylist() if table["intent"].null_count < len(table) else [None] * len(table)
    found = []
    for example in gold:
        place = places[example.id]
        of_text = tuple(of_texts[spans.starts[place] : spans.starts[place + 1]])
        if any(not 0 <= span.start < span.end <= len(example.text) for span in of_text):
            raise AvebenchError(f"{shown} points outside of the text of '{example.id}'. Record it again.")
        names, scores = attributes.at(place)
        span_scores = spans.at(place)[3]
        pairs = pairs_from_spans(example.text, of_text)
        if (intent := intents[place]) is not None:
            pairs = {INTENT: frozenset(intent), **pairs}
        kept = None
        if candidates.valid is None or candidates.valid[place]:
            first = candidates.starts[place]
            each = zip(*candidates.at(place), strict=True)
            kept = tuple(
                [
                    (name, score, tuple(of_candidates[inner.starts[first + n] : inner.starts[first + n + 1]]))
                    for n, (name, score) in enumerate(each)
                ]
            )
        found.append(
            Prediction(
                example.id,
                dict(zip(names, scores, strict=True)),
                pairs,
                of_text,
                tuple(span_scores) if span_scores and span_scores[0] is not None else None,
                kept,
            )
        )
    return found


def _spans(lists: _Lists) -> list[Span]:
    """Return the spans of a column of lists, flat; equal ones are one object."""
    known: dict[tuple[str, int, int], Span] = {}
    each = zip(*lists.columns[:3], strict=True)
    return [known.get(one) or known.setdefault(one, Span(*one)) for one in each]


class _Lists:
    """A column of lists of structs: its fields as flat lists, and where the list of each place starts."""

    def __init__(self, column: Any, names: Sequence[str]) -> None:
        import pyarrow as pa

        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        self.valid: list[bool] | None = _list(whole.is_valid()) if whole.null_count else None
        offsets = numbers(whole.offsets)
        self.values = whole.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        self.starts: list[int] = (offsets - offsets[0]).tolist()
        self.columns = [_list(self.values.field(name)) for name in names]

    def at(self, place: int) -> list[list[Any]]:
        """Return the fields of the list at a place, each as a list."""
        return [column[self.starts[place] : self.starts[place + 1]] for column in self.columns]


def numbers(column: Any) -> NDArray[Any]:
    """Return a column of whole or real numbers without nulls as an array.

    Read off its buffer: Arrow's own way imports pandas, which takes as long as everything else of a comparison.
    """
    import numpy as np
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = np.dtype(str(whole.type).replace("double", "float64"))
    if not len(whole):
        return np.zeros(0, kind)
    return np.frombuffer(whole.buffers()[1], kind)[whole.offset : whole.offset + len(whole)]


def _list(column: Any) -> list[Any]:
    """Return a flat column as a list; None stands for nulls."""
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if whole.null_count == len(whole):
        return [None] * len(whole)
    if whole.null_count or pa.types.is_boolean(whole.type):
        return cast("list[Any]", whole.to_pylist())
    if not pa.types.is_string(whole.type):
        return cast("list[Any]", numbers(whole).tolist())
    coded = whole.dictionary_encode()
    words = coded.dictionary.to_pylist()
    return [words[code] for code in numbers(coded.indices).tolist()]


# ---------------------------------------------------------------------------------------------------------------------
# Counts


def counts_table(row: str, repetition: int, counted: Iterable[ExampleCounts]) -> pa.Table:
    """Return the table of one repetition's counts."""
    import pyarrow as pa

    rows = [_counts_row(one) for one in counted]
    families = list(dict.fromkeys(family for one in rows for family in one["counts"]))
    triple = [(part, pa.int64()) for part in PARTS]
    by = pa.list_(pa.struct([("attribute", pa.string()), *triple]))
    columns: dict[str, tuple[Any, list[Any]]] = {
        "row": (pa.string(), [row] * len(rows)),
        "repetition": (pa.int64(), [repetition] * len(rows)),
        "id": (pa.string(), [one["id"] for one in rows]),
        "product": (pa.string(), [one["product"] for one in rows]),
        "slices": (pa.list_(pa.string()), [one["slices"] for one in rows]),
    }
    for name, family in _BY.items():
        columns[name] = (by, [one["attributes"].get(family) for one in rows])
    for family in families:
        for place, part in enumerate(PARTS):
            values = [one["counts"].get(family, (None,) * 3)[place] for one in rows]
            columns[f"{family}_{part}"] = (pa.int64(), values)
    return pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()})


def _counts_row(one: ExampleCounts) -> dict[str, Any]:
    attributes = {
        family: [
            {"attribute": name, "tp": n.tp, "predicted": n.predicted, "gold": n.gold}
            for name, n in sorted(found.items())
        ]
        for family, found in (one.attributes or {}).items()
    }
    return {
        "id": one.id,
        "product": None if one.product == one.id else one.product,
        "slices": sorted(one.slices),
        "counts": {family: (n.tp, n.predicted, n.gold) for family, n in one.counts.items()},
        "attributes": attributes,
    }


def counts_of(table: pa.Table) -> ColumnarCounts:
    """Return the counts of a table; those of single examples are made when one is asked for."""
    import numpy as np

    ids = _list(table["id"])
    products = ids if table["product"].null_count == len(table) else table["product"].to_pylist()
    products = [product or name for product, name in zip(products, ids, strict=True)]
    counts: dict[Any, Any] = {}
    for family in _families(table):
        columns = [[n or 0 for n in _list(table[f"{family}_{part}"])] for part in PARTS]
        counts[family] = np.array(columns, np.int64).T
    known = [_list(table[name].is_valid()) for name in _BY]
    by_attribute = all(map(any, zip(*known, strict=True)))
    return ColumnarCounts(CountColumns(ids, products, counts, by_attribute), lambda: _examples(table, products))


def _families(table: pa.Table) -> list[str]:
    """Return the families that some example of a table is counted in."""
    names = [name.removesuffix("_tp") for name in table.column_names if name.endswith("_tp")]
    return [name for name in names if table[f"{name}_tp"].null_count < len(table)]


def _examples(table: pa.Table, products: Sequence[str]) -> list[ExampleCounts]:
    families: list[Any] = _families(table)
    triples = {
        family: list(zip(*(table[f"{family}_{part}"].to_pylist() for part in PARTS), strict=True))
        for family in families
    }
    by: dict[Any, list[Any]] = {family: table[name].to_pylist() for name, family in _BY.items()}
    slices = table["slices"].to_pylist()
    found = []
    for place, name in enumerate(_list(table["id"])):
        attributes = {
            family: {one["attribute"]: Counts(one["tp"], one["predicted"], one["gold"]) for one in column[place]}
            for family, column in by.items()
            if column[place] is not None
        }
        counts = {family: Counts(*some[place]) for family, some in triples.items() if some[place][0] is not None}
        found.append(ExampleCounts(name, products[place], frozenset(slices[place]), counts, attributes or None))
    return found
