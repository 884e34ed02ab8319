"""Made-up finished cells: a small data set whose words are hostile to a page, and what systems said of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

from avebench.contracts.examples import Prediction, Span, pairs_from_spans
from avebench.data.opening import open_dataset
from avebench.data.predictions import write_predictions
from avebench.scoring.evaluation import score_split
from avebench.store.results import Result, Store

COLOUR, KIND = "Colour <i>", 'Kind & "cut"'
CATEGORY = "<u>worn</u>"
LONG = "Donaudampfschifffahrt" * 12
TEXTS = {
    "<s>0": ("<script>alert(1)</script> red dress", {COLOUR: "red", KIND: "dress"}),
    "1": (f'a "blue" <b>coat</b> &amp; more {LONG}', {COLOUR: "blue", KIND: "coat"}),
    "2": ("红色 连衣裙 <img src=x onerror=alert(2)>", {COLOUR: "红色", KIND: "连衣裙"}),
    "3": ("in red", {COLOUR: "red"}),
}
"""Id -> text and the value of each attribute, which stands in the text once."""
ROWS = ("swept <b>& co", 'plain "row" [1]', "never run")
TABLE = f"""
title = "A <script>title</script> & more"
dataset = "jsonl"
metrics = ["tag_precision", "tag_recall", "tag_f1", "cls_f1"]
note = "A note with <b>markup</b>."
[[rows]]
label = "{ROWS[0]}"
model = "dictionary"
published = "journal-6/V-IRC"
[[rows]]
label = '{ROWS[1]}'
model = "dictionary"
options = {{ other = true }}
[[rows]]
label = "{ROWS[2]}"
model = "dictionary"
options = {{ never = true }}
published = "journal-6/+ARM"
"""
Words = Mapping[str, tuple[str, float]]
"""Word that a system finds -> (attribute, range score)."""


def write_data(folder: Path) -> Path:
    """Write the data set and return its folder; its three splits hold the same texts."""
    data = folder / "data"
    data.mkdir()
    lines = []
    for name, (text, values) in TEXTS.items():
        spans = [{"attribute": a, "start": text.index(v), "end": text.index(v) + len(v)} for a, v in values.items()]
        lines.append(json.dumps({"id": name, "text": text, "spans": spans, "category": CATEGORY}) + "\n")
    for split in ("train", "valid", "test"):
        (data / f"{split}.jsonl").write_text("".join(lines))
    return data


def predict(words: Words, *, swept: bool) -> list[Prediction]:
    """Return what a system says that finds the words whose score is above 0.5; with all candidates if it is `swept`."""
    found = []
    for name, (text, _) in TEXTS.items():
        candidates = [
            (attribute, score, (Span(attribute, text.index(word), text.index(word) + len(word)),))
            for word, (attribute, score) in words.items()
            if word in text
        ]
        kept = [one for one in candidates if one[1] > 0.5]
        spans = tuple(span for _, _, some in kept for span in some)
        attributes = {attribute: score for attribute, score, _ in kept}
        candidates_kept = tuple(candidates) if swept else None
        pairs = pairs_from_spans(text, spans)
        found.append(Prediction(name, attributes, pairs, spans, candidates=candidates_kept))
    return found


def result(**changes: object) -> Result:
    """Return the result of a cell in which nothing was found, with `changes`."""
    scores = {"examples": 4, "metrics": {}, "per_attribute": {}, "per_slice": {}}
    content: dict[str, object] = {
        "key": "0" * 64,
        "experiment": "mine",
        "row": ROWS[0],
        "model": "dictionary",
        "implementation": 1,
        "protocol": "native",
        "preset": None,
        "profile": "paper",
        "dataset": "jsonl",
        "fingerprint": "f" * 64,
        "dataset_options": {},
        "split": "test",
        "train_fraction": 1.0,
        "train_examples": 4,
        "repetition": 0,
        # Not exact as a number of a script, which has 53 bits.
        "seed": 2**62 + 1,
        "config": {},
        "weights": {},
        "chunk_scheme": "lenient",
        "scorer_version": 1,
        "scores": {**scores, "mean_selected_range": 1.0, "c_o": 50.0, "c_m": 20.0},
        "scores_extended": None,
        "validation": {},
        "selection": "tag_f1",
        "epochs": 1.0,
        "steps": 20,
        "best_step": 20,
        "history": [
            {"step": step, "epoch": 1.0, "losses": {"crf <b>": 9.0 / step}, "valid": {"tag_f1": 2.0 * step}}
            for step in (10, 20)
        ],
        "parameters": 1_500_000,
        "reader_notes": {},
        "truncated": 0,
        "seconds": {"train": 90.0, "predict": 0.5},
        "peak_memory": 2 * 10**9,
        "versions": {"python": "3"},
        "hardware": {"cpu": "<b>cpu</b>", "cores": 2},
        "revision": "a" * 40,
        "dirty": False,
        "started": 0.0,
        "finished": 86_400.0,
    }
    return Result.model_validate(content | changes)


def store_cell(out: Path, data: Path, predictions: Sequence[Prediction], **changes: object) -> Result:
    """Store a cell with its predictions under `out`, scored on the test split, and return its result."""
    dataset = open_dataset("jsonl", data, {})
    rule = SimpleNamespace(names=lambda example: ("unseen", f"category: {CATEGORY}"))
    scores = score_split(dataset.schema(), list(dataset.read("test")), predictions, rule)  # type: ignore[arg-type]
    options = dataset.options.model_dump(mode="json")
    same = {"fingerprint": dataset.fingerprint(), "dataset_options": options, "scores": scores.model_dump()}
    found = result(**same, **changes)
    store = Store(out)
    store.folder(found.key).mkdir(parents=True)
    write_predictions(store.folder(found.key) / "predictions.jsonl.gz", predictions)
    store.write(found)
    return found


ALL: Words = {"red": (COLOUR, 0.9), "dress": (KIND, 0.8), "blue": (COLOUR, 0.6), "coat": (KIND, 0.3)}
"""Of 7 gold values 4 are found (red twice, dress, blue) and coat below the threshold."""
WRONG: Words = {"red": (COLOUR, 0.9), "连衣裙": (COLOUR, 0.7), "more": (KIND, 0.9)}
"""Of 7 gold values red is found twice, one is taken for another attribute, and "more" is none."""


def write_store(folder: Path) -> tuple[Path, Path]:
    """Write data set, table and three cells, two repetitions of the first row and one of the second; (runs, data)."""
    data, out = write_data(folder), folder / "runs"
    (folder / "mine.toml").write_text(TABLE)
    fewer = {word: found for word, found in ALL.items() if word != "blue"}
    for repetition, words in enumerate((ALL, fewer)):
        store_cell(out, data, predict(words, swept=True), key=f"{repetition + 1}" * 64, repetition=repetition)
    store_cell(out, data, predict(WRONG, swept=False), key="3" * 64, row=ROWS[1])
    return out, data
