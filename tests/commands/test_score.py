import json
import random
import re
from pathlib import Path

import pytest
from inprocess import avebench_here
from seqeval.metrics import f1_score

from avebench.commands.score import report_table
from avebench.contracts.examples import Span
from avebench.data.conll import read_conll
from avebench.data.gold import read_gold
from avebench.files.errors import AvebenchError
from avebench.scoring.families import Counts
from avebench.scoring.metrics import METRICS
from avebench.scoring.prediction_files import file_format, score_file
from avebench.store.recorded import recorded_cells
from avebench.tables.render import render

GOLD = [
    {"id": "1", "text": "blue jeans", "spans": [{"attribute": "Color", "start": 0, "end": 4}]},
    {"id": "2", "text": "a plain mug"},
    {"id": "3", "text": "领 wide cut", "pairs": {"Neck": ["领"], "Cut": ["Wide  Cut"]}, "category": "tops"},
]
PREDICTED = [
    {"id": "3", "attributes": {"Cut": 0.8, "Neck": 0.4}, "pairs": {"Cut": ["wide cut"], "Neck": ["wide"]}},
    {"id": "2", "attributes": {}, "pairs": {}},
    {"id": "1", "attributes": {"Color": 1}, "spans": [{"attribute": "Color", "start": 0, "end": 4}]},
]


def lines(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_a_jsonl_file_is_scored(tmp_path: Path) -> None:
    report = score_file(lines(tmp_path / "p.jsonl", PREDICTED), lines(tmp_path / "gold.jsonl", GOLD))
    values = {name: metric and metric.value for name, metric in report.metrics.items()}
    assert values["tag_f1"] is None  # Two predictions have no spans.
    assert values["cls_f1"] == 100.0
    assert values["mae_accuracy"] == pytest.approx(200 / 3)
    assert values["string_f1"] == pytest.approx(100 / 3)  # Strings are compared as they are: "Wide  Cut" is another.
    assert report.examples == 3
    assert report.mean_selected_range == 1.0
    assert report.output_range == pytest.approx((7 * 8 / 3, 3 + 3 * 8 / 3))  # N = 3 attributes, 2 + 3 + 3 words
    assert report.per_attribute["Color"] == Counts(1, 1, 1)


def test_spans_of_every_prediction_give_tag_f1(tmp_path: Path) -> None:
    gold = lines(tmp_path / "gold.jsonl", GOLD[:2])
    wrong = {"id": "2", "attributes": {"Type": 0.7}, "spans": [{"attribute": "Type", "start": 8, "end": 11}]}
    report = score_file(
        lines(tmp_path / "p.jsonl", [PREDICTED[2], wrong]), gold, slices=lambda one: [f"length {len(one.tokens)}"]
    )
    assert report.metrics["tag_f1"] is not None
    assert report.metrics["tag_f1"].value == pytest.approx(200 / 3)
    assert report.per_slice == {"length 2": (1, Counts(1, 1, 1)), "length 3": (1, Counts(0, 1, 0))}


def test_the_report_is_plain_json_and_a_table(tmp_path: Path) -> None:
    report = score_file(lines(tmp_path / "p.jsonl", PREDICTED), lines(tmp_path / "gold.jsonl", GOLD))
    stored = json.loads(json.dumps(report.to_json()))
    assert stored["metrics"]["tag_f1"] is None
    assert stored["metrics"]["cls_f1"] == {"value": 100.0, "tp": 3, "predicted": 3, "gold": 3}
    assert set(stored["metrics"]) == set(METRICS)
    markdown = render(report_table(report), "md")
    assert re.search(r"mae\\_accuracy *\| *2 *\| *3 *\| *3 *\| *66\.67 *\|", markdown)
    assert "Not available for this file: tag" in markdown


def test_sources_of_the_attributes(tmp_path: Path) -> None:
    gold, found = lines(tmp_path / "gold.jsonl", GOLD), lines(tmp_path / "p.jsonl", PREDICTED)
    assert score_file(found, gold, cls_source="tags").metrics["cls_f1"] is None
    derived = score_file(found, gold, cls_source="derived").metrics["cls_f1"]
    assert derived is not None
    assert derived.value == 100.0


def test_gold_is_needed(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match="--gold FILE or --dataset NAME"):
        score_file(lines(tmp_path / "p.jsonl", PREDICTED), None)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.jsonl", "", "jsonl"),
        ("p.tsv", "", "conll"),
        ("p.txt", '\n{"id": "a"}\n', "jsonl"),
        ("p.txt", "{ O O\n", "conll"),
        ("p", "blue\tB-a\tO\n", "conll"),
    ],
)
def test_formats_are_told_apart(tmp_path: Path, name: str, content: str, expected: str) -> None:
    (tmp_path / name).write_text(content)
    assert file_format(tmp_path / name) == expected


CONLL = "-DOCSTART- -X- O\n\nblue B-a B-a\njeans O I-b\n\n\nred　 B-a O\nwine I-a [PAD]"


@pytest.mark.parametrize("separator", [" ", "   ", "\t"])
@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_columns_in_one_file(tmp_path: Path, separator: str, ending: str) -> None:
    path = tmp_path / "tags.conll"
    path.write_text(CONLL.replace(" ", separator) + ending, encoding="utf-8")
    tagged = read_conll(path)
    assert tagged.gold == [["B-a", "O"], ["B-a", "I-a"]]
    assert tagged.predicted == [["B-a", "I-b"], ["O", "[PAD]"]]
    report = score_file(path, None)
    assert report.metrics["tag_f1"] is not None
    assert report.metrics["cls_f1"] is not None
    assert (report.metrics["tag_f1"].tp, report.metrics["tag_f1"].predicted, report.metrics["tag_f1"].gold) == (1, 2, 2)
    assert (report.metrics["cls_f1"].tp, report.metrics["cls_f1"].predicted, report.metrics["cls_f1"].gold) == (1, 2, 2)
    assert report.metrics["string_f1"] is None
    strict = score_file(path, None, "strict").metrics["tag_f1"]
    assert strict is not None
    assert strict.predicted == 1


def test_two_files_score_as_one_and_as_seqeval(tmp_path: Path) -> None:
    generator = random.Random(3)
    gold, predicted = (
        [[generator.choice(["O", "B-a", "I-a", "B-b"]) for _ in range(7)] for _ in range(40)] for _ in "gp"
    )
    rows = [[("w", *tags) for tags in zip(g, p, strict=True)] for g, p in zip(gold, predicted, strict=True)]
    for name, columns in (("both", (0, 1, 2)), ("gold", (0, 1)), ("mine", (0, 2))):
        text = "\n\n".join("\n".join("\t".join(row[c] for c in columns) for row in sentence) for sentence in rows)
        (tmp_path / name).write_text(text)
    one = score_file(tmp_path / "both", None)
    two = score_file(tmp_path / "mine", tmp_path / "gold")
    assert one.metrics == two.metrics
    assert one.metrics["tag_f1"] is not None
    assert one.metrics["tag_f1"].value == pytest.approx(100 * f1_score(gold, predicted))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "blue B-a O\njeans O\n",
            "line 2: 2 columns separated by spaces, 3 are needed: token, gold tag, predicted tag",
        ),
        ("blue\tB-a\tO\njeans O O\n", "line 2: 1 columns separated by tabs"),
        ("blue\tB-a\tO\n\tO\tO\n", "line 2: the column 'token' is empty"),
        ("blue O B-a\njeans O X-a\n", "line 2, field 'predicted tag': 'X-a' is no BIO tag"),
        ("blue B- O\n", "line 1, field 'gold tag': 'B-' is no BIO tag"),
        ("blue [PAD] O\n", "line 1, field 'gold tag'"),
        ("\n\n", "the file holds no sentence"),
    ],
)
def test_broken_columns(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tags.conll"
    path.write_text(text)
    with pytest.raises(AvebenchError, match=message) as caught:
        score_file(path, None)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        ("a O\nc O\n\nd O\n", "line 2, field 'token': 'c' stands where .*gold.conll, line 2, has 'b'"),
        ("a O\n\nd O\n", "line 1: the sentence ends before .*gold.conll, line 2, 'b'"),
        ("a O\nb O\nx O\n\nd O\n", "line 3, field 'token': 'x' stands after the end"),
        ("a O\nb O\n", "the sentence of .*gold.conll, line 4, and all after it are missing"),
        ("a O\nb O\n\nd O\n\ne O\n", "line 6: a sentence more than in"),
    ],
)
def test_two_files_must_hold_the_same_tokens(tmp_path: Path, mine: str, message: str) -> None:
    (tmp_path / "gold.conll").write_text("a B-x\nb I-x\n\nd O\n")
    (tmp_path / "mine.conll").write_text(mine)
    with pytest.raises(AvebenchError, match=message):
        score_file(tmp_path / "mine.conll", tmp_path / "gold.conll")


def test_columns_cannot_be_matched_with_examples(tmp_path: Path) -> None:
    (tmp_path / "mine.conll").write_text("a O O\n")
    with pytest.raises(AvebenchError, match="cannot be matched with examples"):
        score_file(tmp_path / "mine.conll", [])


def test_gold_examples_are_read_as_written(tmp_path: Path) -> None:
    first = {**GOLD[0], "tokens": [[0, 4], [5, 10]], "product_id": "p", "image": "x.jpg", "category": None}
    one, two, three = read_gold(lines(tmp_path / "gold.jsonl", [first, *GOLD[1:]]))
    assert one.spans == (Span("Color", 0, 4),)
    assert one.pairs == {"Color": frozenset({"blue"})}
    assert one.tokens == ((0, 4), (5, 10))
    assert (one.product_id, two.product_id, three.category) == ("p", "2", "tops")
    assert len(read_gold(tmp_path / "gold.jsonl", "character")[1].tokens) == 11


SPAN = {"attribute": "a", "start": 0, "end": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "x"}, "field 'id': the key is missing"),
        ({"id": "1", "text": " "}, "field 'text': the string is empty"),
        ({"id": "1", "text": "x"}, "field 'id': the id '1' stands in line 1 already"),
        ({"id": "2", "text": "x", "span": []}, "field 'span': unknown key. Did you mean 'spans'"),
        ({"id": "2", "text": "x", "spans": [{**SPAN, "end": 2}]}, r"field 'spans\[0\]': \[0, 2\) is no range"),
        ({"id": "2", "text": "x", "spans": [SPAN, SPAN]}, r"field 'spans\[1\]': the same span stands twice"),
        ({"id": "2", "text": "x", "spans": [{**SPAN, "attribute": ""}]}, r"field 'spans\[0\].attribute'"),
        ({"id": "2", "text": "xy", "tokens": [[0, 2], [1, 2]]}, r"field 'tokens\[1\]': it starts at 1"),
        ({"id": "2", "text": "xy", "tokens": [[0]]}, r"field 'tokens\[0\]': each token is"),
        ({"id": "2", "text": "xy", "pairs": {"a": []}}, "field 'pairs.a'"),
        (
            {"id": "2", "text": "xy", "spans": [SPAN], "pairs": {"b": ["x"]}},
            "field 'pairs': the attribute 'a' has a span",
        ),
    ],
)
def test_broken_gold(tmp_path: Path, record: dict[str, object], message: str) -> None:
    path = lines(tmp_path / "gold.jsonl", [GOLD[0], record])
    with pytest.raises(AvebenchError, match=message) as caught:
        read_gold(path)
    assert str(caught.value).startswith(f"{path}, line 2")


def test_values_of_tag_columns_are_joined_tokens_or_the_pieces_of_the_released_code(tmp_path: Path) -> None:
    """Gold: Color {navy, sky blue}, Kind {dress}. The prediction is the same but finds dress as an orphan I I."""
    tokens = ["navy", "and", "sky", "##blue", "dr", "##ess"]
    gold = ["B-Color", "O", "B-Color", "I-Color", "B-Kind", "I-Kind"]
    found = ["B-Color", "O", "B-Color", "I-Color", "I-Kind", "I-Kind"]
    path = tmp_path / "tags.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in zip(tokens, gold, found, strict=True)))
    # The orphan of Kind is a chunk, so all 3 values are right; as released its first piece is skipped: "##ess".
    joined, released = score_file(path, None).metrics, score_file(path, None, released=True).metrics
    for metrics, right, by_attribute in ((joined, 3, 2), (released, 2, 1)):
        accuracy, weighed = metrics["mae_accuracy"], metrics["mae_accuracy_by_attribute"]
        assert accuracy is not None and (accuracy.tp, accuracy.gold) == (right, 3)
        assert weighed is not None and (weighed.tp, weighed.gold) == (by_attribute, 2)
    done = avebench_here(tmp_path, "score", "tags.tsv", "--values", "released", "--format", "csv")
    assert done.returncode == 0 and "mae_accuracy,,,native,66.66" in done.stdout
    (tmp_path / "p.jsonl").write_text("{}\n")
    refused = avebench_here(tmp_path, "score", "p.jsonl", "--gold", "p.jsonl", "--values", "released")
    assert refused.returncode == 2 and "--values released" in refused.stderr


def test_recorded_predictions_are_scored_as_they_were(tmp_path: Path) -> None:
    results = Path(__file__).parents[2] / "results"
    folder = results / "table6/demo"
    done = avebench_here(tmp_path, "score", str(folder), "--row", "+TEM", "--repetition", "2", "--format", "json")
    assert done.returncode == 0, done.stderr
    scored = {
        row["label"]: row["measured"]["value"]["value"] for row in json.loads(done.stdout)["rows"] if not row["section"]
    }
    (recorded,) = [cell.result() for cell in recorded_cells(folder) if (cell.row, cell.repetition) == ("+TEM", 2)]
    assert scored.items() >= {name: metric.value for name, metric in recorded.scores.metrics.items()}.items()
    for given, message in (
        ([], "holds the rows +ARM, +TEM, DRAM"),
        (["--row", "DRAN"], "Name one of them"),
        (["--row", "DRAM", "--repetition", "9"], "recorded of DRAM are 0, 1, 2"),
    ):
        refused = avebench_here(tmp_path, "score", str(folder), *given)
        assert refused.returncode == 2 and message in refused.stderr
    empty = avebench_here(tmp_path, "score", str(results), "--row", "DRAM")
    assert empty.returncode == 2 and "holds no recorded results" in empty.stderr
