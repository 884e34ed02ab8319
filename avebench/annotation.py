"""What the gold annotation of a data set can and cannot give: values out of taggers' reach, splits that share texts.

Counted in one pass over the examples, by split: by `data check`, `data stats`, and with every result for its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from avebench.examples import Example, Units, pairs_from_spans, printable
from avebench.reading import title_key
from avebench.tagging import fine_units, word_units

SHOWN = 3
"""Number of cases that a sentence shows."""
OTHER_OFFSETS = {"UTF-16 units": "utf-16-le", "UTF-8 bytes": "utf-8"}
"""What else offsets may count -> the codec whose code units those are."""


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
    off_fine: int = 0
    """Off the boundaries of units cut finely (`tagging.fine_units`)."""
    off_as: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OTHER_OFFSETS, 0))
    """Off the boundaries if offsets are taken to count something else."""
    spaced: int = 0
    """Begin or end with white space, be it in units or not."""
    absent: int = 0
    """Attributes that are known to be absent, over all examples."""
    located: int = 0
    """Gold value strings of attributes that have spans in the same text."""
    canonical: int = 0
    """Those of them that are written otherwise than in the text: another case, plural, order."""
    cases: list[str] = field(default_factory=list)
    """The first spans that are off the boundaries, or begin or end with white space, in words."""

    @property
    def unreachable(self) -> int:
        """Return how many gold spans one sequence of tags cannot express."""
        return self.off_boundary + self.overlapping

    def add(self, example: Example) -> None:
        """Count an example."""
        self.examples += 1
        self.absent += len(example.absent)
        if not example.spans:
            return
        written = pairs_from_spans(example.text, example.spans)
        for attribute, values in example.pairs.items():
            if attribute in written:
                self.located += len(values)
                self.canonical += len(values - written[attribute])
        self.spans += len(example.spans)
        first = {start: place for place, (start, _) in enumerate(example.tokens)}
        last = {end: place for place, (_, end) in enumerate(example.tokens)}
        fine: tuple[set[int], set[int]] | None = None
        taken: set[int] = set()
        for span in example.spans:
            begin, end = first.get(span.start), last.get(span.end)
            value = example.text[span.start : span.end]
            off = begin is None or end is None
            spaced = value != value.strip()
            self.spaced += spaced
            if (off or spaced) and len(self.cases) < SHOWN:
                self.cases.append(f"'{printable(value)}' ({span.attribute}) in {printable(example.id)}")
            if begin is None or end is None:
                self.off_boundary += 1
                if fine is None:
                    own = example.tokens != word_units(example.text)  # Given in the file: no rule cuts them.
                    units = example.tokens if own else fine_units(example.text)
                    fine = {start for start, _ in units}, {end for _, end in units}
                self.off_fine += span.start not in fine[0] or span.end not in fine[1]
                continue
            places = range(begin, end + 1)
            if not taken.isdisjoint(places):
                self.overlapping += 1
            else:
                taken.update(places)
        for what, codec in OTHER_OFFSETS.items():
            self.off_as[what] += _off(_read_as(example, codec), first, last)

    def offsets_count(self) -> str | None:
        """Return what the offsets seem to count instead of code points: read so, all spans stand on units."""
        if self.off_boundary == 0:
            return None
        return next((what for what, off in self.off_as.items() if off == 0), None)

    def counts(self) -> dict[str, int]:
        """Return the figures that are stored with a result."""
        return {
            "spans": self.spans,
            "off_boundary": self.off_boundary,
            "overlapping": self.overlapping,
            "absent": self.absent,
            "located": self.located,
            "canonical": self.canonical,
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


def _off(ranges: Sequence[tuple[int, int]], first: Mapping[int, int], last: Mapping[int, int]) -> int:
    return sum(start not in first or end not in last for start, end in ranges)


SharedIds = dict[tuple[str, str], list[str]]
"""Two splits -> ids that stand in both, sorted."""


def shared_ids(splits: Mapping[str, Iterable[Example]]) -> SharedIds:
    """Return the ids that stand in two splits."""
    ids = {split: {example.id for example in examples} for split, examples in splits.items()}
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


def audit(splits: Mapping[str, Iterable[Example]]) -> Audit:
    """Count the gold annotation of these splits, in the order given; memory grows with the number of texts."""
    found = Audit({}, {}, {}, {})
    ids: dict[str, set[str]] = {}
    products: set[int] = set()
    texts: set[int] = set()
    for split, examples in splits.items():
        counted = found.splits[split] = SplitAudit()
        own_ids: set[str] = set()
        own_products, own_texts = set(), set()
        shared_products = shared_texts = 0
        for example in examples:
            counted.add(example)
            own_ids.add(example.id)
            product, text = hash(example.product_id or example.id), hash(title_key(example.text))
            shared_products += product in products
            shared_texts += text in texts
            own_products.add(product)
            own_texts.add(text)
        for other, known in ids.items():
            if both := own_ids & known:
                found.same_ids[(other, split)] = sorted(both)
        if ids:
            found.same_products[split], found.same_texts[split] = shared_products, shared_texts
        ids[split] = own_ids
        products |= own_products
        texts |= own_texts
    return found


def same_id_sentence(shared: SharedIds) -> str | None:
    """Return what is said of ids that stand in two splits; None if there is none."""
    for (one, other), both in shared.items():
        more = f" and {len(both) - 1:,} more" if len(both) > 1 else ""
        return (
            f"The id '{printable(both[0])}'{more} stands in {one} and in {other}. Give every example an id of its own."
        )
    return None


def reach_sentences(found: Audit, units: Units | None) -> Iterator[str]:
    """Yield what is to be known of spans that taggers cannot reach, by split; `units` are those that a reader cuts."""
    for split, one in found.splits.items():
        if one.off_boundary or one.spaced:
            odd = one.off_boundary + (one.spaced if units == "character" else 0)
            yield (
                f"{split}: {odd:,} of {one.spans:,} spans begin or end inside a unit, or with white space: "
                f"{', '.join(one.cases)}{', ...' if odd > len(one.cases) else ''}."
            )
        if (counts := one.offsets_count()) is not None:
            yield f"{split}: read as {counts}, all offsets stand on units. They must count code points: convert them."
        elif units == "word" and one.off_fine < one.off_boundary:
            yield (
                f"{split}: --option units=fine, which also cuts between letters and digits, would reach "
                f"{one.off_boundary - one.off_fine:,} of these {one.off_boundary:,}."
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


def reach_note(counts: Mapping[str, Mapping[str, int]]) -> str | None:
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


def leak_note(counts: Mapping[str, Mapping[str, int]]) -> str | None:
    """Return the note of a table on test examples that training or validation holds; None if there are none."""
    test = counts.get("test", {})
    shared = [f"{test[f'same_{what}s']:,} by {what}" for what in ("text", "product") if test.get(f"same_{what}s")]
    if not shared:
        return None
    return f"Of {test['examples']:,} test examples, the earlier splits hold {', '.join(shared)}."


def scoring_notes(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
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
