import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import INTENT, Example, Prediction, Span, pairs_from_spans, ranked
from avebench.contracts.tagging import word_units
from avebench.data.predictions import read_predictions, write_predictions
from avebench.files.errors import AvebenchError

TEXT = "blue jeans 领 match"
SPANS = st.builds(
    lambda attribute, start, length: Span(attribute, start, min(start + length, len(TEXT))),
    st.sampled_from(["Color", "领型", ""]),
    st.integers(0, len(TEXT) - 1),
    st.integers(1, 5),
)
SCORE = st.floats(0, 1)
RANKINGS = st.dictionaries(
    st.sampled_from(["Color", "领型"]),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), st.integers(0, 3)).map(ranked),
)


def example(name: str, text: str = TEXT) -> Example:
    return Example(id=name, text=text, tokens=word_units(text))


@st.composite
def predictions(draw: st.DrawFn, *, with_pairs: bool = True) -> list[Prediction]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        spans = tuple(draw(st.lists(SPANS, max_size=3)))
        scored = spans and draw(st.booleans())
        pairs = pairs_from_spans(TEXT, spans)
        if with_pairs and draw(st.booleans()):
            pairs = {"Brand": frozenset(draw(st.sets(st.text(st.characters(codec="utf-8"), max_size=4))))}
        made.append(
            Prediction(
                id=f"p{number}",
                attributes=draw(st.dictionaries(st.sampled_from(["Color", "领型"]), SCORE)),
                pairs=pairs,
                spans=spans if not with_pairs or draw(st.booleans()) or scored else None,
                span_scores=tuple(draw(SCORE) for _ in spans) if scored else None,
                candidates=draw(st.none() | st.just((("Color", 0.07, spans), ("领型", 0.5, ())))),
                rankings=draw(st.none() | RANKINGS) if with_pairs else None,
            )
        )
    return made


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
@given(made=predictions())
def test_written_predictions_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, name: str, made: list[Prediction]
) -> None:
    path = tmp_path_factory.mktemp("written") / name
    write_predictions(path, made)
    gold = [example(one.id) for one in reversed(made)]
    assert read_predictions(path, gold) == made[::-1]


@given(made=predictions(with_pairs=False))
def test_the_text_free_form_holds_no_strings_and_restores_them(
    tmp_path_factory: pytest.TempPathFactory, made: list[Prediction]
) -> None:
    path = tmp_path_factory.mktemp("free") / "p.jsonl"
    write_predictions(path, made, text_free=True)
    assert "pairs" not in path.read_text()
    assert not any(word in path.read_text() for word in ("blue", "jeans", "match"))
    assert read_predictions(path, [example(one.id) for one in made]) == made


@given(made=predictions(with_pairs=False))
def test_the_text_free_form_keeps_intents(tmp_path_factory: pytest.TempPathFactory, made: list[Prediction]) -> None:
    path = tmp_path_factory.mktemp("free") / "p.jsonl"
    made = [replace(one, pairs={**one.pairs, INTENT: frozenset({"PlayMusic"})}) for one in made]
    write_predictions(path, made, text_free=True)
    assert not any(word in path.read_text() for word in ("blue", "jeans", "match"))
    assert read_predictions(path, [example(one.id) for one in made]) == made


def test_values_without_spans_are_left_out_of_the_text_free_form(tmp_path: Path) -> None:
    values = {"Color": frozenset({"navy"})}
    generated = Prediction("p", {"Color": 1.0}, values, rankings={"Color": {"navy": 1}})
    write_predictions(tmp_path / "p.jsonl", [generated], text_free=True)
    assert json.loads((tmp_path / "p.jsonl").read_text()) == {"id": "p", "attributes": {"Color": 1.0}}
    with pytest.raises(AvebenchError, match="neither 'spans' nor 'pairs'"):
        read_predictions(tmp_path / "p.jsonl", [example("p")])


def test_same_predictions_are_same_bytes(tmp_path: Path) -> None:
    made = [Prediction("p", {"a": 1.0}, {"a": frozenset({"x", "y", "z"})})]
    write_predictions(tmp_path / "one.gz", made)
    write_predictions(tmp_path / "two.gz", made)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AvebenchError, match="cannot be written"):
        write_predictions(tmp_path / "file" / "p.jsonl", [])


GOOD = {"id": "a", "attributes": {"Color": 0.9}, "spans": [{"attribute": "Color", "start": 0, "end": 4}]}
SPAN = GOOD["spans"][0]  # type: ignore[index]
FAULTS = {
    "truncated": (json.dumps(GOOD)[:40], r"line 2: not JSON, character \d+"),
    "array": ("[1]", "line 2: the line is an array"),
    "deep": ("[" * 100_000, "line 2: .*nested too deeply|line 2: not JSON"),
    "nan": ('{"id": "a", "attributes": {"Color": NaN}}', "line 2: NaN is not a JSON number"),
    "twice": ('{"id": "a", "id": "b"}', "line 2, field 'id': the key stands twice"),
    "unknown key": ({**GOOD, "span": []}, "field 'span': unknown key. Did you mean 'spans'"),
    "no id": ({"attributes": {}, "spans": []}, "field 'id': the key is missing"),
    "number as id": ({**GOOD, "id": 7}, "field 'id': a string is needed, not a number"),
    "attributes as empty list": ({**GOOD, "attributes": []}, "field 'attributes': an object"),
    "attributes as list": ({**GOOD, "attributes": ["Color"]}, "field 'attributes': an object"),
    "score as text": ({**GOOD, "attributes": {"Color": "high"}}, "field 'attributes.Color': a finite number"),
    "huge score": ({**GOOD, "attributes": {"Color": 10**400}}, "field 'attributes.Color': a finite number"),
    "endless number": ('{"id": "a", "attributes": {"x": 1' + "0" * 5000 + "}}", "line 2: not JSON"),
    "neither": ({"id": "a", "attributes": {}}, "field 'spans': neither 'spans' nor 'pairs'"),
    "outside": (
        {**GOOD, "spans": [{**SPAN, "end": 99}]},
        r"field 'spans\[0\]': \[0, 99\) is no range .* 18 characters",
    ),
    "negative": ({**GOOD, "spans": [SPAN, {**SPAN, "start": -1}]}, r"field 'spans\[1\]': \[-1, 4\)"),
    "empty span": ({**GOOD, "spans": [{**SPAN, "end": 0}]}, r"field 'spans\[0\]'"),
    "offset as text": (
        {**GOOD, "spans": [{**SPAN, "end": "4"}]},
        r"field 'spans\[0\].end': an offset is a whole number",
    ),
    "offset as boolean": ({**GOOD, "spans": [{**SPAN, "start": False}]}, r"field 'spans\[0\].start'"),
    "span without end": (
        {**GOOD, "spans": [{"attribute": "a", "start": 0}]},
        r"field 'spans\[0\].end': the key is missing",
    ),
    "typo in span": ({**GOOD, "spans": [{**SPAN, "atribute": "a"}]}, r"field 'spans\[0\].atribute': .*'attribute'"),
    "one score": ({**GOOD, "spans": [{**SPAN, "score": 1}, SPAN]}, "field 'spans': 1 of 2 spans have a score"),
    "value as text": ({**GOOD, "pairs": {"Color": "blue"}}, "field 'pairs.Color': a list of value strings"),
    "value as number": ({**GOOD, "pairs": {"Color": ["x", 3]}}, r"field 'pairs.Color\[1\]': a string is needed"),
    "half a pair": ('{"id": "a", "attributes": {}, "pairs": {"x": ["\\ud800"]}}', r"field 'pairs.x\[0\]': .*surrogate"),
    "candidate": ({**GOOD, "candidates": [{"attribute": "a", "spans": []}]}, r"field 'candidates\[0\].score'"),
    "ranking": ({**GOOD, "rankings": {"Color": ["blue"]}}, r"field 'rankings.Color': an object \{value: rank\}"),
    "rank": ({**GOOD, "rankings": {"Color": {"blue": 1.5}}}, "field 'rankings.Color.blue': a rank is a whole number"),
    "rank from 0": (
        {**GOOD, "rankings": {"Color": {"blue": 0}}},
        "field 'rankings.Color': values that have rank 0 or a better one: 1",
    ),
    "optimistic ranks": (
        {**GOOD, "rankings": {"Color": {"blue": 1, "red": 2, "navy": 2}}},
        "field 'rankings.Color': values that have rank 2 or a better one: 3",
    ),
    "unknown id": ({**GOOD, "id": "z"}, "field 'id': the id 'z' is not among the 3 gold examples"),
    "used twice": ({**GOOD, "id": "first"}, "field 'id': the id 'first' stands in line 1 already"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_names_file_line_and_field(tmp_path: Path, fault: str) -> None:
    line, message = FAULTS[fault]
    text = line if isinstance(line, str) else json.dumps(line)
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({**GOOD, "id": "first"}) + "\n" + text + "\n")
    with pytest.raises(AvebenchError, match=message) as caught:
        read_predictions(path, [example("first"), example("a"), example("b")])
    assert str(caught.value).startswith(f"{path}, line 2")


def test_missing_ids_are_counted_and_listed(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(GOOD) + "\n")
    gold = [example("a"), *(example(f"m{number}") for number in range(9))]
    with pytest.raises(
        AvebenchError, match=r"9 of 10 gold ids have no prediction: 'm0', 'm1', 'm2', 'm3', 'm4', \.\.\."
    ):
        read_predictions(path, gold)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", b"", "the file is empty"),
        ("p.jsonl", b'{"id": "a"\n\xff\n', "line 1: not JSON"),
        ("p.jsonl", b'\xff{"id": "a"}\n', "line 1: byte 1 is not UTF-8"),
        ("p.jsonl.gz", gzip.compress(b"x" * 1000 + b"\n", mtime=0)[:-12], "the gzip file is broken"),
        ("p.jsonl.gz", b'{"id": "a"}', "the gzip file is broken"),
        ("p.jsonl", None, "the file cannot be read"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AvebenchError, match=message) as caught:
        read_predictions(path, [example("a")])
    assert str(path) in str(caught.value)


def test_a_byte_order_mark_and_empty_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n")
    assert read_predictions(path, [example("a")])[0].pairs == {"Color": frozenset({"blue"})}


def test_gold_ids_must_differ(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match="use an id twice"):
        read_predictions(tmp_path / "p.jsonl", [example("a"), example("a")])
