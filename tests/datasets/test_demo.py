"""The demo data set: frozen bytes, ranges, and the posterior against simulation."""

import random
import re
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from avebench.datasets.demo import demo
from avebench.datasets.demo.generator import Sample, candidates_of, generate, optimal_f1, products, samples
from avebench.datasets.demo.looks import Look
from avebench.datasets.demo.pictures import pixels
from avebench.datasets.demo.words import ATTRIBUTES, CATEGORIES, FAMILIES, NOUNS, RANGES
from avebench.files.errors import AvebenchError


@pytest.fixture(scope="module")
def dataset() -> demo.Dataset:
    return demo.Dataset(demo.CARD, None, demo.Options())


@pytest.fixture(scope="module")
def many() -> list[Sample]:
    return [sample for product in islice(products("simulation"), 16000) for sample in product]


def test_generated_bytes_are_the_frozen_ones(dataset):
    assert list(dataset.check()) == []
    assert dataset.fingerprint() == demo.CARD.fingerprint
    assert re.fullmatch("[0-9a-f]{64}", dataset.fingerprint())


def test_check_reports_other_bytes(dataset, monkeypatch):
    monkeypatch.setattr(demo, "SIZES", {"test": 3})
    (fault,) = dataset.check()
    assert "Reinstall" in str(fault)


def test_an_unknown_split_is_refused(dataset):
    with pytest.raises(AvebenchError, match="There is no split 'dev'"):
        list(dataset.read("dev"))


def test_sizes_and_products_never_cross_splits(dataset):
    splits = {split: list(dataset.read(split)) for split in ("train", "valid", "test")}
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 2000, "valid": 300, "test": 500}
    owners = [{example.product_id for example in examples} for examples in splits.values()]
    assert len(set.union(*owners)) == sum(map(len, owners)) < 2800
    ids = [example.id for examples in splits.values() for example in examples]
    assert len(set(ids)) == len(ids)
    texts = [{example.text for example in examples} for examples in splits.values()]
    assert len(texts[0] & texts[2]) <= 5
    assert {span.attribute for example in splits["train"] for span in example.spans} == set(ATTRIBUTES)
    without = sum(not example.pairs for example in splits["test"])
    several = sum(any(len(values) > 1 for values in example.pairs.values()) for example in splits["test"])
    assert 10 <= without <= 60
    assert 10 <= several <= 100


def test_table_1_ranges():
    assert [len(RANGES[category]) for category in CATEGORIES] == [14, 10, 8, 7, 13, 11, 13]
    assert set().union(*RANGES.values()) == set(ATTRIBUTES)
    assert len(ATTRIBUTES) == 26


def test_spans_are_whole_words_in_range_and_pairs_follow(many):
    for sample in many[:4000]:
        example = sample.example
        starts, ends = zip(*example.tokens, strict=True)
        assert "".join(example.text[a:b] for a, b in example.tokens) == re.sub(r"\s", "", example.text)
        last = 0
        for span in example.spans:
            assert span.attribute in RANGES[example.category]
            assert span.start in starts and span.end in ends and last <= span.start < span.end
            assert example.text[span.start : span.end] in example.pairs[span.attribute]
            last = span.end
        assert example.spans == tuple(sorted(example.spans, key=lambda span: span.start))
        assert set(example.pairs) == {span.attribute for span in example.spans}
        assert any(noun in example.text.lower() for noun in NOUNS[example.category])


def test_a_longer_stream_begins_with_the_shorter_one():
    assert [e.text for e in generate("longer", 50)][:20] == [e.text for e in generate("longer", 20)]
    assert [e.text for e in generate("longer", 20)] != [e.text for e in generate("other", 20)]


def _units(sample: Sample) -> list[tuple[str, int, int]]:
    text = sample.example.text
    return [(text[start:end].lower(), start, end) for start, end in sample.example.tokens]


def test_posterior_is_the_frequency_among_equal_visible_contexts(many):
    """Group the ambiguous words by what a reader sees around them, not by what the generator knows."""
    seen: dict[tuple[object, ...], Counter] = defaultdict(Counter)
    expected: dict[tuple[object, ...], dict] = {}
    for sample in many:
        units = _units(sample)
        labels = {span.start: span.attribute for span in sample.example.spans}
        for slot, start, _ in sample.slots:
            template = slot.family.forms[slot.form][0]
            place = next(i for i, unit in enumerate(units) if unit[1] == start)
            shift = template.split().index("{w}")
            phrase = " ".join(u[0] for u in units[place - shift : place - shift + len(template.split())])
            key = (sample.example.category, phrase)
            assert expected.setdefault(key, slot.posterior()) == slot.posterior()
            seen[key][labels.get(start)] += 1
    chi, freedom = 0.0, 0
    for key, counts in seen.items():
        total = sum(counts.values())
        if total < 40:
            continue
        assert set(counts) <= set(expected[key])
        for world, share in expected[key].items():
            chi += (counts[world] - total * float(share)) ** 2 / (total * float(share))
        freedom += len(expected[key]) - 1
    assert freedom > 100
    assert abs(chi - freedom) < 4 * (2 * freedom) ** 0.5


def test_everything_outside_the_slots_is_certain_given_the_text(many):
    """The same seven words in the same category always bear the same label, unless the middle one is a slot."""
    labels: dict[tuple[object, ...], str | None] = {}
    slots: dict[tuple[object, ...], bool] = {}
    for sample in many:
        units = _units(sample)
        words = ["^"] * 3 + [unit[0] for unit in units] + ["$"] * 3
        open_words = {start for _, start, _ in sample.slots}
        inside = {i: span.attribute for span in sample.example.spans for i in range(span.start, span.end)}
        for i, (_, start, _) in enumerate(units):
            key = (sample.example.category, *words[i : i + 7])
            assert slots.setdefault(key, start in open_words) == (start in open_words), key
            if start not in open_words:
                assert labels.setdefault(key, inside.get(start)) == inside.get(start), key
    assert len(labels) > 50_000


def test_the_world_leaves_no_trace_in_the_rest_of_the_text(many):
    """The length of the text does not differ between the worlds of one context beyond chance."""
    lengths: dict[tuple[object, ...], dict[object, list[int]]] = defaultdict(lambda: defaultdict(list))
    for sample in many:
        for (slot, _, _), world in zip(sample.slots, sample.worlds, strict=True):
            lengths[slot.context][world].append(len(sample.example.text))
    scores = []
    for groups in lengths.values():
        everything = [length for group in groups.values() for length in group]
        spread, total = float(np.std(everything)), len(everything)
        for group in groups.values():
            if 30 <= len(group) < total:
                error = spread * (1 / len(group) - 1 / total) ** 0.5
                scores.append((np.mean(group) - np.mean(everything)) / error)
    assert len(scores) > 50
    assert max(map(abs, scores)) < 4.5
    assert 0.75 < float(np.std(scores)) < 1.25


def _brute_force(marginals: list[float]) -> float:
    """Best ratio of expectations over all subsets."""
    gold = sum(marginals)
    best = 0.0
    for subset in range(1, 1 << len(marginals)):
        kept = [p for i, p in enumerate(marginals) if subset >> i & 1]
        best = max(best, 200 * sum(kept) / (len(kept) + gold))
    return best


def test_the_threshold_rule_is_the_best_of_all_subsets():
    draw = random.Random(5)
    for _ in range(60):
        shares = [Fraction(draw.randint(1, 20), 20) for _ in range(draw.randint(1, 9))]
        found = optimal_f1([(share, Fraction(1)) for share in shares])
        assert found == pytest.approx(_brute_force([float(share) for share in shares]))


def test_ceiling_lies_where_it_was_built_to_lie():
    assert 85 <= demo.text_only_ceiling() <= 95
    assert 85 <= demo.split_ceiling("test") <= 95


def test_ceiling_agrees_with_simulation_of_the_optimal_rule(many):
    """Apply the rule with its true threshold to drawn products and score it against their true labels."""
    ceiling = demo.text_only_ceiling()
    rows = defaultdict(lambda: [0, 0, 0])
    for sample in many:
        row = rows[sample.example.product_id]
        gold = {(span.attribute, span.start, span.end) for span in sample.example.spans}
        open_words = {start for _, start, _ in sample.slots}
        predicted = {span for span in gold if span[1] not in open_words}
        for slot, start, end in sample.slots:
            for world, share in slot.posterior().items():
                if world is not None and share > ceiling / 200:
                    predicted.add((world, start, end))
        row[0] += len(gold & predicted)
        row[1] += len(predicted)
        row[2] += len(gold)
    counts = np.array(list(rows.values()), dtype=float)
    correct, predicted, gold = counts.sum(axis=0)
    measured = 2 * correct / (predicted + gold)
    residual = 2 * counts[:, 0] - measured * (counts[:, 1] + counts[:, 2])
    error = 100 * float(np.sqrt((residual**2).sum())) / (predicted + gold)
    assert error < 0.2
    assert abs(100 * measured - ceiling) < 4 * error
    assert abs(optimal_f1(candidates_of(many)) - ceiling) < 4 * error


def test_pictures_are_64x64_and_drawn_only_when_opened(dataset):
    example = next(dataset.read("test"))
    first, second = example.picture.open(), example.picture.open()
    assert (first.size, first.mode) == ((64, 64), "RGB")
    assert first.tobytes() == second.tobytes()


def _with_world(look: Look, slot, world: str | None) -> Look:
    """Return the same picture, background and all, with the slot in another world."""
    kept = {attribute: values for attribute, values in look.values if attribute not in slot.owned()}
    if world is not None:
        kept[world] = (slot.word,)
    if "colour" not in kept:
        kept["colour"] = ("white",) if slot.word not in {"pearl", "ivory", "peach"} else ("navy",)
    return Look(look.category, tuple(sorted(kept.items())), look.seed)


def test_pictures_differ_clearly_between_the_worlds(many):
    seen: dict[tuple[str, str, object, object], list[float]] = defaultdict(list)
    for sample in many[:2500]:
        for slot, _, _ in sample.slots:
            worlds = list(slot.posterior())
            images = {world: pixels(_with_world(sample.look, slot, world)).astype(int) for world in worlds}
            for i, one in enumerate(worlds):
                for other in worlds[i + 1 :]:
                    changed = (abs(images[one] - images[other]).sum(axis=2) > 60).mean()
                    seen[(slot.category, slot.family.name, one, other)].append(float(changed))
    assert len(seen) >= 60
    for pair, shares in seen.items():
        assert np.median(shares) > 0.015, (pair, np.median(shares))
        assert min(shares) > 0.002, (pair, min(shares))


def test_a_picture_shows_the_true_world_and_none_of_the_others(many):
    for sample in many[:3000]:
        shown = dict(sample.look.values)
        for (slot, _, _), world in zip(sample.slots, sample.worlds, strict=True):
            assert {a for a in slot.owned() if a in shown and slot.word in shown[a]} == ({world} - {None})
            assert {a for a in slot.owned() if a in shown} <= {world, "colour"}


def test_families_keep_to_the_ranges_and_never_share_a_phrase():
    phrases = Counter()
    for family in FAMILIES:
        for category in family.categories:
            assert {world for world in family.worlds if world is not None} <= set(RANGES[category])
            for template, _, shares in family.forms:
                assert sum(shares) == 100
                phrases.update((category, template.replace("{w}", word)) for word in family.words)
    assert set(phrases.values()) == {1}


def test_statistics_count_what_is_read(dataset):
    figures = dataset.statistics()
    assert figures["instances"] == 2800 == sum(figures[f"{category} instances"] for category in CATEGORIES)
    assert figures["attributes"] == 26
    assert all(figures[f"{category} attributes"] == len(RANGES[category]) for category in CATEGORIES)
    assert figures["text_only_ceiling"] == demo.text_only_ceiling()


def test_other_seeds_give_other_products():
    assert not {e.picture.name for e in generate("a", 30)} & {e.picture.name for e in generate("b", 30)}
    assert [s.example.text for s in samples("a", 5)] == [e.text for e in generate("a", 5)]
