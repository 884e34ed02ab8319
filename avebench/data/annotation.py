"""What the gold annotation of a data set can and cannot give: values out of taggers' reach, splits that share texts.

Counted in one pass over the examples, by split: by `data check`, `data stats`, and with every result for its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations

from avebench.contracts.examples import INTENT, Example, Units, pairs_from_spans
from avebench.contracts.tagging import fine_units, spans_to_tags, word_units
from avebench.data.reading import title_key

SHOWN = 3
"""Number of cases that a sentence shows."""
OTHER_OFFSETS = {"UTF-16 units": "utf-16-le", "UTF-8 bytes": "utf-8"}
"""What else offsets may count -> the codec whose code units those are."""


def places(example: Example) -> tuple[int, int]:
    """Return how many gold values have a place in the text, and how many there are.

    Of an attribute with several values, as many have one as it has different strings in the text: where they are
    written otherwise there (plural, case) it is not known which.
    """
    marked = {span.attribute for span in example.spans}
    placed = total = 0
    for attribute, values in example.pairs.items():
        if attribute == INTENT:
            continue
        total += len(values)
        if attribute in marked:
            placed += 1 if len(values) == 1 else min(len(values), _strings(attribute, example))
    return placed, total


def _strings(attribute: str, example: Example) -> int:
    return len({example.text[span.start : span.end] for span in example.spans if span.attribute == attribute})


@dataclass(slots=True)
class SplitAudit:
    """The spans of one split: all, those off the boundaries of units, those that overlap; and what else was seen.

    A span is off the boundaries if it begins or ends inside a unit, or with white space that is in none; it overlaps if
    it shares a unit with one that stands before it: one sequence of tags holds the first alone.
    """

    examples: int = 0
    spans: int = 0
    off_boundary: int = 0
    overlapping: int = 0
    in_fine: int = 0
    """Of those off the boundaries, the ones that stand on units cut finely (`tagging.fine_units`)."""
    off_as: dict[str, int] = field(default_factory=dict)
    """Off the boundaries if offsets are taken to count something else; empty where that was not asked for."""
    spaced: int = 0
    """On boundaries, but begin or end with white space (units of characters, or given ones)."""
    absent: int = 0
    """Attributes that are known to be absent, over all examples."""
    located: int = 0
    """Gold value strings of attributes that have spans in the same text."""
    canonical: int = 0
    """Those of them that are written otherwise than in the text: another case, plural, order."""
    placed: int = 0
    """Gold value strings that have a place in the text (`places`)."""
    values: int = 0
    """All gold value strings."""
    cases: list[str] = field(default_factory=list)
    """The first spans that are off the boundaries, or begin or end with white space, in words."""

    def add(self, example: Example, *, offsets: bool = False) -> None:
        """Count an example; with `offsets` also how its offsets fare if they are taken to count something else."""
        self.examples += 1
        self.absent += len(example.absent)
        placed, total = places(example)
        self.placed += placed
        self.values += total
        if not example.spans:
            return
        written = pairs_from_spans(example.text, example.spans)
        for attribute, values in example.pairs.items():
            if attribute in written:
                self.located += len(values)
                self.canonical += len(values - written[attribute])
        self.spans += len(example.spans)
        starts, ends = {start for start, _ in example.tokens}, {end for _, end in example.tokens}
        off = [span for span in example.spans if span.start not in starts or span.end not in ends]
        self.off_boundary += len(off)
        self.overlapping += spans_to_tags(example.spans, example.tokens)[1] - len(off)
        if off and example.tokens == word_units(example.text):  # Else they are given in the file: no rule cuts them.
            units = fine_units(example.text)
            fine_starts, fine_ends = {start for start, _ in units}, {end for _, end in units}
            self.in_fine += sum(span.start in fine_starts and span.end in fine_ends for span in off)
        for span in example.spans:
            value = example.text[span.start : span.end]
            spaced = span not in off and value != value.strip()
            self.spaced += spaced
            if (spaced or span in off) and len(self.cases) < SHOWN:
                self.cases.append(f"'{value}' ({span.attribute}) in {example.id}")
        if offsets:
            for what, codec in OTHER_OFFSETS.items():
                ranges = _read_as(example, codec)
                off_so = sum(start not in starts or end not in ends for start, end in ranges)
                self.off_as[what] = self.off_as.get(what, 0) + off_so

    def offsets_count(self) -> str | None:
        """Return what the offsets, counted by `add`, seem to be instead of code points: so all spans stand on units."""
        if self.off_boundary == 0:
            return None
        return next((what for what, off in self.off_as.items() if off == 0), None)

    def counts(self) -> dict[str, int]:
        """Return the figures that are stored with a result; of places only where some value has none."""
        return {
            "spans": self.spans,
            "off_boundary": self.off_boundary,
            "overlapping": self.overlapping,
            "absent": self.absent,
            "located": self.located,
            "canonical": self.canonical,
            **({"placed": self.placed, "values": self.values} if self.placed < self.values else {}),
        }


def _read_as(example: Example, codec: str) -> Sequence[tuple[int, int]]:
    """Return the spans with offsets taken as code units of `codec`; -1 for one that is inside a character."""
    if example.text.isascii():
        return [(span.start, span.end) for span in example.spans]
    size = 2 if codec.startswith("utf-16") else 1
    positions, place = {0: 0}, 0
    for number, character in enumerate(example.text, start=1):
        place += len(character.encode(codec, "surrogatepass")) // size
        positions[place] = number
    return [(positions.get(span.start, -1), positions.get(span.end, -1)) for span in example.spans]


SharedIds = dict[tuple[str, str], list[str]]
"""Two splits -> ids that stand in both, sorted."""


def shared_ids(ids: Mapping[str, Set[str]]) -> SharedIds:
    """Return the ids that stand in two splits, given by split."""
    pairs = combinations(ids, 2)
    return {(one, other): sorted(both) for one, other in pairs if (both := ids[one] & ids[other])}


@dataclass(slots=True)
class Audit:
    """What was counted of each split, and what two splits share."""

    splits: dict[str, SplitAudit]
    same_ids: SharedIds
    same_products: dict[str, int]
    """Split behind the first -> its examples whose product stands in an earlier split."""
    same_texts: dict[str, int]
    """Split behind the first -> its examples whose text, case and white space aside, stands in an earlier split."""


def audit(splits: Mapping[str, Iterable[Example]], *, offsets: bool = False) -> Audit:
    """Count the gold annotation of these splits, in the order given; memory grows with the number of texts.

    With `offsets` also whether offsets seem to count something else than code points, which takes longer.
    """
    found = Audit({}, {}, {}, {})
    ids: dict[str, set[str]] = {}
    products: set[int] = set()
    texts: set[int] = set()
    for split, examples in splits.items():
        counted = found.splits[split] = SplitAudit()
        own = ids[split] = set()
        own_products, own_texts = set(), set()
        shared_products = shared_texts = 0
        for example in examples:
            counted.add(example, offsets=offsets)
            own.add(example.id)
            product, text = hash(example.product_id or example.id), hash(title_key(example.text))
            shared_products += product in products
            shared_texts += text in texts
            own_products.add(product)
            own_texts.add(text)
        if len(ids) > 1:
            found.same_products[split], found.same_texts[split] = shared_products, shared_texts
        products |= own_products
        texts |= own_texts
    found.same_ids = shared_ids(ids)
    return found


def same_id_sentence(shared: SharedIds) -> str | None:
    """Return what is said of ids that stand in two splits; None if there is none."""
    for (one, other), both in shared.items():
        more = f" and {len(both) - 1:,} more" if len(both) > 1 else ""
        return f"The id '{both[0]}'{more} stands in {one} and in {other}. Give every example an id of its own."
    return None


def reach_sentences(found: Audit, units: Units | None) -> Iterator[str]:
    """Yield what is to be known of spans that taggers cannot reach, by split; `units` are those that a reader cuts."""
    for split, one in found.splits.items():
        if odd := one.off_boundary + one.spaced:
            yield (
                f"{split}: {odd:,} of {one.spans:,} spans begin or end inside a unit, or with white space: "
                f"{', '.join(one.cases)}{', ...' if odd > len(one.cases) else ''}."
            )
        if (counts := one.offsets_count()) is not None:
            yield f"{split}: read as {counts}, all offsets stand on units. They must count code points: convert them."
        elif units == "word" and one.in_fine:
            yield (
                f"{split}: --option units=fine, which also cuts between letters and digits, would reach "
                f"{one.in_fine:,} of these {one.off_boundary:,}."
            )
        if one.overlapping:
            yield (
                f"{split}: {one.overlapping:,} of {one.spans:,} spans overlap one before them: one sequence of tags "
                "holds the first alone."
            )


def leak_sentences(found: Audit) -> Iterator[str]:
    """Yield how many examples of a later split stand in an earlier one."""
    for split, texts in found.same_texts.items():
        total, products = found.splits[split].examples, found.same_products[split]
        if texts:
            yield f"{split}: {texts:,} of {total:,} texts stand in an earlier split too (case and white space aside)."
        if products:
            yield f"{split}: {products:,} of {total:,} examples are of products of an earlier split."


def annotation_notes(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what is to be known of figures on an annotation, from what their results store (`stored_counts`)."""
    notes = (_reach_note(counts), _leak_note(counts), *_scoring_notes(counts))
    return [note for note in notes if note is not None]


def _reach_note(counts: Mapping[str, Mapping[str, int]]) -> str | None:
    """Return the note of a table on gold spans out of reach, from what its results store; None if there are none."""
    parts = [
        f"{one['off_boundary'] + one['overlapping']:,} of {one['spans']:,} in {split} ({one['off_boundary']:,} off the "
        f"units, {one['overlapping']:,} overlapping)"
        for split, one in counts.items()
        if one.get("off_boundary", 0) + one.get("overlapping", 0)
    ]
    return (
        f"Gold spans that no single sequence of tags over these units reaches: {'; '.join(parts)}." if parts else None
    )


def _leak_note(counts: Mapping[str, Mapping[str, int]]) -> str | None:
    """Return the note of a table on test examples that training or validation holds; None if there are none."""
    test = counts.get("test", {})
    shared = [f"{test[f'same_{what}s']:,} by {what}" for what in ("text", "product") if test.get(f"same_{what}s")]
    if not shared:
        return None
    return f"Of {test['examples']:,} test examples, the earlier splits hold {', '.join(shared)}."


def _scoring_notes(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield what is to be known of figures on such an annotation, from what results store."""
    test = counts.get("test", {})
    if absent := test.get("absent", 0):
        yield (
            f"The annotation is partial: {absent:,} times an attribute is known to be absent in test, and one that is "
            "not annotated is unknown. Where such a one is predicted it counts as wrong; annotated F1 leaves it out."
        )
    if canonical := test.get("canonical", 0):
        yield (
            f"Of {test['located']:,} gold values in test, {canonical:,} are written otherwise than in the text (case, "
            "plural, order): string F1 asks for them as the annotation writes them, TAG-F1 for their place."
        )
    if "placed" in test:
        yield places_note(test["placed"], test["values"], " in test")


def places_note(placed: int, values: int, where: str = "") -> str:
    """Return on how many gold values a figure of spans stands."""
    return (
        f"TAG-F1 stands on {placed:,} of {values:,} gold values{where}: the other {values - placed:,} have no place in "
        "the text."
    )


def stored_counts(found: Audit) -> dict[str, dict[str, int]]:
    """Return what a result stores, by split."""
    return {
        split: {
            "examples": one.examples,
            **one.counts(),
            "same_texts": found.same_texts.get(split, 0),
            "same_products": found.same_products.get(split, 0),
        }
        for split, one in found.splits.items()
    }
