"""The formulas of DRAM's blocks against loops over their indices, and the parameter counts of the papers' sizes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avebench.models.dram.blocks import (
    DyNetGuidance,
    NameGuidance,
    PrototypeGuidance,
    RangeClassifier,
    TextRelatedEmbeddings,
    WarmUp,
    selected_pairs,
)
from avebench.models.dram_names import NameEncoder
from avebench.nn.bilstm_crf import BiLSTMCRF
from avebench.nn.image_encoder import patches_of
from avebench.nn.text_encoder import TextEncoder


def size(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def dot(first: torch.Tensor, second: torch.Tensor) -> float:
    return sum(a.item() * b.item() for a, b in zip(first, second, strict=True))


def related_by_loops(
    tem: TextRelatedEmbeddings, words: torch.Tensor, patches: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return E_m (S, H) and A_v (S, P) of one text (S, H) and one picture (P, C), one number after the other."""
    root, tensors = math.sqrt(tem.inner), {name: value.double() for name, value in tem.state_dict().items()}

    def project(row: torch.Tensor, name: str) -> torch.Tensor:
        return torch.tensor([dot(row, tensors[name][:, column]) for column in range(tem.inner)], dtype=torch.float64)

    found, maps = [], []
    for position in range(len(words)):
        total = torch.zeros(tem.inner, dtype=torch.float64)
        for key in range(len(words)):
            if mask is None or mask[key]:
                weight = dot(project(words[position], "q_t"), project(words[key], "k_t")) / root
                total += weight * project(words[key], "v_t")
        row = [dot(project(words[position], "q_v"), project(patch, "k_v")) / root for patch in patches]
        for weight, patch in zip(row, patches, strict=True):
            total += weight * project(patch, "v_v")
        found.append([dot(total, line) for line in tensors["out.weight"]])
        maps.append(row)
    return torch.tensor(found) + tensors["out.bias"], torch.tensor(maps)


@pytest.mark.parametrize("layout", ["transpose", "reshape"])
@pytest.mark.parametrize("lengths", [None, [4, 2]])
def test_text_related_embeddings_equal_the_formula(layout: str, lengths: list[int] | None) -> None:
    torch.manual_seed(0)
    tem = TextRelatedEmbeddings(6, 5, 3)
    with torch.no_grad():
        for matrix in tem.projections():
            matrix.mul_(100)
    words, grid = torch.randn(2, 4, 6), torch.randn(2, 5, 2, 3)
    patches = patches_of(grid, layout)  # type: ignore[arg-type]
    assert patches[1, 4, 2] == (grid[1, 2, 1, 1] if layout == "transpose" else grid[1].flatten()[4 * 5 + 2])
    mask = None if lengths is None else torch.arange(4) < torch.tensor(lengths).unsqueeze(1)
    related, attention = tem(words, patches, mask)
    for row in range(2):
        expected, weights = related_by_loops(tem, words[row], patches[row], None if mask is None else mask[row])
        torch.testing.assert_close(related[row].double(), expected.double(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(attention[row].double(), weights.double(), atol=1e-5, rtol=1e-5)


def test_masked_positions_are_no_keys_and_pictures_of_zeros_change_nothing() -> None:
    tem = TextRelatedEmbeddings(6, 5, 3)
    words, mask = torch.randn(1, 4, 6), torch.tensor([[True, True, False, False]])
    spoilt = words.clone()
    spoilt[:, 2:] = 1e4
    blank = torch.zeros(1, 7, 5)
    torch.testing.assert_close(tem(words, blank, mask)[0][:, :2], tem(spoilt, blank, mask)[0][:, :2])
    textual = TextRelatedEmbeddings(6, 0, 3)
    textual.load_state_dict({name: value for name, value in tem.state_dict().items() if not name.endswith("_v")})
    alone, attention = textual(words, torch.zeros(1, 0, 0), mask)
    torch.testing.assert_close(alone, tem(words, blank, mask)[0])
    assert attention.shape == (1, 4, 0)


def test_softmax_and_separate_outputs() -> None:
    torch.manual_seed(0)
    tem = TextRelatedEmbeddings(6, 5, 3, softmax=True, output="separate", initialisation="linear")
    words, patches, mask = torch.randn(1, 4, 6), torch.randn(1, 7, 5), torch.tensor([[True, True, True, False]])
    related, attention = tem(words, patches, mask)
    own = ((words @ tem.q_t) @ (words @ tem.k_t).mT / math.sqrt(3))[:, :, :3].softmax(2) @ (words @ tem.v_t)[:, :3]
    assert tem.out_v is not None
    torch.testing.assert_close(attention.sum(2), torch.ones(1, 4))
    torch.testing.assert_close(related, tem.out(own) + tem.out_v(attention @ (patches @ tem.v_v)))


def test_start_of_the_projections() -> None:
    torch.manual_seed(0)
    small, wide = TextRelatedEmbeddings(512, 2048), TextRelatedEmbeddings(512, 2048, initialisation="linear")
    for matrix in small.projections():
        assert matrix.std().item() == pytest.approx(0.01, rel=0.02) and abs(matrix.mean().item()) < 1e-4
    assert wide.k_v.abs().max().item() == pytest.approx(2048**-0.5, rel=1e-3)


def test_guidance_equals_the_formula() -> None:
    torch.manual_seed(0)
    states, index = torch.randn(3, 4, 6), torch.tensor([1, 0, 1])
    prototypes, dynet, names = PrototypeGuidance(2, 6), DyNetGuidance(2, 6), NameGuidance(2, 6)
    names.names.copy_(torch.randn(2, 6))
    other = torch.randn(2, 6)
    for found, vectors in (
        (prototypes(states, index), prototypes.prototypes),
        (names(states, index), names.names),
        (names(states, index, other), other),
    ):
        assert found.shape == (3, 4, 12)
        for pair, attribute in enumerate([1, 0, 1]):
            for place in range(4):
                state, vector = states[pair, place], vectors[attribute]
                cosine = dot(state, vector) / math.sqrt(dot(state, state) * dot(vector, vector))
                torch.testing.assert_close(found[pair, place], torch.cat([state, cosine * state]))
    for pair, attribute in enumerate([1, 0, 1]):
        expected = torch.cat([states[pair], states[pair] @ dynet.matrices[attribute]], dim=1)
        torch.testing.assert_close(dynet(states, index)[pair], expected)
    assert prototypes(torch.zeros(1, 2, 6), torch.tensor([0])).eq(0).all()
    spread = DyNetGuidance(20, 50).matrices - torch.eye(50)
    assert spread.std().item() == pytest.approx(0.02, rel=0.05)


def test_frozen_names_are_the_encoders_own_vectors(tiny_bert) -> None:  # type: ignore[no-untyped-def]
    names = ["color", "a long dress", "kind"]
    encoder = TextEncoder(str(tiny_bert), "word").eval()
    frozen = NameEncoder(names, "frozen", str(tiny_bert), "word")
    assert not list(frozen.parameters())
    found = frozen.frozen()
    for row, name in zip(found, names, strict=True):
        ids = torch.tensor([encoder.tokenizer(name)["input_ids"]])
        with torch.no_grad():
            torch.testing.assert_close(row, encoder.model(ids).last_hidden_state[0, 0])
    shared = NameEncoder(names, "shared", str(tiny_bert), "word")
    with torch.no_grad():
        vectors, places = shared(torch.tensor([2, 1, 2]), encoder)
    torch.testing.assert_close(vectors[places], found[[2, 1, 2]])
    with shared.remembered(encoder.train()):
        vectors, places = shared(torch.tensor([0, 2]), encoder)
    torch.testing.assert_close(vectors[places], found[[0, 2]])
    assert encoder.training


def test_range_classifier_equals_the_formula_and_starts_at_the_mean_range() -> None:
    torch.manual_seed(0)
    classifier, previous, last = RangeClassifier(4, 3), torch.randn(2, 4), torch.randn(2, 4)
    first, second = classifier.first, classifier.second
    assert first is not None
    hidden = (torch.cat([previous, last], dim=1) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(classifier(previous, last), hidden @ second.weight.T + second.bias)
    single = RangeClassifier(4, 3, layers=1)
    torch.testing.assert_close(single(previous, last), last @ single.second.weight.T + single.second.bias)
    classifier.start_at(0.1)
    torch.testing.assert_close(second.bias.sigmoid(), torch.full((3,), 0.1))
    for share in (0.0, 1.0):
        classifier.start_at(share)
        assert second.bias.isfinite().all()


@pytest.mark.parametrize(
    ("hidden", "projections", "out", "first", "per_attribute", "lstm", "base"),
    [
        (512, 1_228_800, 102_912, 524_800, 513, 6_299_648, 1_576_960),
        (768, 1_433_600, 154_368, 1_180_416, 769, 14_168_064, 3_545_088),
    ],
)
def test_parameter_counts_of_the_papers_sizes(
    hidden: int, projections: int, out: int, first: int, per_attribute: int, lstm: int, base: int
) -> None:
    tem = TextRelatedEmbeddings(hidden, 2048)
    assert sum(matrix.numel() for matrix in tem.projections()) == projections
    assert size(tem.out) == out and size(tem) == projections + out
    classifier = RangeClassifier(hidden, 27)
    assert classifier.first is not None
    assert size(classifier.first) == first and size(classifier.second) == 27 * per_attribute
    assert size(PrototypeGuidance(26, hidden)) == 26 * hidden
    assert size(DyNetGuidance(2, hidden)) == 2 * hidden**2
    guided, plain = BiLSTMCRF(2 * hidden, 3), BiLSTMCRF(hidden, 3)
    assert size(guided.lstm) == lstm and size(plain.lstm) == base
    assert size(guided.linear) == {512: 3_075, 768: 4_611}[hidden]
    assert size(guided.crf) == 3**2 + 2 * 3


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 4),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(1, 7),
    st.integers(0, 99),
)
def test_selected_pairs_against_brute_force(
    rows: int, attributes: int, with_gold: bool, predicted: bool, cap: int | None, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(rows, attributes, generator=generator)
    gold = torch.rand(rows, attributes, generator=generator) < 0.3 if with_gold else None
    expected = []
    for row in range(rows):
        kept = [
            number
            for number in range(attributes)
            if (predicted and scores[row, number] > 0.5) or (gold is not None and gold[row, number])
        ]
        kept.sort(key=lambda number: (gold is None or not gold[row, number], -scores[row, number]))
        expected += [(row, number) for number in sorted(kept[:cap])]
    found = selected_pairs(scores, 0.5, gold, predicted=predicted, cap=cap)
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


def test_warm_up_waits_for_a_sensible_range_within_its_bounds() -> None:
    settled = WarmUp(3, 100, mean_gold=2.0)
    assert [settled.advance(2.0) for _ in range(5)] == [False, False, False, True, True]
    assert settled.advance(50.0)  # Once over, it stays over.
    crowded = WarmUp(1, 6, mean_gold=2.0)
    assert [crowded.advance(20.0) for _ in range(8)] == [False] * 6 + [True] * 2
    falling = WarmUp(0, 100, mean_gold=2.0)
    taken = [falling.advance(10.0 if step == 0 else 1.5) for step in range(20)]
    means = [1.5 + 8.5 * 0.9**step for step in range(20)]
    assert taken == [mean <= 4.0 for mean in means] and True in taken and False in taken
    assert not WarmUp(50, 13, 2.0).advance(2.0) and WarmUp(50, 0, 2.0).advance(0.0)


def test_warm_up_continues_from_its_state() -> None:
    whole, first, second = (WarmUp(2, 9, 2.0) for _ in range(3))
    course = [6.0, 5.0, 4.0, 3.0, 2.0, 2.0, 2.0]
    expected = [whole.advance(value) for value in course]
    found = [first.advance(value) for value in course[:3]]
    second.load_state_dict(first.state_dict())
    assert found + [second.advance(value) for value in course[3:]] == expected
