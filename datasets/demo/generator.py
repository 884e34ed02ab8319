"""The generator of the `demo` data set and the exact posterior of its labels given the text.

A product is drawn in three steps, each from its own random stream:

1. the text: category, ambiguous words (`Slot`) with their phrase, certain attributes, frame, filler. It knows no label;
2. the worlds: for every slot, which attribute its word is a value of (or None), from the distribution of its context
   (category, family, form), which can be read off the text;
3. the picture, which shows the worlds.

As step 2 is independent of step 1 given the context, the posterior of a slot given the whole text is the distribution
of its context, and all other spans are certain. The text-only ceiling follows by enumerating the slots of a product.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial

from avebench.contracts.examples import Example, Picture, Span, pairs_from_spans
from avebench.datasets.demo.looks import Look, far_colour
from avebench.datasets.demo.pictures import render
from avebench.datasets.demo.stream import Stream
from avebench.datasets.demo.words import (
    AFTER,
    ANIMALS,
    BEFORE,
    BRANDS,
    CATEGORIES,
    CLOSERS,
    COLOURS,
    DOUBLES,
    FAMILIES,
    FRAMES,
    FRUIT,
    MATCH_NOUNS,
    MATCH_WORDS,
    MATCHES,
    NOUNS,
    OPENERS,
    OTHER_WEIGHT,
    OUT_OF_RANGE,
    RANGES,
    VALUES,
    WEIGHTS,
    Family,
)

WORD = re.compile(r"\w+|[^\w\s]")
SENTENCES = {1: 80, 2: 20}
"""Sentences of a product -> per cent."""
SLOTS = {0: 42, 1: 43, 2: 15}
"""Ambiguous words of a product -> per cent; two only where two families share no attribute."""
MENTIONS = {0: 15, 1: 40, 2: 35, 3: 10}
"""Certain attributes of a sentence -> per cent."""
DOUBLE = 12
"""Per cent of the products whose first sentence gives two values of one attribute."""
STRAY, MATCH, CLOSER, MODEL, UNTOLD = 30, 50, 60, 50, 15
"""Per cent of: a mention out of range, a matching item, a closing phrase, a model number, an untold attribute."""

AMBIGUOUS = frozenset(word for family in FAMILIES for word in family.words)


@dataclass(frozen=True, slots=True)
class Slot:
    """An ambiguous word of a product: its family, its phrase and the word."""

    category: str
    family: Family
    form: int
    word: str

    @property
    def context(self) -> tuple[str, str, int]:
        """What the posterior depends on: category, family, form."""
        return (self.category, self.family.name, self.form)

    def posterior(self) -> dict[str | None, Fraction]:
        """Return world -> probability given the text; None means no value."""
        shares = self.family.forms[self.form][2]
        return {world: Fraction(share, 100) for world, share in zip(self.family.worlds, shares, strict=True)}

    def owned(self) -> frozenset[str]:
        """Return the attributes that this slot alone decides in text and picture."""
        return frozenset(world for world in self.family.worlds if world is not None)


@dataclass(frozen=True, slots=True)
class Sample:
    """A generated example with what the generator knows: its slots as (slot, start, end) and each slot's true world."""

    example: Example
    slots: tuple[tuple[Slot, int, int], ...]
    worlds: tuple[str | None, ...]
    look: Look


Mark = tuple[int, int, str | Slot]
"""Characters `start` to `end` of a phrase hold a certain value of an attribute, or the word of a slot."""


@dataclass(slots=True)
class _Text:
    """A sentence under construction."""

    text: str = ""
    marks: list[Mark] = field(default_factory=list)

    def add(self, text: str, marks: Iterable[Mark] = (), separator: str = " ") -> None:
        """Append a phrase after `separator`."""
        if self.text:
            self.text += separator
        offset = len(self.text)
        self.text += text
        self.marks += [(start + offset, end + offset, label) for start, end, label in marks]


@dataclass(slots=True)
class _Plan:
    """What the text of a product says, without any label of a slot."""

    category: str
    slots: list[Slot]
    available: list[str]
    doubled: str | None
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _compatible(category: str, owned: frozenset[str]) -> list[Family]:
    """Return the families of a category that decide no attribute of `owned`."""
    return [family for family in FAMILIES if category in family.categories and not owned.intersection(family.worlds)]


def _draw_plan(words: Stream) -> _Plan:
    category = words.weighted(CATEGORIES)
    slots: list[Slot] = []
    owned: frozenset[str] = frozenset()
    for _ in range(words.weighted(SLOTS)):
        families = _compatible(category, owned)
        if families:
            family = words.pick(families)
            slots.append(Slot(category, family, words.below(len(family.forms)), words.pick(family.words)))
            owned |= slots[-1].owned()
    available = [attribute for attribute in RANGES[category] if attribute not in owned]
    doubles = [attribute for attribute in DOUBLES if attribute in available]
    doubled = words.pick(doubles) if words.chance(DOUBLE) and doubles else None
    return _Plan(category, slots, [attribute for attribute in available if attribute != doubled], doubled)


def _draw_value(words: Stream, attribute: str) -> str:
    if attribute == "colour" and words.chance(25):
        return words.pick(FRUIT)
    if attribute == "pattern" and words.chance(25):
        return words.pick((*FRUIT, *ANIMALS))
    return words.pick(VALUES[attribute])


def _draw_values(words: Stream, plan: _Plan, attribute: str) -> tuple[str, ...]:
    """Return the product's values of a certain attribute, the same in all its sentences."""
    if attribute not in plan.values:
        values = [_draw_value(words, attribute)]
        while attribute == plan.doubled and len(values) < 2:
            value = _draw_value(words, attribute)
            if value not in values:
                values.append(value)
        plan.values[attribute] = tuple(values)
    return plan.values[attribute]


def _phrase(words: Stream, attribute: str, values: tuple[str, ...]) -> tuple[bool, str, list[Mark]]:
    """Return (before the noun, phrase, marks). A word that some form leaves open never stands alone before the noun."""
    before = attribute in BEFORE and words.chance(55) and not AMBIGUOUS.intersection(values)
    template = BEFORE[attribute] if before else words.pick(AFTER[attribute])
    start = template.index("{v}")
    marks: list[Mark] = []
    for value in values:
        marks.append((start, start + len(value), attribute))
        start += len(value) + len(" and ")
    return before, template.replace("{v}", " and ".join(values)), marks


def _slot_phrase(slot: Slot) -> tuple[bool, str, list[Mark]]:
    template, before, _ = slot.family.forms[slot.form]
    start = template.index("{w}")
    return before, template.replace("{w}", slot.word), [(start, start + len(slot.word), slot)]


def _draw_phrases(words: Stream, plan: _Plan, slots: list[Slot], first: bool) -> list[tuple[bool, str, list[Mark]]]:
    """Return the phrases of one sentence in the order in which they will stand."""
    remaining = {attribute: WEIGHTS.get(attribute, OTHER_WEIGHT) for attribute in plan.available}
    chosen = [plan.doubled] if first and plan.doubled else []
    for _ in range(min(words.weighted(MENTIONS), len(remaining))):
        chosen.append(words.weighted(remaining))
        del remaining[chosen[-1]]
    phrases = [_phrase(words, attribute, _draw_values(words, plan, attribute)) for attribute in chosen]
    phrases += [_slot_phrase(slot) for slot in slots]
    if words.chance(STRAY):
        attribute = words.pick(OUT_OF_RANGE[plan.category])
        before, text, _ = _phrase(words, attribute, (words.pick(VALUES[attribute]),))
        phrases.append((before, text, []))
    for last in range(len(phrases) - 1, 0, -1):
        other = words.below(last + 1)
        phrases[last], phrases[other] = phrases[other], phrases[last]
    return phrases


def _draw_model(words: Stream) -> str:
    letters = words.pick(("AX", "T", "KN", "Mod", "RS", "Q"))
    return words.pick(
        (f"{letters}{words.below(900) + 100}", f"{letters}-{words.below(90) + 10}", f"No. {words.below(9999)}")
    )


def _draw_sentence(words: Stream, plan: _Plan, slots: list[Slot], first: bool) -> _Text:
    """Fill a frame; its marks are in order of position."""
    phrases = _draw_phrases(words, plan, slots, first)
    match = f"{words.pick(MATCHES)} {words.pick(MATCH_WORDS)} {words.pick(MATCH_NOUNS[plan.category])}"
    fillers = {
        "{brand}": words.pick(BRANDS),
        "{noun}": words.pick(NOUNS[plan.category]),
        "{opener}": words.pick(OPENERS),
        "{closer}": words.pick(CLOSERS) if words.chance(CLOSER if len(phrases) < 3 else 0) or not phrases else "",
        "{match}": match if words.chance(MATCH if len(phrases) < 4 else 0) else "",
        "{model}": _draw_model(words) if words.chance(MODEL) else "",
    }
    sentence = _Text()
    for part in words.pick(FRAMES).split():
        if part in {"{before}", "{after}"}:
            separator = " "
            for before, text, marks in phrases:
                if before == (part == "{before}"):
                    sentence.add(text, marks, separator)
                    separator = " " if before else words.pick((", ", " and "))
        elif text := fillers.get(part, part):
            sentence.add(text, separator="" if part in ":!" else ", " if part in {"{closer}", "{match}"} else " ")
    sentence.text = sentence.text[0].upper() + sentence.text[1:]
    return sentence


def _draw_look(plan: _Plan, worlds: dict[Slot, str | None], seed: tuple[str | int, ...]) -> Look:
    """Return what the picture shows: what the text says for certain, the true worlds, and attributes left untold.

    An attribute of a slot is shown if and only if it is the slot's true world.
    """
    picture = Stream(*seed)
    shown = dict(plan.values)
    shown.update({world: (slot.word,) for slot, world in worlds.items() if world is not None})
    owned = {attribute for slot in worlds for attribute in slot.owned()}
    for attribute in RANGES[plan.category]:
        if attribute not in shown and attribute not in owned and attribute != "colour" and picture.chance(UNTOLD):
            shown[attribute] = (picture.pick(VALUES[attribute]),)
    if "colour" not in shown:
        avoid = [slot.word for slot in worlds if "colour" in slot.owned()]
        shown["colour"] = (far_colour(picture, COLOURS, (*avoid, *shown.get("pattern", ()), *shown.get("craft", ()))),)
    return Look(plan.category, tuple(sorted(shown.items())), seed)


def products(seed: str | int) -> Iterator[list[Sample]]:
    """Yield the products of a stream without end, each as the list of its sentences."""
    number = 0
    while True:
        words = Stream("demo", seed, "text", number)
        plan = _draw_plan(words)
        count = words.weighted(SENTENCES)
        homes = [words.below(count) for _ in plan.slots]
        sentences = [
            _draw_sentence(
                words, plan, [s for s, home in zip(plan.slots, homes, strict=True) if home == place], place == 0
            )
            for place in range(count)
        ]
        draw = Stream("demo", seed, "world", number)
        worlds = {
            slot: draw.weighted(dict(zip(slot.family.worlds, slot.family.forms[slot.form][2], strict=True)))
            for slot in plan.slots
        }
        look = _draw_look(plan, worlds, ("demo", seed, "picture", number))
        product = f"demo-{seed}-{number:05d}"
        yield [_sample(product, place, text, plan, worlds, look) for place, text in enumerate(sentences)]
        number += 1


def _sample(
    product: str, place: int, sentence: _Text, plan: _Plan, worlds: dict[Slot, str | None], look: Look
) -> Sample:
    """Label a sentence: certain marks as they are, slots by their world."""
    spans: list[Span] = []
    slots: list[tuple[Slot, int, int]] = []
    for start, end, label in sorted(sentence.marks, key=lambda mark: mark[:2]):
        world = worlds[label] if isinstance(label, Slot) else label
        if isinstance(label, Slot):
            slots.append((label, start, end))
        if world is not None:
            spans.append(Span(world, start, end))
    example = Example(
        id=f"{product}-{place}",
        text=sentence.text,
        tokens=tuple(match.span() for match in WORD.finditer(sentence.text)),
        spans=tuple(spans),
        pairs=pairs_from_spans(sentence.text, spans),
        product_id=product,
        picture=Picture(f"{product}.png", partial(render, look)),
        category=plan.category,
    )
    return Sample(example, tuple(slots), tuple(worlds[slot] for slot, _, _ in slots), look)


def samples(seed: str | int, count: int) -> list[Sample]:
    """Return the first `count` sentences of the stream `seed`, with what the generator knows."""
    found: list[Sample] = []
    for product in products(seed):
        found += product
        if len(found) >= count:
            break
    return found[:count]


def generate(seed: str | int, count: int) -> list[Example]:
    """Return the first `count` sentences of the stream `seed`; "train", "valid" and "test" are the published splits."""
    return [sample.example for sample in samples(seed, count)]


def optimal_f1(candidates: Iterable[tuple[Fraction, Fraction]]) -> float:
    """Return the expected micro-F1, in %, of the best rule that keeps a span if its posterior exceeds F*/2.

    `candidates` are (posterior, expected number of such spans), certain spans with posterior 1. F is the ratio of
    expectations 2 E[tp] / (E[predicted] + E[gold]); the fixed point of F* is iterated from the threshold 1/2.
    """
    weights: dict[Fraction, Fraction] = {}
    for posterior, number in candidates:
        weights[posterior] = weights.get(posterior, Fraction(0)) + number
    gold = sum((posterior * number for posterior, number in weights.items()), Fraction(0))
    best = Fraction(1)
    while True:
        kept = {posterior: number for posterior, number in weights.items() if posterior > best / 2}
        correct = sum((posterior * number for posterior, number in kept.items()), Fraction(0))
        score = 2 * correct / (sum(kept.values(), Fraction(0)) + gold)
        if score == best:
            return float(100 * score)
        best = score


def candidates_of(found: Iterable[Sample]) -> list[tuple[Fraction, Fraction]]:
    """Return the candidate spans of these texts for `optimal_f1`; the true worlds are not looked at."""
    candidates: list[tuple[Fraction, Fraction]] = []
    for sample in found:
        certain = len(sample.example.spans) - sum(world is not None for world in sample.worlds)
        candidates.append((Fraction(1), Fraction(certain)))
        for slot, _, _ in sample.slots:
            candidates += [(share, Fraction(1)) for world, share in slot.posterior().items() if world is not None]
    return candidates


def _slot_sets(category: str) -> Iterator[tuple[Fraction, tuple[Family, ...]]]:
    """Yield (probability, families) of the slots of a product of this category, mirroring `_draw_plan`."""
    total = Fraction(sum(SLOTS.values()))
    firsts = _compatible(category, frozenset())
    yield SLOTS[0] / total, ()
    for first in firsts:
        owned = frozenset(world for world in first.worlds if world is not None)
        seconds = _compatible(category, owned)
        yield (SLOTS[1] + (0 if seconds else SLOTS[2])) / total / len(firsts), (first,)
        for second in seconds:
            yield SLOTS[2] / total / len(firsts) / len(seconds), (first, second)


def _certain_spans(category: str, families: tuple[Family, ...]) -> Fraction:
    """Return the expected number of certain spans over all sentences of a product with these slots."""
    owned = {world for family in families for world in family.worlds}
    free = [attribute for attribute in RANGES[category] if attribute not in owned]
    double = Fraction(DOUBLE, 100) if any(attribute in free for attribute in DOUBLES) else Fraction(0)
    sentences = Fraction(sum(count * share for count, share in SENTENCES.items()), 100)

    def mentions(attributes: int) -> Fraction:
        return Fraction(sum(min(count, attributes) * share for count, share in MENTIONS.items()), 100)

    return sentences * ((1 - double) * mentions(len(free)) + double * mentions(len(free) - 1)) + 2 * double


@cache
def text_only_ceiling() -> float:
    """Return the exact expected micro-F1, in %, of the optimal text-only rule over the whole generator."""
    candidates: list[tuple[Fraction, Fraction]] = []
    for category, share in CATEGORIES.items():
        for probability, families in _slot_sets(category):
            weight = probability * share / sum(CATEGORIES.values())
            candidates.append((Fraction(1), weight * _certain_spans(category, families)))
            for family in families:
                for number, _ in enumerate(family.forms):
                    posterior = Slot(category, family, number, family.words[0]).posterior()
                    each = weight / len(family.forms)
                    candidates += [(chance, each) for world, chance in posterior.items() if world is not None]
    return optimal_f1(candidates)
