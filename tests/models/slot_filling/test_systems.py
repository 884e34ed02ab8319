"""Preprocessing, labels, losses and updates of the slot-filling systems, and their behaviour on data with intents."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slot_formulas as formulas
import torch
from slot_data import EXAMPLES, SCHEMA
from torch import nn

from avebench.contracts.examples import INTENT, AttributeSchema, Example
from avebench.contracts.tagging import tags_to_spans
from avebench.files.errors import AvebenchError, DataError
from avebench.models.slot_filling import attn_birnn, joint_bert, rnn_lstm, slot_gated
from avebench.models.slot_filling.labels import Labels, by_frequency
from avebench.models.slot_filling.words import normalised
from avebench.nn.batching import epoch_batches
from avebench.nn.neural import NeuralModel, move
from avebench.scoring.evaluation import validation_metrics
from avebench.scoring.metrics import score
from avebench.training.loop import train as fit
from avebench.training.stepping import updates_of

PRODUCTS = AttributeSchema(("artist", "city", "number"))
TRAINING = {"batch_size": 4, "steps": 1, "epochs": None, "learning_rates": {"default": 1e-2}}
SMALL = {"embedding_size": 16, "hidden_size": 16, "training": TRAINING}
CASES: list[tuple[Any, dict[str, Any]]] = [
    (rnn_lstm, SMALL),
    (rnn_lstm, {**SMALL, "reduction": "sum", "update": "separate"}),
    (attn_birnn, SMALL),
    (attn_birnn, {**SMALL, "update": "separate", "reduction": "sum", "padded_length": None}),
    (slot_gated, {"hidden_size": 16, "training": TRAINING}),
    (slot_gated, {"hidden_size": 16, "attention": "intent", "update": "joint", "training": TRAINING}),
    (joint_bert, {"text_encoder": "tiny_bert", "training": TRAINING}),
    (joint_bert, {"text_encoder": "tiny_bert", "crf": True, "training": TRAINING}),
]
NAMES = [f"{module.CARD.name}-{number}" for number, (module, _) in enumerate(CASES)]


def build(module: Any, options: Mapping[str, Any], schema: AttributeSchema = SCHEMA, seed: int = 0) -> Any:
    config = module.Config(**options)
    torch.manual_seed(seed)
    return module.Model(config, schema, module.Model.learn_vocabulary(config, schema, EXAMPLES))


@pytest.fixture(params=CASES, ids=NAMES)
def case(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    module, options = request.param
    if "text_encoder" in options:
        options = {**options, "text_encoder": str(request.getfixturevalue(options["text_encoder"]))}
    return module, options


def train(model: NeuralModel, steps: int) -> None:
    """Fit the eight utterances in two batches."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, betas=(0.9, 0.99))
    encoded = [model.encode(example) for example in EXAMPLES]
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        sum(model(model.collate(encoded[step % 2 :: 2])).values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


# Data with intents


def test_overfits_slots_and_intents(case: Any) -> None:
    model = build(*case)
    train(model, 300)
    predictions = model.predict(EXAMPLES)
    metrics = score(EXAMPLES, predictions).metrics()
    for name in ("tag_f1", "intent_accuracy", "sentence_accuracy"):
        assert metrics[name] is not None and metrics[name].value == 100, name
    for example, prediction in zip(EXAMPLES, predictions, strict=True):
        assert dict(prediction.pairs) == dict(example.pairs)
        assert set(prediction.attributes) == set(example.pairs) - {INTENT}


def test_predictions_do_not_depend_on_the_batch_and_never_name_a_special_symbol(case: Any) -> None:
    model = build(*case)
    train(model, 5)
    together = model.predict(EXAMPLES)
    alone = [model.predict([example])[0] for example in EXAMPLES]
    assert [(one.spans, one.pairs) for one in together] == [(one.spans, one.pairs) for one in alone]
    for prediction in together:
        assert set(prediction.pairs[INTENT]) <= set(SCHEMA.intents) and len(prediction.pairs[INTENT]) == 1
        assert all(span.attribute in SCHEMA.attributes for span in prediction.spans or ())


class KilledError(Exception):
    """Stands for the end of a process."""


def test_a_killed_training_continues_to_the_same_bits(case: Any, tmp_path: Path) -> None:
    module, options = case

    def run(folder: Path, killed_at: int | None) -> NeuralModel:
        model: NeuralModel = build(module, options)
        config = model.config.training.model_copy(
            update={"steps": 6, "validate_every": 2, "selection": "intent_accuracy"}
        )
        validations = []

        def judge(predictions: Any) -> dict[str, float]:
            validations.append(predictions)
            if len(validations) == killed_at:
                raise KilledError
            return validation_metrics(EXAMPLES, predictions)

        fit(model, EXAMPLES, EXAMPLES, config=config, repetition=0, folder=folder, score=judge)
        return model

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", 3)
    resumed = run(tmp_path / "killed", None)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_examples_without_annotation_are_predicted(case: Any) -> None:
    model = build(*case)
    bare = [Example("b", "play rain", ((0, 4), (5, 9))), Example("e", "", ())]
    assert [prediction.id for prediction in model.predict(bare)] == ["b", "e"]
    losses = model(model.collate([model.encode(example) for example in bare]))
    assert all(loss.isfinite() for loss in losses.values())


def test_the_data_decide_what_the_head_is(case: Any) -> None:
    module, options = case
    with_intents, products = build(module, options), build(module, options, PRODUCTS)
    assert with_intents.labels.names == ["_PAD", "_UNK", "PlaySong", "BookTable", "GetRain"]
    assert with_intents.labels.tags == "_PAD _UNK O B-number B-artist B-city I-artist I-city".split()  # noqa: SIM905
    assert products.labels.names == ["artist", "city", "number"]
    assert products.labels.tags == ["O", "B-artist", "I-artist", "B-city", "I-city", "B-number", "I-number"]
    encoded = [products.encode(dataclasses.replace(example, pairs={})) for example in EXAMPLES[:3]]
    targets = products.collate(encoded)["targets"]
    assert targets.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert with_intents.collate([with_intents.encode(example) for example in EXAMPLES[:3]])["targets"].tolist() == [
        2,
        2,
        3,
    ]


# Preprocessing


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("keep", ["add", "1110", "3d", "7"]),
        ("words", ["add", "0", "3d", "0"]),
        ("characters", ["add", "0000", "0d", "0"]),
    ],
)
def test_digits(digits: Any, expected: list[str]) -> None:
    assert [normalised(word, digits) for word in ("Add", "1110", "3d", "7")] == expected


def test_vocabularies_are_by_frequency_behind_the_special_symbols() -> None:
    assert by_frequency("cababa") == ["_PAD", "_UNK", "a", "b", "c"]
    assert by_frequency([*"cababa", "_UNK"], limit=2) == ["_PAD", "_UNK", "a", "b"]


def test_words_of_training_are_known_and_all_others_are_one() -> None:
    model = build(slot_gated, {"hidden_size": 4})
    known = model.encode(EXAMPLES[2]).words.tolist()  # a kind - 12 color red sun
    assert 1 not in known and known[3] == model.vocabulary["words"].index("0")
    text = "LONG jazz at 1999"
    words = model.encode(Example("x", text, ((0, 4), (5, 9), (10, 12), (13, 17)))).words.tolist()
    assert words == [model.vocabulary["words"].index("long"), 1, 1, known[3]]


def test_unknown_tags_and_intents_have_their_own_number() -> None:
    labels = Labels(SCHEMA, {"tags": ["_PAD", "_UNK", "O", "B-city"], "intents": ["_PAD", "_UNK", "PlaySong"]})
    assert labels.tag_ids(EXAMPLES[2]).tolist() == [2, 2, 2, 1, 2, 3, 1]
    assert labels.target(EXAMPLES[2]) == 1 and labels.target(EXAMPLES[0]) == 2


def test_two_intents_are_refused() -> None:
    both = dataclasses.replace(EXAMPLES[0], pairs={INTENT: frozenset({"PlaySong", "GetRain"})})
    with pytest.raises(DataError, match=r"'u0' has 2 intents \(GetRain, PlaySong\)"):
        build(rnn_lstm, SMALL).encode(both)


def snips(split: str) -> list[Example]:
    root = Path(os.environ.get("AVEBENCH_DATA", "/nowhere")) / "snips" / split
    if not root.is_dir():
        pytest.skip("SNIPS is not here: set AVEBENCH_DATA to the folder that holds snips/")
    files = [(root / name).read_text(encoding="utf-8").splitlines() for name in ("seq.in", "seq.out", "label")]
    found = []
    for number, (words, tags, intent) in enumerate(zip(*files, strict=True)):
        text = " ".join(words.split())
        ends = np.cumsum([len(word) + 1 for word in words.split()]) - 1
        tokens = tuple((int(end) - len(word), int(end)) for word, end in zip(words.split(), ends, strict=True))
        spans = tuple(tags_to_spans(tags.split(), tokens))
        found.append(Example(f"{split}-{number}", text, tokens, spans, {INTENT: frozenset({intent.strip()})}))
    return found


def test_sizes_on_snips_are_those_of_the_reference() -> None:
    train_examples = snips("train")
    intents = tuple(sorted({intent for example in train_examples for intent in example.pairs[INTENT]}))
    schema = AttributeSchema(
        tuple(sorted({span.attribute for example in train_examples for span in example.spans})), "word", intents
    )
    config = slot_gated.Config()
    vocabulary = slot_gated.Model.learn_vocabulary(config, schema, train_examples)
    assert {name: len(symbols) for name, symbols in vocabulary.items()} == {"words": 11_243, "tags": 74, "intents": 9}
    model = slot_gated.Model(config, schema, vocabulary)
    assert sum(parameter.numel() for parameter in model.parameters()) == 939_923


# Losses


def test_reductions_by_hand() -> None:
    """Two sentences of a batch of at most 4: losses of tags (1 and 3; 5), of intents 7 and 9."""
    expected = {
        "token": {"slots": 3.0, "intent": 8.0},
        "sentence": {"slots": 3.5, "intent": 8.0},
        "sum": {"slots": 7.0, "intent": 4.0},
    }
    for reduction, losses in expected.items():
        model = build(attn_birnn, {**SMALL, "reduction": reduction})
        slots, lengths = torch.tensor([[1.0, 3.0], [5.0, 0.0]]), torch.tensor([2, 1])
        model.example_losses = lambda batch: (slots, lengths, torch.tensor([7.0, 9.0]))  # noqa: B023
        assert {name: loss.item() for name, loss in model({}).items()} == losses


def test_a_sum_needs_the_whole_batch_at_once() -> None:
    with pytest.raises(ValueError, match=r"needs training\.accumulation 1"):
        slot_gated.Config(training={**TRAINING, "accumulation": 2})


def test_rnn_lstm_equals_its_formula() -> None:
    model = build(rnn_lstm, {**SMALL, "dropout": 0.0, "digits": "words"}).eval()
    batch = model.collate([model.encode(example) for example in EXAMPLES])
    parts = model(batch)
    weights = {name: value.detach().double() for name, value in model.named_parameters()}
    tags, intents = model.labels.tags, model.labels.names
    slots, last, steps = 0.0, 0.0, 0
    for example in EXAMPLES:
        words = [model.vocabulary["words"].index(w.lower() if not w.isdigit() else "0") for w in units(example)]
        size = len(model.vocabulary["words"])
        states, _ = formulas.bilstm(weights["embedding.weight"][[size, *words, size + 1]], weights)
        logits = [formulas.linear(state, weights, "output") for state in states]
        gold = ["O", *bio(example)]
        slots += sum(
            float(formulas.cross_entropy(one, tags.index(tag))) for one, tag in zip(logits, gold, strict=False)
        )
        intent = next(iter(example.pairs[INTENT]))
        last += float(formulas.cross_entropy(logits[-1], len(tags) + intents.index(intent)))
        steps += len(logits)
    assert parts["slots"].item() == pytest.approx(slots / steps, rel=1e-5)
    assert parts["intent"].item() == pytest.approx(last / steps, rel=1e-5)


def units(example: Example) -> list[str]:
    return [example.text[start:end] for start, end in example.tokens]


def bio(example: Example) -> list[str]:
    """Return the BIO tags of an example, looked up character by character."""
    tags = []
    for start, end in example.tokens:
        span = next((span for span in example.spans if span.start <= start and end <= span.end), None)
        tags.append("O" if span is None else f"{'B' if span.start == start else 'I'}-{span.attribute}")
    return tags


def test_joint_bert_equals_transformers_and_pytorch_crf(tiny_bert: Path) -> None:
    from torchcrf import CRF
    from transformers import AutoModel, AutoTokenizer

    options = {"text_encoder": str(tiny_bert), "training": TRAINING, "dropout": 0.0}
    plain, with_crf = build(joint_bert, options).eval(), build(joint_bert, {**options, "crf": True}).eval()
    bert, tokenizer = AutoModel.from_pretrained(tiny_bert).eval(), AutoTokenizer.from_pretrained(tiny_bert)
    crf = CRF(len(with_crf.labels.tags), batch_first=True)
    crf.load_state_dict(with_crf.crf.state_dict())
    token_losses, sentence_losses, intent_losses = [], [], []
    for example in EXAMPLES:
        pieces = [tokenizer.tokenize(word) for word in units(example)]
        ids = tokenizer.convert_tokens_to_ids(["[CLS]", *sum(pieces, []), "[SEP]"])  # noqa: RUF017
        first = [1 + sum(len(word) for word in pieces[:number]) for number in range(len(pieces))]
        found = bert(torch.tensor([ids]))
        gold = torch.tensor([[plain.labels.tags.index(tag) for tag in bio(example)]])
        logits = found.last_hidden_state[:, first] @ plain.slot_output.weight.T + plain.slot_output.bias
        token_losses += nn.functional.cross_entropy(logits[0], gold[0], reduction="none").tolist()
        own = found.last_hidden_state[:, first] @ with_crf.slot_output.weight.T + with_crf.slot_output.bias
        sentence_losses.append(-crf(own, gold).item())
        intent = torch.tensor([plain.labels.names.index(next(iter(example.pairs[INTENT])))])
        scores = found.pooler_output @ plain.intent_output.weight.T + plain.intent_output.bias
        intent_losses.append(nn.functional.cross_entropy(scores, intent).item())
    losses = plain(plain.collate([plain.encode(example) for example in EXAMPLES]))
    assert losses["slots"].item() == pytest.approx(np.mean(token_losses), rel=1e-5)
    assert losses["intent"].item() == pytest.approx(np.mean(intent_losses), rel=1e-5)
    losses = with_crf(with_crf.collate([with_crf.encode(example) for example in EXAMPLES]))
    assert losses["slots"].item() == pytest.approx(np.mean(sentence_losses), rel=1e-5)


def test_joint_bert_tags_what_does_not_fit_o(tiny_bert: Path) -> None:
    options = {"text_encoder": str(tiny_bert), "max_pieces": 4, "long_texts": "cut", "training": TRAINING}
    model = build(joint_bert, options)
    encoded = model.encode(EXAMPLES[2])
    assert len(encoded.text.first) == len(encoded.tags) <= 2 and model.truncated(encoded) >= 5
    assert all(span.end <= 7 for span in model.predict([EXAMPLES[2]])[0].spans)


def test_an_encoder_without_a_pooler_gets_a_new_one(tmp_path: Path, tiny_bert: Path) -> None:
    from transformers import BertModel

    BertModel.from_pretrained(tiny_bert, add_pooling_layer=False).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text((tiny_bert / "vocab.txt").read_text())
    options = {"training": TRAINING}
    known = build(joint_bert, {"text_encoder": str(tiny_bert), **options}, seed=1)
    new = build(joint_bert, {"text_encoder": str(tmp_path), **options}, seed=1)
    weights, others = known.text_encoder.model.state_dict(), new.text_encoder.model.state_dict()
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == ["pooler.dense.weight"]


# Several updates in a step


def adam(model: Any, batches: list[Any], rate: float, norm: float) -> None:
    """Train as the authors' graph does, Adam written out (Kingma and Ba, 2015, algorithm 1).

    Both gradients belong to the same forward pass; each set is clipped by its own norm; one Adam applies the slots,
    then the intents, and counts both. (A weight's count starts with its own first update.)
    """
    named = dict(model.named_parameters())
    sets = (
        ("slots", [name for name in named if "intent_" not in name]),
        ("intent", [name for name in named if "slot_" not in name]),
    )
    m = {name: torch.zeros_like(value) for name, value in named.items()}
    v = {name: torch.zeros_like(value) for name, value in named.items()}
    counts: dict[str, int] = {}
    for batch in batches:
        losses = model(batch)
        gradients = {}
        for loss, names in sets:
            found = torch.autograd.grad(losses[loss], [named[name] for name in names], retain_graph=True)
            size = float(sum((gradient**2).sum() for gradient in found)) ** 0.5
            gradients[loss] = [gradient * norm / max(size, norm) for gradient in found]
        for loss, names in sets:
            counts = {name: count + 1 for name, count in counts.items()}
            for name, gradient in zip(names, gradients[loss], strict=True):
                t = counts.setdefault(name, 1)
                m[name] = 0.9 * m[name] + 0.1 * gradient
                v[name] = 0.999 * v[name] + 0.001 * gradient**2
                with torch.no_grad():
                    named[name] -= rate * (m[name] / (1 - 0.9**t)) / ((v[name] / (1 - 0.999**t)).sqrt() + 1e-8)


@pytest.mark.parametrize("norm", [0.5, 50.0])
def test_separate_updates_follow_the_reference(tmp_path: Path, norm: float) -> None:
    settings = {**TRAINING, "batch_size": 3, "steps": 5, "clip_norm": norm, "order": "sequential", "selection": "last"}
    options = {"hidden_size": 6, "dropout": 0.0, "training": settings}
    mine, reference = (build(slot_gated, options).double() for _ in range(2))
    encoded = [reference.encode(example) for example in EXAMPLES]
    batches = [reference.collate(encoded[start : start + 3]) for start in (0, 3, 6, 0, 3)]
    adam(reference.train(), batches, rate=1e-2, norm=norm)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    fit(mine, EXAMPLES, [], config=mine.config.training, repetition=0, folder=tmp_path / "c", score=lambda _: {})
    for (name, value), other in zip(mine.state_dict().items(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=2e-5, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")
        assert not torch.equal(value, before[name])


def test_the_slot_loss_does_not_train_the_intent_attention_nor_the_intent_loss_the_gate() -> None:
    model = build(slot_gated, {"hidden_size": 4, "training": TRAINING})
    slots, intent = model.updates()
    names = {parameter: name for name, parameter in model.named_parameters()}
    own = [{names[parameter] for parameter in update.parameters} for update in (slots, intent)]
    shared = {"embedding.weight", *(f"network.encoder.{n}" for n in ("input_weights", "hidden_weights", "bias"))}
    assert own[0] & own[1] == shared
    assert {name.split(".")[1] for name in own[0] - shared} == {"slot_attention", "slot_gate", "slot_output"}
    assert {name.split(".")[1] for name in own[1] - shared} == {"intent_attention", "intent_output"}
    assert build(slot_gated, {"update": "joint", "training": TRAINING}).updates() == ()


def test_updates_must_cover_the_model_and_cannot_share_a_loss_scale() -> None:
    model = build(slot_gated, {"hidden_size": 4, "training": TRAINING})
    trained = list(model.parameters())
    config = model.config.training
    assert len(updates_of(model, config, trained)) == 2
    with pytest.raises(AvebenchError, match="do not cover exactly"):
        updates_of(model, config, trained[1:])
    with pytest.raises(AvebenchError, match="fp16"):
        updates_of(model, config.model_copy(update={"precision": "fp16"}), trained)


def test_accumulated_separate_updates_equal_those_of_the_whole_batch(tmp_path: Path) -> None:
    found = []
    for number, (size, accumulation) in enumerate(((8, 1), (2, 4))):
        settings = {**TRAINING, "batch_size": size, "accumulation": accumulation, "steps": 3, "selection": "last"}
        model = build(attn_birnn, {**SMALL, "dropout": 0.0, "update": "separate", "training": settings})
        folder = tmp_path / str(number)
        fit(model, EXAMPLES, [], config=model.config.training, repetition=0, folder=folder, score=lambda _: {})
        found.append(model.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=1e-4)


def test_sampled_order_draws_with_replacement() -> None:
    batches = epoch_batches([1] * 1000, 16, order="sampled", repetition=0, epoch=0)
    drawn = np.concatenate(batches)
    assert len(drawn) == 1000 and drawn.min() >= 0 and drawn.max() < 1000
    assert 590 < len(set(drawn.tolist())) < 670  # 1000 (1 - 1/e) = 632
    assert not np.array_equal(
        drawn, np.concatenate(epoch_batches([1] * 1000, 16, order="sampled", repetition=0, epoch=1))
    )


def test_padding_of_the_batch_is_seen_in_training_only() -> None:
    model = build(slot_gated, {"hidden_size": 8, "dropout": 0.0, "training": TRAINING})
    encoded = [model.encode(example) for example in EXAMPLES]
    together, alone = model.collate(encoded), move(model.collate(encoded[:1]), torch.device("cpu"))
    for training_mode in (True, False):
        model.train(training_mode)
        wide, narrow = model.scores(together).labels[0], model.scores(alone).labels[0]
        assert torch.allclose(wide, narrow, atol=1e-6) is not training_mode


def test_the_metric_that_chooses_follows_what_the_data_have(tmp_path: Path) -> None:
    """On data with intents sentence accuracy chooses; on product data, which have none, tag F1 does."""
    for schema, stripped in ((SCHEMA, False), (PRODUCTS, True)):
        settings = {**TRAINING, "steps": 2, "validate_every": 1, "selection": "sentence_accuracy or tag_f1"}
        model = build(slot_gated, {"hidden_size": 4, "training": settings}, schema)
        data = [dataclasses.replace(e, pairs={}) for e in EXAMPLES] if stripped else EXAMPLES
        script = iter([(10.0, 30.0), (20.0, 20.0)])  # Sentence accuracy rises, tag F1 falls.

        def judge(predictions: Any, script: Any = script, stripped: bool = stripped) -> dict[str, float]:
            sentences, tags = next(script)
            return {"tag_f1": tags} if stripped else {"sentence_accuracy": sentences, "tag_f1": tags}

        record = fit(model, data, data, config=model.config.training, repetition=0, folder=tmp_path / "c", score=judge)
        assert record.best_step == (1 if stripped else 2)
