"""Prediction files: JSON Lines, one prediction per gold example.

A line is `{id, attributes: {name: score}, spans: [{attribute, start, end, score?}], pairs: {name: [value]},
candidates?: [{attribute, score, spans: [{attribute, start, end}]}], rankings?: {name: {value: rank}}}`; `spans` or
`pairs` may be missing, not both. Without `attributes` those that have a span or a value are predicted, with score 1.
`rankings` are of systems that order a closed list of values: the best of them, up to rank 20 or further, each with the
number of values that are scored as high or higher.
The text-free form holds no value strings: they come back from the gold texts, as the strings that the spans cover. What
stays of its `pairs` is the intent of an utterance, a label and no text. A system that gives no spans keeps no more than
its attributes there, and cannot be read back.

Where `avebench predict` could not predict a product, its line is `{id or null, line, error}`, which cannot be scored.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avebench.contracts.examples import INTENT, Example, Prediction, Span, pairs_from_spans
from avebench.contracts.explanation import Explanation, Figures
from avebench.data.jsonlines import (
    FieldError,
    FileRecords,
    Records,
    check_keys,
    checked_list,
    checked_number,
    checked_object,
    checked_pairs,
    checked_span,
    checked_string,
)
from avebench.files.atomic import write_atomically
from avebench.files.disk import unwritable
from avebench.files.errors import AvebenchError

KEYS = ("id", "attributes", "spans", "pairs", "candidates", "rankings")
ERROR_KEYS = ("line", "error")
"""Keys, beside `id`, of what `avebench predict` writes for a product that it cannot predict."""
CANDIDATE_KEYS = ("attribute", "score", "spans")
_SHOWN = 5
"""Number of ids that a message lists."""


def write_predictions(path: Path, predictions: Iterable[Prediction], *, text_free: bool = False) -> None:
    """Write a prediction file whole or not at all, packed if its name ends in `.gz`; the same bytes for the same input.

    With `text_free` the value strings are left out.
    """
    content = b"".join(line_of(prediction_record(one, text_free=text_free)) for one in predictions)
    try:
        write_atomically(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    except OSError as error:
        raise unwritable(
            error, path, f"{path}: the file cannot be written ({error.strerror}). Choose another folder."
        ) from None


def line_of(record: dict[str, Any]) -> bytes:
    """Return a JSON object as a line of a prediction file."""
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()


def prediction_record(prediction: Prediction, *, text_free: bool = False) -> dict[str, Any]:
    """Return a prediction as the JSON object of its line."""
    record: dict[str, Any] = {"id": prediction.id, "attributes": dict(prediction.attributes)}
    if prediction.spans is not None:
        spans = [_span(span) for span in prediction.spans]
        for span, score in zip(spans, prediction.span_scores or (), strict=prediction.span_scores is not None):
            span["score"] = score
        record["spans"] = spans
    pairs = {name: sorted(values) for name, values in prediction.pairs.items() if not text_free or name == INTENT}
    if pairs or not text_free:
        record["pairs"] = pairs
    if prediction.candidates is not None:
        record["candidates"] = [
            {"attribute": attribute, "score": score, "spans": [_span(span) for span in spans]}
            for attribute, score, spans in prediction.candidates
        ]
    if prediction.rankings is not None and not text_free:
        record["rankings"] = {name: dict(ranks) for name, ranks in prediction.rankings.items()}
    return record


def _span(span: Span) -> dict[str, Any]:
    return {"attribute": span.attribute, "start": span.start, "end": span.end}


def read_predictions(path: Path, gold: Sequence[Example]) -> list[Prediction]:
    """Return the predictions of a file in the order of `gold`; AvebenchError as `match_predictions`."""
    return match_predictions(FileRecords(path), gold)


def match_predictions(records: Records, gold: Sequence[Example]) -> list[Prediction]:
    """Return the predictions of records in the order of `gold`.

    Pairs that are not given are the strings that the spans cover, also beside an intent that is. AvebenchError names
    place and field of what breaks the format, and the ids that are missing, unknown or used twice.
    """
    texts = {example.id: example.text for example in gold}
    if len(texts) < len(gold):
        raise AvebenchError("The gold examples use an id twice. Give every example an id of its own.")
    found: dict[str, Prediction] = {}
    places: dict[str, int] = {}
    for place, record in records.read(KEYS + ERROR_KEYS):
        try:
            _check_predicted(record)
            name = checked_string(_required(record, "id"), "id")
            if name in found:
                before = f"{records.unit} {places[name]}"
                raise FieldError("id", f"the id '{name}' stands in {before} already. Predict every id once.")
            if name not in texts:
                raise FieldError(
                    "id", f"the id '{name}' is not among the {len(texts)} gold examples. Is it another split?"
                )
            found[name], places[name] = _prediction(record, name, texts[name]), place
        except FieldError as error:
            raise records.fault(place, error.field, str(error)) from None
    missing = [name for name in texts if name not in found]
    if missing:
        shown = ", ".join(f"'{name}'" for name in missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise records.fault(
            None,
            "id",
            f"{len(missing)} of {len(texts)} gold ids have no prediction: {shown}. Predict every id once.",
        )
    return [found[example.id] for example in gold]


def _check_predicted(record: dict[str, Any]) -> None:
    """Raise FieldError for an error record: scores of the other products alone would be too good."""
    if any(key in record for key in ERROR_KEYS):
        raise FieldError(
            "error",
            f"the product {json.dumps(record.get('id'), ensure_ascii=False)} was not predicted (line "
            f"{record.get('line')} of the input): {record.get('error')} Repair it there and predict again.",
        )


def _required(record: dict[str, Any], key: str) -> Any:
    if key not in record:
        raise FieldError(key, "the key is missing.")
    return record[key]


def _prediction(record: dict[str, Any], name: str, text: str) -> Prediction:
    """Return the prediction that a line holds; FieldError names the field."""
    given = record.get("attributes")
    attributes = checked_object({} if given is None else given, "attributes", "{name: score}")
    if record.get("spans") is None and record.get("pairs") is None:
        raise FieldError("spans", "neither 'spans' nor 'pairs' is given. Write at least one of them, it may be empty.")
    spans: tuple[Span, ...] | None = None
    scores: list[float] = []
    if record.get("spans") is not None:
        spans, scores = _scored_spans(record["spans"], text)
    pairs = {} if record.get("pairs") is None else checked_pairs(record["pairs"], "pairs")
    if record.get("pairs") is None or set(pairs) == {INTENT}:
        pairs |= pairs_from_spans(text, spans or ())
    scored = {
        checked_string(key, "attributes"): checked_number(value, f"attributes.{key}")
        for key, value in attributes.items()
    }
    if given is None:
        named = [*(span.attribute for span in spans or ()), *(key for key, values in pairs.items() if values)]
        scored = {attribute: 1.0 for attribute in named if attribute != INTENT}
    return Prediction(
        id=name,
        attributes=scored,
        pairs=pairs,
        spans=spans,
        span_scores=tuple(scores) if scores else None,
        candidates=_candidates(record["candidates"], text) if record.get("candidates") is not None else None,
        rankings=_rankings(record["rankings"]) if record.get("rankings") is not None else None,
    )


def _scored_spans(value: object, text: str) -> tuple[tuple[Span, ...], list[float]]:
    """Return the spans and their scores; all spans of a line have a score, or none has."""
    spans, scores = [], []
    for position, item in enumerate(checked_list(value, "spans", "{attribute, start, end, score?}")):
        field = f"spans[{position}]"
        spans.append(checked_span(item, text, field, ("score",)))
        if "score" in item:
            scores.append(checked_number(item["score"], f"{field}.score"))
    if scores and len(scores) < len(spans):
        raise FieldError("spans", f"{len(scores)} of {len(spans)} spans have a score. Give all of them one, or none.")
    return tuple(spans), scores


def _candidates(value: object, text: str) -> tuple[tuple[str, float, tuple[Span, ...]], ...]:
    found = []
    for position, item in enumerate(checked_list(value, "candidates", "{attribute, score, spans}")):
        field = f"candidates[{position}]"
        record = checked_object(item, field, "{attribute, score, spans}")
        check_keys(record, CANDIDATE_KEYS, f"{field}.")
        for key in CANDIDATE_KEYS:
            if key not in record:
                raise FieldError(f"{field}.{key}", "the key is missing.")
        listed = checked_list(record["spans"], f"{field}.spans", "{attribute, start, end}")
        spans = tuple(checked_span(span, text, f"{field}.spans[{number}]") for number, span in enumerate(listed))
        attribute = checked_string(record["attribute"], f"{field}.attribute")
        found.append((attribute, checked_number(record["score"], f"{field}.score"), spans))
    return tuple(found)


def _rankings(value: object) -> dict[str, dict[str, int]]:
    """Return the rankings; FieldError unless every rank counts the values that have it or a better one."""
    rankings = {}
    for attribute, listed in checked_object(value, "rankings", "{name: {value: rank}}").items():
        field = f"rankings.{checked_string(attribute, 'rankings')}"
        ranks = checked_object(listed, field, "{value: rank}")
        for name, rank in ranks.items():
            checked_string(name, field)
            if not isinstance(rank, int) or isinstance(rank, bool):
                raise FieldError(f"{field}.{name}", f"a rank is a whole number, not {json.dumps(rank)[:80]}.")
        counts = Counter(ranks.values())
        reached = 0
        for rank in sorted(counts):
            reached += counts[rank]
            if rank != reached:
                raise FieldError(
                    field,
                    f"values that have rank {rank} or a better one: {reached}. A rank is the number of values that are "
                    "scored as high or higher; equal values share the worst.",
                )
        rankings[attribute] = ranks
    return rankings


def explanation_record(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as plain JSON."""
    return {
        "id": explanation.example.id,
        "text": explanation.example.text,
        "tokens": explanation.tokens(),
        "tags": [list(tags) for tags in explanation.tags()],
        "gold": [list(tags) for tags in explanation.gold_tags()],
        "prediction": prediction_record(explanation.prediction),
        "asked": explanation.example.asked,
        "ranges": dict(explanation.ranges),
        "threshold": explanation.threshold,
        "decides": explanation.decides,
        "similarities": _rows(explanation.similarities),
        "probabilities": {kind: _rows(rows) for kind, rows in explanation.probabilities.items()},
        "mixtures": _rows(explanation.mixtures),
        "attention": None if explanation.attention is None else explanation.attention.tolist(),
        "attends": explanation.attends,
        "cells": explanation.cells,
    }


def _rows(rows: Mapping[str, Figures]) -> dict[str, list[float]]:
    return {attribute: row.tolist() for attribute, row in rows.items()}
