"""The CRF against pytorch-crf and against enumeration of every path."""

import itertools

import pytest
import torch
import torchcrf
from hypothesis import given, settings
from hypothesis import strategies as st

from avebench.nn.crf import CRF


def pair(tags: int, seed: int) -> tuple[CRF, torchcrf.CRF]:
    torch.manual_seed(seed)
    reference, ours = torchcrf.CRF(tags, batch_first=True), CRF(tags)
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(reference.state_dict())
    return ours, reference


def prefix(lengths: list[int], width: int) -> torch.Tensor:
    return torch.arange(width) < torch.tensor(lengths).unsqueeze(1)


def score(crf: CRF, emissions: torch.Tensor, path: tuple[int, ...]) -> float:
    """Sum the scores of one path by hand, in double precision."""
    if not path:
        return 0.0
    total = crf.start_transitions[path[0]].double() + crf.end_transitions[path[-1]].double()
    total = total + sum(emissions[position, tag].double() for position, tag in enumerate(path))
    total = total + sum(crf.transitions[a, b].double() for a, b in itertools.pairwise(path))
    return float(total.detach())


batches = st.tuples(
    st.integers(1, 5), st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 2), st.integers(0, 10**6)
)


@settings(max_examples=60, deadline=None)
@given(batches)
def test_likelihood_and_best_path_equal_enumeration(batch: tuple[int, list[int], int, int]) -> None:
    tags, lengths, padding, seed = batch
    crf, _ = pair(tags, seed)
    width = max(lengths) + padding
    emissions = torch.randn(len(lengths), width, tags)
    gold = torch.randint(tags, (len(lengths), width))
    likelihood = crf(emissions, gold, prefix(lengths, width), reduction="none")
    best = crf.decode(emissions, prefix(lengths, width))
    for row, length in enumerate(lengths):
        paths = list(itertools.product(range(tags), repeat=length))
        scores = torch.tensor([score(crf, emissions[row], path) for path in paths], dtype=torch.float64)
        target = score(crf, emissions[row], tuple(gold[row, :length].tolist())) - torch.logsumexp(scores, 0)
        assert likelihood[row].item() == pytest.approx(target.item(), abs=1e-4)
        assert len(best[row]) == length
        assert score(crf, emissions[row], tuple(best[row])) == pytest.approx(scores.max().item(), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(batches)
def test_marginals_are_the_shares_of_the_paths_that_pass(batch: tuple[int, list[int], int, int]) -> None:
    tags, lengths, padding, seed = batch
    crf, _ = pair(tags, seed)
    width = max(1, max(lengths) + padding)
    emissions = torch.randn(len(lengths), width, tags)
    mask = prefix(lengths, width)
    found = crf.marginals(emissions.masked_fill(~mask.unsqueeze(2), torch.inf), mask)
    assert found.shape == emissions.shape and not found[~mask].any()
    for row, length in enumerate(lengths):
        paths = list(itertools.product(range(tags), repeat=length))
        shares = torch.tensor([score(crf, emissions[row], path) for path in paths], dtype=torch.float64).softmax(0)
        for place in range(length):
            for tag in range(tags):
                passing = sum(share for path, share in zip(paths, shares.tolist(), strict=True) if path[place] == tag)
                assert found[row, place, tag].item() == pytest.approx(passing, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7), st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(0, 3), st.integers(0, 10**6)
)
def test_decode_and_likelihood_equal_torchcrf(tags: int, lengths: list[int], padding: int, seed: int) -> None:
    ours, reference = pair(tags, seed)
    width = max(lengths) + padding
    emissions, mask = torch.randn(len(lengths), width, tags), prefix(lengths, width)
    gold = torch.randint(tags, (len(lengths), width))
    assert ours.decode(emissions, mask) == reference.decode(emissions, mask)
    for reduction in ("none", "sum", "mean", "token_mean"):
        theirs = reference(emissions, gold, mask, reduction=reduction)
        torch.testing.assert_close(ours(emissions, gold, mask, reduction=reduction), theirs)


def test_tied_paths_have_the_same_score_as_torchcrf() -> None:
    ours, reference = pair(3, 0)
    with torch.no_grad():
        for crf in (ours, reference):
            for parameter in crf.parameters():
                parameter.round_()
    emissions = torch.randint(-1, 2, (200, 9, 3)).float()
    expected = reference.decode(emissions, torch.ones(200, 9, dtype=torch.bool))
    for row, (own, theirs) in enumerate(zip(ours.decode(emissions), expected, strict=True)):
        assert score(ours, emissions[row], tuple(own)) == score(ours, emissions[row], tuple(theirs))


def test_empty_sequences_count_as_certain_and_take_part_in_the_mean() -> None:
    crf, reference = pair(3, 1)
    emissions, gold = torch.randn(3, 4, 3), torch.randint(3, (3, 4))
    mask = prefix([0, 4, 0], 4)
    only = reference(emissions[1:2], gold[1:2], mask[1:2], reduction="sum")
    torch.testing.assert_close(crf(emissions, gold, mask, reduction="mean"), only / 3)
    torch.testing.assert_close(crf(emissions, gold, mask, reduction="token_mean"), only / 4)
    assert crf.decode(emissions, mask)[0] == [] == crf.decode(emissions, mask)[2]


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 0, 4), (0, 3, 4)])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "token_mean"])
def test_nothing_at_all_is_differentiable_and_decodes_to_nothing(shape: tuple[int, int, int], reduction: str) -> None:
    crf = CRF(4)
    emissions, mask = torch.randn(shape), torch.zeros(shape[:2], dtype=torch.bool)
    loss = crf(emissions, torch.zeros(shape[:2], dtype=torch.long), mask, reduction=reduction)
    assert loss.sum().item() == 0
    loss.sum().backward()
    assert crf.start_transitions.grad is not None and not crf.start_transitions.grad.any()
    assert crf.decode(emissions, mask) == [[]] * shape[0]


def test_padding_never_matters_not_even_infinite() -> None:
    crf, _ = pair(3, 2)
    emissions, gold, mask = torch.randn(2, 5, 3), torch.randint(3, (2, 5)), prefix([2, 5], 5)
    spoilt = emissions.clone()
    spoilt[0, 2:] = float("nan")
    spoilt.requires_grad_()
    loss = crf(spoilt, gold, mask, reduction="sum")
    torch.testing.assert_close(loss, crf(emissions, gold, mask, reduction="sum"))
    loss.backward()
    assert spoilt.grad is not None and not spoilt.grad[0, 2:].any() and spoilt.grad.isfinite().all()
    assert crf.decode(spoilt, mask) == crf.decode(emissions, mask)


def test_decode_leaves_its_input_alone() -> None:
    for shape in ((4, 6, 3), (1, 6, 3), (4, 6, 1), (1, 1, 1)):
        crf, emissions = CRF(shape[2]), torch.randn(shape)
        before = emissions.clone()
        crf.decode(emissions)
        assert torch.equal(emissions, before)


def test_float32_under_autocast() -> None:
    crf, _ = pair(5, 3)
    emissions, gold = torch.randn(4, 30, 5), torch.randint(5, (4, 30))
    half = emissions.bfloat16()
    expected = crf(half.float(), gold, reduction="none")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = crf(half, gold, reduction="none")
        paths = crf.decode(half)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert paths == crf.decode(half.float())


def test_gradient_by_finite_differences() -> None:
    crf = pair(3, 4)[0].double()
    emissions = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    gold, mask = torch.randint(3, (3, 4)), prefix([4, 0, 2], 4)
    assert torch.autograd.gradcheck(lambda scores: crf(scores, gold, mask, reduction="none"), emissions)


@pytest.mark.parametrize(
    "call",
    [
        lambda crf: crf.decode(torch.randn(2, 3)),
        lambda crf: crf.decode(torch.randn(2, 3, 1)),
        lambda crf: crf.decode(torch.randn(2, 3, 4), torch.ones(2, 2)),
        lambda crf: crf.decode(torch.randn(1, 3, 4), torch.tensor([[True, False, True]])),
        lambda crf: crf(torch.randn(1, 3, 4), torch.zeros(1, 3, dtype=torch.long), reduction="median"),
        lambda crf: crf(torch.randn(1, 3, 5), torch.zeros(1, 3, dtype=torch.long)),
    ],
)
def test_wrong_shapes_masks_and_reductions_are_refused(call: object) -> None:
    with pytest.raises(ValueError):
        call(CRF(4))  # type: ignore[operator]


def many(tags: int, spread: float, lengths: list[int]) -> tuple[CRF, torchcrf.CRF, torch.Tensor, torch.Tensor]:
    """Return both CRFs with transitions as wide as `spread`, a mask, and gold tags."""
    ours, reference = pair(tags, 5)
    with torch.no_grad():
        for crf in (ours, reference):
            crf.transitions.copy_(torch.rand(tags, tags, generator=torch.Generator().manual_seed(6)) * spread)
    return ours, reference, prefix(lengths, max(lengths)), torch.randint(tags, (len(lengths), max(lengths)))


@pytest.mark.parametrize("spread", [1.0, 39.0, 300.0])
def test_many_tags_have_the_likelihood_and_gradient_of_torchcrf(spread: float) -> None:
    """Below and above the range of transitions that matrix products of exponentials bear."""
    ours, reference, mask, gold = many(150, spread, [7, 1, 4])
    emissions = torch.randn(3, 7, 150) * 50
    grads = []
    for crf in (ours, reference):
        scores = emissions.clone().requires_grad_()
        crf(scores, gold, mask, reduction="sum").backward()
        grads.append([scores.grad, *(parameter.grad for parameter in crf.parameters())])
    for reduction in ("none", "sum", "mean", "token_mean"):
        theirs = reference(emissions, gold, mask, reduction=reduction)
        torch.testing.assert_close(ours(emissions, gold, mask, reduction=reduction), theirs)
    for own, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("terms", [1, 40_000, 10**6])
def test_many_tags_have_the_best_paths_of_torchcrf(monkeypatch: pytest.MonkeyPatch, terms: int) -> None:
    """Whatever the number of rows that are searched at once."""
    monkeypatch.setattr("avebench.nn.crf.VITERBI_TERMS", terms)
    ours, reference, mask, _ = many(130, 2.0, [3, 1, 6, 1, 6])
    emissions = torch.randn(5, 6, 130)
    assert ours.decode(emissions, mask) == reference.decode(emissions, mask)
    with_empty = prefix([0, 4], 4)
    assert ours.decode(emissions[:2, :4], with_empty)[0] == []
    assert ours.decode(emissions[:2, :4], with_empty)[1:] == reference.decode(emissions[1:2, :4], with_empty[1:])
