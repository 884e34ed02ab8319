"""The gold JSON Lines format: one annotated product per line, offsets in Unicode code points, end exclusive.

A line is `{id, text, product_id?, tokens?: [[start, end]], spans?: [{attribute, start, end}],
pairs?: {attribute: [value]}, absent?: [attribute], image?, category?, paragraphs?: [{start, end, source}]}`. `pairs`
may hold the intent of an utterance under `[INTENT]` (`avebench.contracts.examples.INTENT`): one value, which no other
metric counts. `absent` lists what the product is known not to have, `paragraphs` the parts of a text that was put
together of several, from left to right, each with the name of its source; a part may be empty. `image` is the path of
a picture, or a list of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from avebench.contracts.examples import INTENT, Example, Picture, Span, Units, pairs_from_spans
from avebench.contracts.tagging import text_units
from avebench.data.jsonlines import (
    FieldError,
    FileRecords,
    Records,
    check_keys,
    checked_list,
    checked_object,
    checked_offset,
    checked_pairs,
    checked_span,
    checked_string,
    filled_string,
)

KEYS = ("id", "text", "product_id", "tokens", "spans", "pairs", "absent", "image", "category", "paragraphs")

PARAGRAPH_KEYS = ("start", "end", "source")


def read_gold(path: Path, units: Units = "word") -> list[Example]:
    """Read a gold file for scoring, without pictures; AvebenchError names file, line and field of the first fault."""
    return gold_examples(FileRecords(path), units)


def gold_examples(records: Records, units: Units = "word") -> list[Example]:
    """Return the examples of gold records, without pictures; AvebenchError names place and field of the first fault."""
    examples: list[Example] = []
    places: dict[str, int] = {}
    for place, record in records.read(KEYS):
        try:
            example = gold_example(record, units)
            if example.id in places:
                message = f"the id '{example.id}' stands in {records.unit} {places[example.id]} already. "
                message += f"Give every {records.unit} its own."
                raise FieldError("id", message)
        except FieldError as error:
            raise records.fault(place, error.field, str(error)) from None
        places[example.id] = place
        examples.append(example)
    if not examples:
        raise records.fault(None, None, f"there is no {records.unit} with an example.")
    return examples


def gold_example(record: Mapping[str, Any], units: Units = "word", pictures: Sequence[Picture] = ()) -> Example:
    """Return the example that a line holds; FieldError names the field that breaks the format.

    Without `tokens` the text is cut into `units`. Without `pairs`, or with no more than the intent there, they are what
    the spans cover; if both are given, every attribute of a span needs a pair. An optional key may be null.
    """
    name, text = filled_string(record, "id"), filled_string(record, "text")
    spans = _spans(record, text)
    tokens = _tokens(record, text) if record.get("tokens") is not None else text_units(text, units)
    pairs = _pairs(record, text, spans)
    return Example(
        id=name,
        text=text,
        tokens=tokens,
        spans=spans,
        pairs=pairs,
        product_id=name if record.get("product_id") is None else filled_string(record, "product_id"),
        picture=pictures[0] if pictures else None,
        category=None if record.get("category") is None else filled_string(record, "category"),
        absent=_absent(record, pairs),
        paragraphs=_paragraphs(record, text),
        further_pictures=tuple(pictures[1:]),
    )


def image_paths(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of the pictures relative to the folder of the file, in order; FieldError if one leads out.

    The path itself may not lead out. What is in the folder may be symbolic links, wherever they lead: whoever made the
    folder put them there, and pictures are often kept elsewhere.
    """
    given = record.get("image")
    if given is None:
        return ()
    if not isinstance(given, list):
        return (_image_path(given, "image"),)
    return tuple(_image_path(path, f"image[{position}]") for position, path in enumerate(given))


def _image_path(value: object, field: str) -> str:
    image = checked_string(value, field)
    path = PurePosixPath(image)
    if not image.strip() or path.is_absolute() or ".." in path.parts or "\\" in image or "\0" in image:
        raise FieldError(field, f"'{image}' is no path inside the folder. Give one, with forward slashes.")
    return image


def _tokens(record: Mapping[str, Any], text: str) -> tuple[tuple[int, int], ...]:
    """Return the tokens; FieldError unless they are ranges of the text from left to right that do not overlap."""
    tokens: list[tuple[int, int]] = []
    for position, item in enumerate(checked_list(record["tokens"], "tokens", "[start, end]")):
        field = f"tokens[{position}]"
        if not isinstance(item, list) or len(item) != 2:
            raise FieldError(field, "each token is [start, end].")
        span = checked_span({"attribute": "", "start": item[0], "end": item[1]}, text, field)
        if tokens and span.start < tokens[-1][1]:
            raise FieldError(field, f"it starts at {span.start}, before the token in front of it ends.")
        tokens.append((span.start, span.end))
    return tuple(tokens)


def _spans(record: Mapping[str, Any], text: str) -> tuple[Span, ...]:
    """Return the spans; FieldError if one names no attribute or stands twice."""
    spans: dict[Span, None] = {}
    listed = [] if record.get("spans") is None else checked_list(record["spans"], "spans", "{attribute, start, end}")
    for position, item in enumerate(listed):
        span = checked_span(item, text, f"spans[{position}]")
        if not span.attribute.strip():
            raise FieldError(f"spans[{position}].attribute", "the string is empty.")
        if span in spans:
            raise FieldError(f"spans[{position}]", "the same span stands twice.")
        spans[span] = None
    return tuple(spans)


def _pairs(record: Mapping[str, Any], text: str, spans: tuple[Span, ...]) -> dict[str, frozenset[str]]:
    covered = pairs_from_spans(text, spans)
    if record.get("pairs") is None:
        return covered
    pairs = checked_pairs(record["pairs"], "pairs")
    for attribute, values in pairs.items():
        if not attribute.strip() or not values or not all(value.strip() for value in values):
            raise FieldError(
                f"pairs.{attribute}", "an attribute has a name and at least one value, none of them empty."
            )
    intent = pairs.get(INTENT)
    if intent is not None and len(intent) > 1:
        raise FieldError(f"pairs.{INTENT}", f"{len(intent)} intents; an utterance has one. Join them to one label.")
    if set(pairs) == {INTENT}:
        return pairs | covered
    for attribute in covered:
        if attribute not in pairs:
            raise FieldError(
                "pairs", f"the attribute '{attribute}' has a span but no pair. Add it, or leave pairs out."
            )
    return pairs


def _absent(record: Mapping[str, Any], pairs: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the attributes that the product is known not to have; FieldError if one has a pair all the same."""
    listed = [] if record.get("absent") is None else checked_list(record["absent"], "absent", "attributes")
    for position, item in enumerate(listed):
        attribute = checked_string(item, f"absent[{position}]")
        if not attribute.strip() or attribute in pairs:
            wrong = f"the attribute '{attribute}' has a pair as well" if attribute.strip() else "the string is empty"
            raise FieldError(f"absent[{position}]", f"{wrong}.")
    return frozenset(listed)


def _paragraphs(record: Mapping[str, Any], text: str) -> tuple[tuple[int, int, str], ...]:
    """Return the parts of the text; FieldError unless they are ranges of it from left to right, with a source each."""
    listed = [] if record.get("paragraphs") is None else checked_list(record["paragraphs"], "paragraphs", "objects")
    paragraphs: list[tuple[int, int, str]] = []
    for position, item in enumerate(listed):
        field = f"paragraphs[{position}]"
        part = checked_object(item, field, "{start, end, source}")
        check_keys(part, PARAGRAPH_KEYS, f"{field}.")
        start, end = (checked_offset(part, key, f"{field}.") for key in ("start", "end"))
        first = paragraphs[-1][1] if paragraphs else 0
        if not first <= start <= end <= len(text):
            message = f"[{start}, {end}) is no range of the text, which has {len(text)} characters (end exclusive)"
            raise FieldError(field, f"{message}, behind the part in front of it.")
        paragraphs.append((start, end, filled_string(part, "source", f"{field}.")))
    return tuple(paragraphs)
