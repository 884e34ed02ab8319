"""What every registered model must do, whatever it is. A new model needs one entry in `OPTIONS`.

The device is that of `$AVEBENCH_TEST_DEVICE` (`make gpu`), by default the CPU.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parrot import Parrot
from PIL import Image
from safetensors.torch import load_file, save_file

from avebench.contracts.examples import (
    AttributeSchema,
    Example,
    Picture,
    Prediction,
    Span,
    gold_attributes,
    pairs_from_spans,
)
from avebench.contracts.explanation import Explains
from avebench.contracts.model import Model
from avebench.contracts.registry import plugin, plugins
from avebench.contracts.tagging import word_units
from avebench.data.predictions import explanation_record
from avebench.nn.completions.asker import Asker
from avebench.nn.completions.asking_model import AskingModel
from avebench.nn.completions.cache import AnswerCache
from avebench.nn.completions.contract import Means
from avebench.nn.neural import NeuralModel, move, repeat_exactly
from avebench.scoring.evaluation import validation_metrics
from avebench.training.checkpoint import load_model_tensors, model_tensors
from avebench.training.loop import train as fit

DEVICE = os.environ.get("AVEBENCH_TEST_DEVICE", "cpu")
TOLERANCE = 1e-5 if DEVICE == "cpu" else 1e-4
SCHEMA = AttributeSchema(("color", "kind", "length"))
TRAINING = {"batch_size": 4, "steps": 1, "epochs": None, "learning_rates": {"default": 1e-2}}
BERT = {"text_encoder": "tiny_bert", "training": TRAINING}
PICTURES = {**BERT, "image_encoder": "tiny_resnet", "image_size": 8, "visual_gamma": 1.0}
FROZEN = {**PICTURES, "image_tuned": False}
ARM = {"arm": "prototype", "range_threshold": 0.4, "range_weight": 1.0}
"""The threshold lies below the share of gold attributes, where the classifier starts: there are pairs at once."""
RELEASED = {"labelling": "pieces", "blank_tag": True, "pad_mask": "concatenate", "patch_layout": "reshape"}
RELEASED |= {"continuation_tag": True, "text_type": 1, "tem_projections": "frozen", "crf_reduction": "sum"}
SMALL = {"embedding_size": 16, "hidden_size": 16, "training": TRAINING}
LSTM = {"encoder": "lstm", "embedding": 16, "lstm_hidden": 16, "min_count": 1, "training": TRAINING}
SEES = {"image_encoder": "tiny_resnet", "image_size": 8}
CRF = {"decoder": "bilstm-crf", "loss_reduction": "mean"}
MAE_MODEL = {"embedding": 16, "filters": 32, "size": 16, "picture_inner": 16, "min_count": 1}
MAE_MODEL["training"] = {**TRAINING, "selection": "hits_1"}
ADATAG = {"embedding": 16, "hidden": 16, "min_count": 1, "dropout": 0.1, "training": TRAINING}
OPENTAG = {"embedding": 16, "hidden": 16, "attention_inner": 16, "min_count": 1, "dropout": 0.1}
OPENTAG["training"] = TRAINING
WRITES = {"longest_answer": 40, "training": TRAINING}
STRUCTURE = {"long_length": 40, "radius": 8, "distance": 3}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "adatag": [
        {**ADATAG, "text_encoder": "tiny_bert"},
        {**ADATAG, "attribute_vectors": "random", "tags": "bio"},
        {**ADATAG, "attribute_vectors": "uncontextual", "vectors": "tiny_vectors"},
    ],
    "attn-birnn": [SMALL, {**SMALL, "padded_length": None, "update": "separate", "digits": "keep"}],
    "aveqa": [
        BERT,
        {**BERT, "head": "sigmoid", "distillation": 0.0},
        {**BERT, "text_encoder": "tiny_roberta", "pooling": "mean"},
    ],
    "dictionary": [{}],
    "dram": [
        BERT,
        {"text_encoder": "tiny_roberta", "pooling": "mean", "training": TRAINING},
        {**PICTURES, "fusion": "concatenate", "self_attention_layer": True},
        {**PICTURES, "fusion": "concatenate", "patch_position": "own", "text_encoder": "tiny_roberta"},
        {**FROZEN, **ARM, "fusion": "concatenate", "patch_position": "before"},
        {**FROZEN, "fusion": "tem", "tem_softmax": True, "tem_output": "separate", "tem_initialisation": "linear"},
        {**PICTURES, **ARM, "fusion": "tem"},
        {**FROZEN, **ARM, "fusion": "tem", "arm": "dynet", "tem_input": "words", "training_range": "union"},
        {**FROZEN, **ARM, "fusion": "tem", "arm": "bert"},
        {**BERT, **ARM, "range_gradient": "soft"},
        {**BERT, **ARM, "arm": "bert", "name_encoder": "shared", "fusion": "tem-text", "range_feature": "last-layer"},
        {**FROZEN, **RELEASED, "fusion": "concatenate"},
        {**FROZEN, **RELEASED, **ARM, "fusion": "tem"},
    ],
    "mae-model": [
        {**MAE_MODEL, **SEES},
        {**MAE_MODEL, **SEES, "fusion": "gmu", "loss": "hinge", "text_dropout": 0.1, "picture_dropout": 0.1},
        {**MAE_MODEL, "modality": "text", "windows": [3, 5], "vectors": "tiny_vectors"},
        {**MAE_MODEL, **SEES, "modality": "picture", "size": 64, "picture_inner": 64},
    ],
    "most-common-value": [{}],
    "joint-bert": [BERT, {**BERT, "crf": True}, {"text_encoder": "tiny_roberta", "training": TRAINING}],
    "rnn-lstm": [SMALL, {**SMALL, "sentence": "eos", "reduction": "sum", "update": "separate"}],
    "slot-gated": [
        {"hidden_size": 16, "training": TRAINING},
        {"hidden_size": 16, "attention": "intent", "training": TRAINING},
        {"hidden_size": 16, "masked": True, "update": "joint", "reduction": "token", "training": TRAINING},
    ],
    "extractgpt": [
        {"shots": 8},
        {"shots": 8, "prompt": "list", "mode": "constrained", "ensemble": 3, "repair": True},
    ],
    "jave": [
        BERT,
        {**BERT, "text_encoder": "tiny_roberta", "text_tuned": True, "pooling": "mean", "attention_norm": "softmax"},
        LSTM,
        {**LSTM, "label_injection": False, "kl_weight": 0.0, "specials": False, "lstm_layers": 1},
        {**BERT, "attribute_task": False, "kl_positions": "units"},
        {**BERT, **CRF},
        {**LSTM, **CRF, "attribute_task": False},
    ],
    "joint-ave": [
        {"generator": "tiny_t5", **WRITES},
        {"generator": "tiny_bart", "constrained": True, "beams": 2, "values": "free", **WRITES},
        {"generator": "tiny_t5", "target": "places", **WRITES},
        {"generator": "tiny_bart", "target": "places", **WRITES},
    ],
    "joint-ave-given": [
        {"generator": "tiny_t5", **WRITES},
        {"generator": "tiny_bart", "constrained": True, **WRITES},
    ],
    "m-jave": [
        {**BERT, **SEES},
        {**LSTM, **SEES, "attention_norm": "softmax", "image_tuned": True},
        {**BERT, **SEES, "global_images": "open", "regional_images": "open"},
        {**BERT, **SEES, "regional_images": "none", "kl_weight": 0.0},
        {**LSTM, **SEES, "attribute_task": False},
        {**BERT, "global_images": "none"},
        {**BERT, **SEES, **CRF, "text_tuned": True, "image_tuned": True},
    ],
    "maveqa": [
        {**BERT, **STRUCTURE, "values": "all"},
        {**BERT, **STRUCTURE, "values": "all", "hard": True, "pooling": "mean"},
        {**BERT, **STRUCTURE, "values": "all", "text_encoder": "tiny_roberta", "radius": 2},
        {**BERT, "encoder": "bert", "values": "all"},
    ],
    "opentag": [
        OPENTAG,
        {**OPENTAG, "system": "bilstm-crf"},
        {**OPENTAG, "vectors": "tiny_vectors"},
        {**OPENTAG, "vectors": "tiny_vectors", "vectors_tuned": False, "system": "bilstm-crf"},
    ],
    "smartave": [
        {**BERT, **STRUCTURE},
        {**BERT, **STRUCTURE, "text_encoder": "tiny_roberta", "radius": 2, "pooling": "mean"},
    ],
    "suopentag": [
        {**BERT, "hidden": 16},
        {**BERT, "hidden": 16, "text_encoder": "tiny_roberta", "text_tuned": False},
    ],
}
"""Options of small variants by model; `tiny_...` stand for the folders of the fixtures."""
CASES = [(name, number) for name in plugins("models") for number in range(max(len(OPTIONS.get(name, [])), 1))]
TITLES = (
    "a *red/color* *sundress/kind* .",
    "*long/length* *blue/color* *dress/kind*",
    "*blue/color* - *red/color* *dresses/kind*",
    "a *long/length* *dress/kind* a *blue/color* *sundress/kind*",
    "a a a",
    "*12/length* *dress/kind* - *2/length*",
    "*sun red/color* *sundress/kind*",
    "",
)


def parse(number: int, title: str) -> Example:
    """Return the example of a title whose values are written `*value/attribute*`."""
    text, spans = "", []
    for part, marked in enumerate(title.split("*")):
        value, _, attribute = marked.partition("/")
        if part % 2:
            spans.append(Span(attribute, len(text), len(text) + len(value)))
        text += value
    picture = None if number == 1 else Picture(f"p{number}", lambda: Image.new("RGB", (9, 7), (30 * number, 90, 200)))
    pairs = pairs_from_spans(text, spans)
    return Example(f"e{number}", text, word_units(text), tuple(spans), pairs, picture=picture)


EXAMPLES = [parse(number, title) for number, title in enumerate(TITLES)]


def ranks(model: Model) -> bool:
    """Return whether the model ranks values of the gold attributes, which alone it may be asked for."""
    card: Any = sys.modules[type(model).__module__].CARD  # type: ignore[attr-defined]  # Every plug-in has one.
    return bool(card.protocol == "oracle")


def shown_to(model: Model) -> list[Example]:
    """Return the eight examples as the harness shows them to the model."""
    if not ranks(model):
        return EXAMPLES
    return [replace(example, asked=tuple(sorted(gold_attributes(example)))) for example in EXAMPLES]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def build(request: pytest.FixtureRequest) -> Any:
    """Return a function that builds the model of the case from a seed."""
    name, number = request.param
    if name not in OPTIONS:
        pytest.fail(f"The model '{name}' is registered but has no entry in OPTIONS, so that nothing checks it.")
    module = plugin("models", name).load()
    options = {
        key: str(request.getfixturevalue(value)) if isinstance(value, str) and value.startswith("tiny_") else value
        for key, value in OPTIONS[name][number].items()
    }
    config = module.Config(**options)

    def make(seed: int = 0) -> Model:
        torch.manual_seed(seed)
        vocabulary = json.loads(json.dumps(module.Model.learn_vocabulary(config, SCHEMA, EXAMPLES)))
        model: Model = module.Model(config, SCHEMA, vocabulary)
        if isinstance(model, AskingModel):
            model.asker = Asker(Parrot(), Means(), AnswerCache(request.getfixturevalue("tmp_path") / "answers"))
        return model.to(DEVICE) if isinstance(model, NeuralModel) else model

    return make


def batch_of(model: NeuralModel, examples: list[Example]) -> dict[str, Any]:
    return move(model.collate([model.encode(example) for example in examples]), torch.device(DEVICE))


def train(model: Model, steps: int, fits: Callable[[Model], bool] = lambda model: False) -> None:
    """Fit the eight examples with Adam in two batches if there is anything to fit; the rate falls in the last third.

    Once in fifty steps `fits` says whether that is enough.
    """
    if not isinstance(model, NeuralModel):
        return
    repeat_exactly(torch.device(DEVICE))
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(
        [{"params": group, "lr": 5e-3} for group in model.parameter_groups().values()], betas=(0.9, 0.99)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 3 * (1 - step / steps)))
    encoded = [model.encode(example) for example in shown_to(model)]
    model.train()
    for step in range(steps):
        batch = move(model.collate(encoded[step % 2 :: 2]), torch.device(DEVICE))
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49 and fits(model):
            return


def gold(examples: list[Example]) -> list[set[Span]]:
    return [set(example.spans) for example in examples]


def spans(predictions: list[Prediction]) -> list[set[Span]]:
    return [set(prediction.spans or ()) for prediction in predictions]


def learnable(model: Model) -> list[Example]:
    """Return the examples with what the model can say of them: with one span per attribute, the first."""
    if getattr(model.config, "head", "") != "span":
        return EXAMPLES
    kept = [tuple({one.attribute: one for one in reversed(example.spans)}.values()) for example in EXAMPLES]
    return [
        replace(example, spans=some, pairs=pairs_from_spans(example.text, some))
        for example, some in zip(EXAMPLES, kept, strict=True)
    ]


def fits(model: Model) -> bool:
    """Return whether the model finds the spans and attributes of the eight examples; of ranked values, a gold one."""
    predictions, examples = model.predict(shown_to(model)), learnable(model)
    if ranks(model):
        return all(
            one.spans is None
            and one.pairs.keys() == example.pairs.keys()
            and all(len(values) == 1 and values <= example.pairs[name] for name, values in one.pairs.items())
            for one, example in zip(predictions, EXAMPLES, strict=True)
        )
    found = [set(prediction.attributes) for prediction in predictions]
    return spans(predictions) == gold(examples) and found == [set(example.pairs) for example in examples]


def test_overfits_eight_examples(build: Any) -> None:
    if ranks(build()) and not isinstance(build(), NeuralModel):
        pytest.skip("it reads no product and says the same of all")
    # Rounding decides whether a start gets there within the steps: of three, each with more of them, one must.
    for seed, steps in enumerate((400, 700, 1000)):
        model = build(seed)
        train(model, steps, fits)
        if fits(model):
            break
    if ranks(model):
        assert fits(model)
        return
    predictions, examples = model.predict(EXAMPLES), learnable(model)
    assert spans(predictions) == gold(examples)
    for example, prediction in zip(examples, predictions, strict=True):
        assert prediction.id == example.id
        assert dict(prediction.pairs) == dict(example.pairs)
        assert set(prediction.attributes) == set(example.pairs)
        assert all(0 <= score <= 1 for score in prediction.attributes.values())


def test_equal_seeds_give_equal_models(build: Any) -> None:
    first, second = build(3), build(3)
    train(first, 6)
    train(second, 6)
    assert first.predict(EXAMPLES) == second.predict(EXAMPLES)
    if isinstance(first, NeuralModel):
        for (name, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
            assert torch.equal(one, other), name


def test_reloaded_weights_give_equal_predictions(build: Any, tmp_path: Path) -> None:
    model, fresh = build(0), build(7)
    train(model, 40)
    if isinstance(model, NeuralModel):
        save_file(model_tensors(model), tmp_path / "weights.safetensors")
        assert isinstance(fresh, NeuralModel)
        load_model_tensors(fresh, load_file(tmp_path / "weights.safetensors"))
    assert fresh.predict(EXAMPLES) == model.predict(EXAMPLES)


class KilledError(Exception):
    """Stands for the end of a process."""


def test_a_killed_training_continues_to_the_same_bits(build: Any, tmp_path: Path) -> None:
    def run(folder: Path, killed_at: int | None) -> Model:
        model = build()
        config = model.config.training.model_copy(update={"steps": 6, "epochs": None, "validate_every": 2})
        validations = []

        def score(predictions: list[Prediction]) -> dict[str, float]:
            validations.append(predictions)
            if len(validations) == killed_at:
                raise KilledError
            return validation_metrics(EXAMPLES, predictions)

        fit(model, EXAMPLES, EXAMPLES, config=config, repetition=0, folder=folder, score=score, device=DEVICE)
        return model

    model = build()
    if not isinstance(model, NeuralModel):
        pytest.skip("the loop does not train it")
    layers = [module for module in model.modules() if isinstance(module, torch.nn.LSTM) and module.dropout]
    if DEVICE != "cpu" and layers:
        pytest.skip("cuDNN keeps the state of the dropout between LSTM layers to itself")
    whole = run(tmp_path / "whole", None)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", 3)
    resumed = run(tmp_path / "killed", None)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_half_precision_computes_the_same_losses_roughly(build: Any) -> None:
    model = build()
    if isinstance(model, NeuralModel):
        train(model, 20)
        model.eval()
        batch = batch_of(model, EXAMPLES)
        torch.manual_seed(0)  # What a loss draws is the same in both.
        expected = model(batch)
        torch.manual_seed(0)
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            found = model(batch)
        for name, loss in found.items():
            assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected[name].item(), rel=0.1, abs=0.1)
        model.train()  # The LSTM of cuDNN has gradients in training mode alone.
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            sum(model(batch).values()).backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert gradients and all(gradient.isfinite().all() for gradient in gradients)


def assert_close(found: list[Prediction], expected: list[Prediction]) -> None:
    """Compare predictions; scores may differ in their last digits, as sums over matrices of another shape do."""
    for one, other in zip(found, expected, strict=True):
        assert (one.id, one.spans, one.pairs) == (other.id, other.spans, other.pairs)
        assert dict(one.attributes) == pytest.approx(dict(other.attributes), abs=TOLERANCE)
        assert (one.candidates is None) == (other.candidates is None)
        for mine, theirs in zip(one.candidates or (), other.candidates or (), strict=True):
            assert (mine[0], mine[2]) == (theirs[0], theirs[2])
            assert mine[1] == pytest.approx(theirs[1], abs=TOLERANCE)


def test_batches_do_not_change_predictions(build: Any) -> None:
    model = build()
    train(model, 40)
    if isinstance(model, NeuralModel):
        model.eval()
    together = model.predict(EXAMPLES)
    assert_close([model.predict([example])[0] for example in EXAMPLES], together)
    assert_close(model.predict(EXAMPLES[::-1]), together[::-1])
    assert model.predict([]) == []


def test_an_explanation_is_that_of_the_prediction(build: Any) -> None:
    model = build()
    if not isinstance(model, Explains):
        pytest.skip("it does not explain itself")
    long = Example("long", "red " * 40, word_units("red " * 40), picture=EXAMPLES[0].picture)
    for example in [*EXAMPLES, long]:
        training = model.training
        found = model.explain(example)
        assert model.training is training
        model.eval()
        assert_close([found.prediction], model.predict([example]))
        tagged = zip(example.tokens, found.tags(), strict=True)
        begun = {(start, tag[2:]) for (start, _), tags in tagged for tag in tags if tag.startswith("B-")}
        assert begun == {(span.start, span.attribute) for span in found.prediction.spans or ()}
        selected = {name for name, score in found.ranges.items() if score > (found.threshold or 0)}
        if found.threshold is not None and not found.decides:
            assert selected == set(found.prediction.attributes)
        elif found.ranges:
            # Of a system that is asked, no unit may be above its own threshold.
            assert set(found.prediction.attributes) <= selected <= set(found.ranges) == set(SCHEMA.attributes)
        units = len(example.tokens)
        for row in found.similarities.values():
            assert len(row) <= units and (abs(row) <= 1 + 1e-6).all()
        for rows in found.probabilities.values():
            assert set(rows) == set(found.ranges)
            assert all(len(row) <= units and (row >= -1e-6).all() and (row <= 1 + 1e-6).all() for row in rows.values())
        assert all(row.sum() == pytest.approx(1, abs=1e-5) for row in found.mixtures.values())
        if found.attention is not None:
            assert example.picture is not None and len(found.attention) <= units and found.attends
            assert found.cells is None or found.cells[0] * found.cells[1] == found.attention.shape[1]
        json.dumps(explanation_record(found), allow_nan=False)


def test_training_mode_outlives_a_prediction(build: Any) -> None:
    model = build()
    if isinstance(model, NeuralModel):
        for mode in (True, False):
            model.train(mode)
            model.predict(EXAMPLES[:1])
            assert model.training is mode


def test_odd_texts_get_a_prediction(build: Any) -> None:
    model = build()
    odd = ["", " ", "\x00", "\u200b", "a" * 300, "red " * 300, "[SEP] [PAD] <pad>", "黑色 é ß İ 👗", "unseen words"]
    examples = [Example(f"o{number}", text, word_units(text)) for number, text in enumerate(odd)]
    examples.append(Example("control", "red \x00", ((0, 3), (4, 5))))
    for example, prediction in zip(examples, model.predict(examples), strict=True):
        assert prediction.id == example.id
        starts, ends = {start for start, _ in example.tokens}, {end for _, end in example.tokens}
        for span in prediction.spans or ():
            # What is written may be a part of a unit.
            assert (span.start in starts and span.end in ends) or prediction.written is not None
            assert 0 <= span.start < span.end <= len(example.text)
            assert span.attribute in SCHEMA.attributes
    if isinstance(model, NeuralModel):
        for chosen in (examples, examples[:1], examples[:2]):
            losses = model(batch_of(model, chosen))
            assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
            sum(losses.values()).backward()


def test_annotation_that_no_tag_expresses_is_no_error(build: Any) -> None:
    model = build()
    if isinstance(model, NeuralModel):
        strange = Example("s", "red dress", ((0, 3), (4, 9)), (Span("color", 1, 3), Span("unheard-of", 4, 9)))
        losses = model(batch_of(model, [strange]))
        assert all(loss.isfinite() for loss in losses.values())


def test_gradients_reach_every_trainable_parameter(build: Any) -> None:
    model = build()
    if isinstance(model, NeuralModel):
        model.train()
        sum(model(batch_of(model, EXAMPLES)).values()).backward()
        missed = [
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
        ]
        # A softmax over keys does not change when one number is added to all of them.
        assert [name for name in missed if not name.endswith("key.bias")] == []


def test_parameter_groups_hold_every_trainable_parameter_once(build: Any) -> None:
    model = build()
    if isinstance(model, NeuralModel):
        grouped = [id(parameter) for group in model.parameter_groups().values() for parameter in group]
        trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
        assert sorted(grouped) == sorted(trainable)


@pytest.mark.parametrize("name", list(plugins("models")))
def test_defaults_and_presets_are_valid_and_frozen(name: str) -> None:
    config = plugin("models", name).load().Config
    default = config().model_dump(mode="json")
    assert config.model_validate(default).model_dump(mode="json") == default
    for overrides in config.presets.values():
        merged = {
            key: {**value, **overrides.get(key, {})} if isinstance(value, dict) else overrides.get(key, value)
            for key, value in default.items()
        }
        assert set(overrides) <= set(default)
        config.model_validate(merged)
    with pytest.raises(ValueError, match="no_such_option"):
        config.model_validate({**default, "no_such_option": 1})
