"""A made-up slot-filling set: eight utterances with one intent each, written `*value/attribute*`."""

from avebench.contracts.examples import INTENT, AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import word_units

SCHEMA = AttributeSchema(("artist", "city", "number"), "word", ("BookTable", "GetRain", "PlaySong"))
UTTERANCES = (
    ("PlaySong", "long *blue dress/artist* ."),
    ("PlaySong", "long a red - *sun 1/artist*"),
    ("BookTable", "a kind - *12/number* color *red sun/city*"),
    ("BookTable", "kind - *2/number* color"),
    ("GetRain", "length a . *sun/city*"),
    ("GetRain", "length"),
    ("PlaySong", "*sun/artist* ."),
    ("BookTable", "*2/number* *2/number* *blue/city*"),
)
"""In the words that the tests' tiny encoders know."""


def utterance(number: int, intent: str, marked: str) -> Example:
    """Return the example of an utterance."""
    text, spans = "", []
    for part, piece in enumerate(marked.split("*")):
        value, _, attribute = piece.partition("/")
        if part % 2:
            spans.append(Span(attribute, len(text), len(text) + len(value)))
        text += value
    pairs = {**pairs_from_spans(text, spans), INTENT: frozenset({intent})}
    return Example(f"u{number}", text, word_units(text), tuple(spans), pairs)


EXAMPLES = [utterance(number, *content) for number, content in enumerate(UTTERANCES)]
