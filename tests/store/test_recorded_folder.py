"""The format of a recorded folder: what is written is read again, in both layouts, and after any kill or damage."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from earlier_layout import write_earlier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_cells import result

from avebench.contracts.examples import INTENT, Example, Prediction, Span
from avebench.data.predictions import prediction_record, read_predictions, write_predictions
from avebench.files.errors import AvebenchError
from avebench.scoring.families import Counts
from avebench.store.examplecounts import ExampleCounts, columns_of
from avebench.store.recorded import COUNTS, PREDICTIONS, RESULTS_FILE, Recording, record, recorded_cells
from avebench.store.recorded_columns import ValuesLeftOutError

TEXT = "红色 a blue dress with many words"
NAMES = st.text("abé红 /\"'", min_size=1, max_size=6)
SCORES = st.floats(0, 1)
KEYS = st.tuples(st.sampled_from("abc"), st.integers(0, 12))
COUNTED = st.builds(Counts, *[st.integers(0, 10**6)] * 3)


@st.composite
def _spans(draw: st.DrawFn) -> tuple[Span, ...]:
    ends = draw(st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.integers(1, 9)), max_size=4))
    return tuple(Span(draw(NAMES), start, min(len(TEXT), start + length)) for start, length in ends)


@st.composite
def _predictions(draw: st.DrawFn) -> list[Prediction]:
    found = []
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        spans = draw(_spans())
        scores = tuple(draw(SCORES) for _ in spans) if draw(st.booleans()) else ()
        candidates = draw(st.none() | st.lists(st.tuples(NAMES, SCORES, _spans()), max_size=3).map(tuple))
        pairs: dict[str, set[str]] = {}
        for span in spans:
            pairs.setdefault(span.attribute, set()).add(TEXT[span.start : span.end])
        if draw(st.booleans()):
            pairs[INTENT] = draw(st.sets(NAMES, max_size=2))
        frozen = {attribute: frozenset(values) for attribute, values in pairs.items()}
        attributes = draw(st.dictionaries(NAMES, SCORES, max_size=4))
        found.append(Prediction(name, attributes, frozen, spans, scores or None, candidates))
    return found


@st.composite
def _counts(draw: st.DrawFn, names: list[str]) -> list[ExampleCounts]:
    by = st.fixed_dictionaries({"string": st.dictionaries(NAMES, COUNTED, max_size=3)})
    by |= st.fixed_dictionaries(dict.fromkeys(("string", "tag"), st.dictionaries(NAMES, COUNTED, max_size=3)))
    families = st.dictionaries(st.sampled_from(["tag", "cls", "cls_with_pad", "mae", "intent"]), COUNTED)
    return [
        ExampleCounts(
            name,
            draw(st.just(name) | NAMES),
            draw(st.frozensets(NAMES, max_size=3)),
            draw(families),
            draw(st.none() | by),
        )
        for name in names
    ]


@st.composite
def recordings(draw: st.DrawFn) -> list[tuple[Recording, list[Prediction]]]:
    found = []
    for row, repetition in draw(st.lists(KEYS, unique=True, max_size=4)):
        predictions = draw(_predictions())
        kept = result(
            row=row,
            repetition=repetition,
            key=f"{row}{repetition:02d}" + "0" * 61,
            epochs=draw(st.floats(0, 1e9)),
            seconds={"predict": draw(st.floats(0, 1e9))},
            config=draw(st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False) | NAMES, max_size=3)),
        )
        records = [prediction_record(one, text_free=True) for one in predictions]
        counts = draw(_counts([one.id for one in predictions]))
        found.append((Recording(row, repetition, kept, records, counts), predictions))
    return found


@contextmanager
def _folders() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _gold(predictions: list[Prediction]) -> list[Example]:
    return [Example(one.id, TEXT, ()) for one in reversed(predictions)]


def _check(folder: Path, made: list[tuple[Recording, list[Prediction]]]) -> None:
    """Check that a folder holds exactly what was made, in order of rows and repetitions."""
    cells = recorded_cells(folder)
    assert [(one.row, one.repetition) for one in cells] == sorted((one.row, one.repetition) for one, _ in made)
    for cell in cells:
        ((wanted, predictions),) = [(a, b) for a, b in made if (a.row, a.repetition) == (cell.row, cell.repetition)]
        assert cell.result() == wanted.result and cell.holds({wanted.result.key}) and not cell.holds({"e" * 64})
        if not predictions:  # A file without lines is none.
            continue
        counts = cell.counts()
        assert list(counts) == list(wanted.counts) and len(counts) == len(wanted.counts)
        by_column, by_example = columns_of(counts), columns_of(list(wanted.counts))
        assert (by_column.ids, by_column.products) == (by_example.ids, by_example.products)
        assert by_column.by_attribute == by_example.by_attribute
        assert {name: table.tolist() for name, table in by_column.counts.items()} == {
            name: table.tolist() for name, table in by_example.counts.items()
        }
        assert json.dumps(cell.records()) == json.dumps(list(wanted.predictions))
        assert cell.predictions(_gold(predictions)) == predictions[::-1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recordings())
def test_both_layouts_give_back_what_was_written(made: list[tuple[Recording, list[Prediction]]]) -> None:
    with _folders() as place:
        record(place / "new", [one for one, _ in made])
        _check(place / "new", made)
        written = {RESULTS_FILE, PREDICTIONS, COUNTS} if made else set()
        assert {path.name for path in (place / "new").iterdir()} == written
        write_earlier(place / "old", [one for one, _ in made])
        _check(place / "old", made)
        if made and all(predictions for _, predictions in made):
            record(place / "old", [])
            assert not list((place / "old").glob("*/"))
            _check(place / "old", made)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recordings(), recordings())
def test_what_is_recorded_again_is_replaced_and_all_else_stays(
    first: list[tuple[Recording, list[Prediction]]], second: list[tuple[Recording, list[Prediction]]]
) -> None:
    with _folders() as place:
        record(place, [one for one, _ in first])
        record(place, [one for one, _ in second])
        again = {(one.row, one.repetition) for one, _ in second}
        _check(place, [*second, *(one for one in first if (one[0].row, one[0].repetition) not in again)])
        before = {path.name: path.read_bytes() for path in place.iterdir()}
        record(place, [one for one, _ in second])
        assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def _made(row: str, repetition: int = 0, score: float = 0.25) -> tuple[Recording, list[Prediction]]:
    predictions = [
        Prediction(name, {"a": score}, {"a": frozenset({TEXT[3:4]})}, (Span("a", 3, 4),)) for name in ("x", "y")
    ]
    counts = [ExampleCounts(one.id, one.id, frozenset(), {"tag": Counts(1, 1, 1)}, None) for one in predictions]
    records = [prediction_record(one, text_free=True) for one in predictions]
    kept = result(key=f"{row}{repetition:02d}" + "0" * 61, repetition=repetition, epochs=score)
    return Recording(row, repetition, kept, records, counts), predictions


class _Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("earlier", [False, True])
def test_killed_at_any_moment_a_folder_holds_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    """Every file operation of a recording is the last one once; the next recording ends it."""
    old, new = [_made("a"), _made("b")], [_made("a", score=0.75), _made("b")]
    states = set()
    for moment in range(40):
        folder = tmp_path / str(moment)
        (write_earlier if earlier else record)(folder, [one for one, _ in old])
        left = [moment]

        def last(self: Path, *arguments: object, call, left: list[int] = left, **options: object) -> object:
            if left[0] == 0:
                raise _Killed
            left[0] -= 1
            return call(self, *arguments, **options)

        with monkeypatch.context() as patched:
            for name in ("replace", "unlink", "rmdir"):
                call = getattr(Path, name)
                patched.setattr(Path, name, lambda *a, call=call, **k: last(*a, call=call, **k))
            try:
                record(folder, [new[0][0]])
                killed = False
            except _Killed:
                killed = True
        held = recorded_cells(folder)[0].result().epochs
        _check(folder, old if held == 0.25 else new)
        states.add(held)
        record(folder, [new[0][0]])
        _check(folder, new)
        assert {path.name for path in folder.iterdir()} == {RESULTS_FILE, PREDICTIONS, COUNTS}
        if not killed:
            break
    assert not killed and states == {0.25, 0.75}


def test_files_of_the_earlier_layout_beside_packed_ones_do_not_count(tmp_path: Path) -> None:
    record(tmp_path, [_made("a", score=0.75)[0]])
    write_earlier(tmp_path, [_made("a")[0], _made("c")[0]])
    _check(tmp_path, [_made("a", score=0.75)])


@pytest.mark.parametrize("name", [RESULTS_FILE, PREDICTIONS, COUNTS])
@pytest.mark.parametrize("harm", ["cut", "emptied", "changed", "longer", "gone", "folder"])
def test_damage_is_named_with_what_to_do(tmp_path: Path, name: str, harm: str) -> None:
    folder = tmp_path / "results" / "mine" / "demo"
    made = [_made("a"), _made("b")]
    record(folder, [one for one, _ in made])
    path = folder / name
    content = path.read_bytes()
    changed = {"cut": content[:-5], "emptied": b"", "longer": content + b"{}\n"}
    for place in range(0, len(content), 97) if harm == "changed" else [0]:
        path.unlink()
        if harm == "folder":
            path.mkdir()
        elif harm != "gone":
            path.write_bytes(changed.get(harm, content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]))
        if (name, harm) == (RESULTS_FILE, "gone"):
            assert recorded_cells(folder) == []
            return
        with pytest.raises(AvebenchError) as caught:
            for cell in recorded_cells(folder):
                cell.counts()
                cell.predictions(_gold(made[0][1]))
        assert str(caught.value).startswith(f"The recorded {path} cannot be read: ")
        assert "Restore it (git checkout" in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(AvebenchError, match="cannot be read"):
            record(folder, [_made("c")[0]])


def test_predictions_of_other_examples_are_refused(tmp_path: Path) -> None:
    record(tmp_path, [_made("a")[0]])
    (cell,) = recorded_cells(tmp_path)
    with pytest.raises(AvebenchError, match="holds other examples than the data"):
        cell.predictions([Example("x", TEXT, ())])
    with pytest.raises(AvebenchError, match="points outside of the text of 'x'"):
        cell.predictions([Example("x", "ab", ()), Example("y", TEXT, ())])


def test_values_without_spans_leave_their_attributes_and_counts(tmp_path: Path) -> None:
    one, predictions = _made("a")
    values = {"Color": frozenset({"navy"})}
    ranker = [Prediction(each.id, {"Color": 1.0}, values, rankings={"Color": {"navy": 1}}) for each in predictions]
    records = [prediction_record(each, text_free=True) for each in ranker]
    record(tmp_path, [Recording("ranker", 0, one.result, records, one.counts), one])
    cells = {cell.row: cell for cell in recorded_cells(tmp_path)}
    assert cells["ranker"].records() == [{"id": each.id, "attributes": {"Color": 1.0}} for each in ranker]
    assert list(cells["ranker"].counts()) == list(one.counts)
    assert not any(b"navy" in path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(ValuesLeftOutError, match="holds no values: its system gives no spans"):
        cells["ranker"].predictions(_gold(predictions))
    assert cells["a"].predictions(_gold(predictions)) == predictions[::-1]
    record(tmp_path, [_made("b")[0]])
    (kept,) = [cell for cell in recorded_cells(tmp_path) if cell.row == "ranker"]
    assert kept.records() == cells["ranker"].records()  # What stays is packed as it was.


def test_texts_cannot_be_recorded(tmp_path: Path) -> None:
    one, predictions = _made("a")
    whole = [prediction_record(prediction) for prediction in predictions]
    with pytest.raises(ValueError, match="more than offsets"):
        record(tmp_path, [Recording(one.row, 0, one.result, whole, one.counts)])
    assert not list(tmp_path.iterdir())


def _record_row(folder: Path, row: str) -> None:
    record(folder, [_made(row, repetition)[0] for repetition in range(3)])


def test_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_record_row, args=(tmp_path, row)) for row in "abcd"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    _check(tmp_path, [_made(row, repetition) for row in "abcd" for repetition in range(3)])


def test_the_packed_files_give_what_the_prediction_file_gives(tmp_path: Path) -> None:
    one, predictions = _made("a")
    write_predictions(tmp_path / "p.jsonl.gz", predictions, text_free=True)
    record(tmp_path, [one])
    gold = _gold(predictions)
    assert recorded_cells(tmp_path)[0].predictions(gold) == read_predictions(tmp_path / "p.jsonl.gz", gold)
