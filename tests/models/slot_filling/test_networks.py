"""BiLSTM, attention and the networks of the slot-filling systems against their formulas and against nn.LSTM."""

from collections.abc import Callable
from typing import Any

import pytest
import slot_formulas as formulas
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avebench.models.slot_filling.attention import AdditiveAttention
from avebench.models.slot_filling.attn_birnn import AttentionBiRNN
from avebench.models.slot_filling.slot_gated import SlotGatedNetwork
from avebench.nn.lstm import BiLSTM

LENGTHS = [3, 7, 1, 5]
WIDTH, INPUTS, HIDDEN, TAGS, INTENTS = 9, 4, 6, 5, 3
"""The batch is two positions wider than its longest row."""
EXACT = {"rtol": 1e-5, "atol": 1e-5}


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return embedded tokens (4, 9, 4), with noise in the padding, and lengths."""
    torch.manual_seed(seed)
    return torch.randn(len(LENGTHS), WIDTH, INPUTS), torch.tensor(LENGTHS)


def drawn(module: nn.Module) -> nn.Module:
    """Return the module with every weight drawn anew, biases too, which would start at zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module.eval()


def double(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the weights in float64, ready for gradients."""
    return {name: value.detach().double().requires_grad_() for name, value in module.named_parameters()}


def test_bilstm_equals_a_packed_lstm_of_torch() -> None:
    torch.manual_seed(3)
    module = drawn(BiLSTM(INPUTS, HIDDEN))
    other = nn.LSTM(INPUTS, HIDDEN, batch_first=True, bidirectional=True)
    forget = torch.cat([torch.zeros(HIDDEN), torch.ones(HIDDEN), torch.zeros(2 * HIDDEN)])
    with torch.no_grad():
        for direction, suffix in enumerate(("", "_reverse")):
            for name, value in (
                ("weight_ih", module.input_weights),
                ("weight_hh", module.hidden_weights),
                ("bias_ih", module.bias),
            ):
                getattr(other, f"{name}_l0{suffix}").copy_(value[direction])
            getattr(other, f"bias_hh_l0{suffix}").copy_(forget)
    inputs, lengths = batch()
    outcomes = []
    for runs in ("own", "torch"):
        leaf = inputs.clone().requires_grad_()
        if runs == "own":
            states, final = module(leaf, lengths)
        else:
            packed, (h, c) = other(pack_padded_sequence(leaf, lengths, batch_first=True, enforce_sorted=False))
            states = pad_packed_sequence(packed, batch_first=True, total_length=WIDTH)[0]
            final = torch.cat([c[0], h[0], c[1], h[1]], 1)
        torch.manual_seed(5)
        ((states * torch.randn(states.shape)).sum() + (final * torch.randn(final.shape)).sum()).backward()
        outcomes.append((states, final, leaf.grad))
    for mine, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)
    for direction, suffix in enumerate(("", "_reverse")):
        for name, value in (("weight_ih", "input_weights"), ("weight_hh", "hidden_weights"), ("bias_ih", "bias")):
            mine = getattr(module, value).grad[direction]
            torch.testing.assert_close(mine, getattr(other, f"{name}_l0{suffix}").grad, rtol=1e-4, atol=1e-5)


def test_bilstm_starts_and_counts_as_tensorflow_does() -> None:
    torch.manual_seed(0)
    module = BiLSTM(64, 64)
    assert sum(parameter.numel() for parameter in module.parameters()) == 66_048
    limit = (6 / (64 + 64 + 256)) ** 0.5
    for weights in (module.input_weights, module.hidden_weights):
        assert 0.98 * limit < weights.max() <= limit and -limit <= weights.min() < -0.98 * limit
    assert not module.bias.any()
    assert set(module.state_dict()) == {"input_weights", "hidden_weights", "bias"}


def test_dropout_falls_on_inputs_and_outputs_but_not_on_the_state() -> None:
    module = drawn(BiLSTM(INPUTS, HIDDEN, dropout=0.5)).train()
    inputs, lengths = batch()
    torch.manual_seed(1)
    states, final = module(inputs, lengths)
    ahead, back = states.chunk(2, 2)
    own = torch.arange(WIDTH) < lengths.unsqueeze(1)
    for part in (ahead, back):
        assert 0.3 < (part[own] == 0).double().mean() < 0.7
    assert (final != 0).all()
    assert not states[~own].any()


def test_an_empty_row_and_an_empty_batch_have_zero_states() -> None:
    module = drawn(BiLSTM(INPUTS, HIDDEN))
    states, final = module(torch.randn(2, 3, INPUTS), torch.tensor([0, 3]))
    assert not states[0].any() and not final[0].any() and final[1].all()


@pytest.mark.parametrize("seen", ["own", "batch", "more"])
def test_attention_equals_its_formula(seen: str) -> None:
    torch.manual_seed(2)
    module = drawn(AdditiveAttention(INPUTS, HIDDEN))
    states, lengths = batch()
    states = states * (torch.arange(WIDTH) < lengths.unsqueeze(1)).unsqueeze(2)
    queries = torch.randn(len(LENGTHS), WIDTH, HIDDEN) * (torch.arange(WIDTH) < lengths.unsqueeze(1)).unsqueeze(2)
    widths = {"own": lengths, "batch": torch.full_like(lengths, WIDTH), "more": torch.full_like(lengths, 50)}[seen]
    found = module(states, queries, lengths, widths - lengths)
    weights = {f"a.{name}": value for name, value in double(module).items()}
    for row, (length, width) in enumerate(zip(LENGTHS, widths.tolist(), strict=True)):
        positions = formulas.with_padding(states[row, :length].double(), width)
        for place in range(WIDTH):  # Queries behind the end too: a plain softmax answers them as well.
            expected = formulas.attention(queries[row, place].double(), positions, weights, "a")
            torch.testing.assert_close(found[row, place].double(), expected, **EXACT)


def test_attention_over_nothing_is_zero_and_has_finite_gradients() -> None:
    module = AdditiveAttention(INPUTS, INPUTS)
    lengths = torch.tensor([0, 2])
    states = torch.randn(2, 4, INPUTS) * (torch.arange(4) < lengths.unsqueeze(1)).unsqueeze(2)
    found = module(states.requires_grad_(), states, lengths, torch.zeros_like(lengths))
    found.sum().backward()
    assert not found[0].any() and found[1, 0].all()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())
    assert states.grad.isfinite().all()


Network = Callable[[Tensor, Tensor], Any]
Formula = Callable[[Tensor, dict[str, Tensor]], tuple[Tensor, Tensor]]


def slot_gated(*, full: bool, masked: bool) -> tuple[nn.Module, Network, Formula]:
    module = drawn(SlotGatedNetwork(INPUTS, HIDDEN, TAGS, INTENTS, full_attention=full))
    return (
        module,
        lambda inputs, lengths: module(inputs, lengths, masked=masked),
        lambda words, weights: formulas.slot_gated(words, weights, len(words) if masked else WIDTH, full=full),
    )


def attn_birnn(*, padded_length: int | None) -> tuple[nn.Module, Network, Formula]:
    module = drawn(AttentionBiRNN(INPUTS, HIDDEN, TAGS, INTENTS))
    return (
        module,
        lambda inputs, lengths: module(inputs, lengths, padded_length),
        lambda words, weights: formulas.attn_birnn(words, weights, padded_length or len(words)),
    )


@pytest.mark.parametrize(
    "build",
    [
        lambda: slot_gated(full=True, masked=False),
        lambda: slot_gated(full=True, masked=True),
        lambda: slot_gated(full=False, masked=False),
        lambda: attn_birnn(padded_length=50),
        lambda: attn_birnn(padded_length=None),
    ],
    ids=["slot-gated", "slot-gated-masked", "slot-gated-intent", "attn-birnn", "attn-birnn-masked"],
)
def test_logits_losses_and_gradients_equal_the_formulas(
    build: Callable[[], tuple[nn.Module, Network, Formula]],
) -> None:
    torch.manual_seed(11)
    module, network, formula = build()
    inputs, lengths = batch()
    tags, intents = torch.randint(TAGS, (len(LENGTHS), WIDTH)), torch.randint(INTENTS, (len(LENGTHS),))
    leaf = inputs.clone().requires_grad_()
    scores = network(leaf, lengths)
    assert scores.slots.shape == (len(LENGTHS), WIDTH, TAGS) and scores.labels.shape == (len(LENGTHS), INTENTS)
    weights, words = double(module), inputs.double().requires_grad_()
    slots, labels = words.new_zeros(()), words.new_zeros(())
    for row, length in enumerate(LENGTHS):
        slot_logits, intent_logits = formula(words[row, :length], weights)
        torch.testing.assert_close(scores.slots[row, :length].double(), slot_logits, **EXACT)
        torch.testing.assert_close(scores.labels[row].double(), intent_logits, **EXACT)
        each = [formulas.cross_entropy(slot_logits[step], int(tags[row, step])) for step in range(length)]
        slots = slots + sum(each) / length
        labels = labels + formulas.cross_entropy(intent_logits, int(intents[row])) / len(LENGTHS)
    own = torch.arange(WIDTH) < lengths.unsqueeze(1)
    plain = nn.functional.cross_entropy(scores.slots.transpose(1, 2), tags, reduction="none")
    mine = ((plain * own).sum(1) / lengths).sum(), nn.functional.cross_entropy(scores.labels, intents)
    for loss, expected in zip(mine, (slots, labels), strict=True):
        torch.testing.assert_close(loss.double(), expected, **EXACT)
        found = torch.autograd.grad(loss, [leaf, *module.parameters()], retain_graph=True, materialize_grads=True)
        wanted = torch.autograd.grad(expected, [words, *weights.values()], retain_graph=True, materialize_grads=True)
        for name, one, other in zip(["inputs", *weights], found, wanted, strict=True):
            torch.testing.assert_close(one.double(), other, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


def test_slot_gated_has_the_parameters_of_the_reference_on_snips() -> None:
    network = SlotGatedNetwork(64, 64, 74, 9)
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in network.named_children()}
    assert sizes == {
        "encoder": 66_048,
        "slot_attention": 33_024,
        "intent_attention": 49_408,
        "slot_gate": 49_408,
        "slot_output": 19_018,
        "intent_output": 3_465,
    }
    assert sum(sizes.values()) + 11_243 * 64 == 939_923
