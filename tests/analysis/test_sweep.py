"""Cutting stored candidates at a threshold is the same as decoding again with it, in every count."""

import random
from pathlib import Path

import pytest
import torch

from avebench.analysis.sweep import cut, sweep
from avebench.contracts.examples import AttributeSchema, Example, Prediction, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.data.predictions import read_predictions, write_predictions
from avebench.files.errors import AvebenchError
from avebench.models.dram.dram import Config, Model
from avebench.planning.experiment_files import open_experiment
from avebench.scoring.evaluation import validation_metrics
from avebench.scoring.metrics import score
from avebench.training.loop import train

SCHEMA = AttributeSchema(("color", "kind", "length"))
WORDS = {"color": ("blue", "red", "sun"), "kind": ("dress", "dresses", "12"), "length": ("long", "1")}
THRESHOLDS = open_experiment("figure6").thresholds


def _sentence(name: str, draw: random.Random) -> Example:
    """Return words of the attributes in any order; every fourth one is no value this time, as a reader cannot know."""
    words = ["a", *(draw.choice(WORDS[attribute]) for attribute in SCHEMA.attributes if draw.random() < 0.6)]
    draw.shuffle(words)
    text, spans = " ".join(words), []
    for attribute, values in WORDS.items():
        for start, end in word_units(text):
            if text[start:end] in values and draw.random() < 0.75:
                spans.append(Span(attribute, start, end))
    return Example(name, text, word_units(text), tuple(spans), pairs_from_spans(text, spans))


@pytest.fixture(scope="module")
def trained(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, list[Example]]:
    """Return a system that has learnt something, but is sure of little, and examples that it has not seen."""
    draw = random.Random(0)
    learnt, unseen = ([_sentence(f"{split}{number}", draw) for number in range(40)] for split in ("a", "b"))
    torch.manual_seed(0)
    training = {
        "batch_size": 8,
        "steps": 100,
        "epochs": None,
        "validate_every": 100,
        "learning_rates": {"default": 5e-3},
        "selection": "last",
    }
    options = {"arm": "prototype", "warmup_share": 0.0, "training_range": "union", "range_weight": 1.0}
    config = Config.model_validate({"text_encoder": str(tiny_bert), **options, "training": training})
    tagger = Model(config, SCHEMA, Model.learn_vocabulary(config, SCHEMA, learnt))
    train(
        tagger,
        learnt,
        unseen,
        config=config.training,
        repetition=0,
        folder=tmp_path_factory.mktemp("training"),
        score=lambda predictions: validation_metrics(unseen, predictions),
    )
    return tagger.eval(), unseen


def test_a_sweep_equals_decoding_at_each_threshold(trained: tuple[Model, list[Example]], tmp_path: Path) -> None:
    tagger, gold = trained
    # As a run stores them, without texts: what the sweep reads is a file.
    write_predictions(tmp_path / "stored.jsonl.gz", tagger.predict(gold), text_free=True)
    stored = read_predictions(tmp_path / "stored.jsonl.gz", gold)
    own = tagger.config
    seen = set()
    for threshold, swept in zip(THRESHOLDS, sweep(gold, stored, THRESHOLDS), strict=True):
        tagger.config = own.model_copy(update={"range_threshold": threshold})
        decoded = tagger.predict(gold)
        for example, one, again in zip(gold, stored, decoded, strict=True):
            kept = cut(example, one, threshold)
            assert (kept.attributes, kept.spans, kept.pairs) == (again.attributes, again.spans, again.pairs)
        scores = score(gold, decoded)
        assert swept.counts == scores.totals
        assert swept.mean_selected_range == scores.mean_selected_range
        f1 = scores.metric("tag_f1")
        assert f1 is not None and swept.value("tag_f1") == f1.value
        seen.add((f1.tp, f1.predicted))
    tagger.config = own
    assert len(seen) > 3, "the thresholds select the same, so nothing was compared"


def test_without_candidates_there_is_nothing_to_cut() -> None:
    example = Example("x", "a", ((0, 1),))
    with pytest.raises(AvebenchError, match="'x' has no candidates: its system has no range module"):
        sweep([example], [Prediction("x", {}, {}, ())], [0.5])
