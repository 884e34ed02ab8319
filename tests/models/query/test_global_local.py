"""Global-local attention against a pair-by-pair derivation in float64, gradients included; its blocks against one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from structured_attention import Token, sees, states

from avebench.models.query import global_local
from avebench.models.query.global_local import GlobalLocal, Structure, by_distance, sight
from avebench.nn.text_encoder import TextEncoder

STRUCTURES = {
    "etc": Structure(3, 2),
    "etc-wide": Structure(2, 9),
    "hard": Structure(3, 2, "own", "own"),
    "hard-global": Structure(4, 3, global_long="own"),
    "smartave": Structure(3, 3, global_long="own", apart=True, shown=0),
}
LENGTHS = ((2, 0, 3), (3, 5, 9), (0, 1, 0), (1, 0, 0))
"""Pieces of three segments, by row."""


def build(folder: Path, structure: Structure) -> tuple[TextEncoder, GlobalLocal]:
    torch.manual_seed(0)
    encoder = TextEncoder(str(folder), "word")
    own = GlobalLocal(encoder, structure, 3, (0, 1, 1))
    for vectors in (own.of_global, own.of_long):
        torch.nn.init.normal_(vectors, std=0.5)
    return encoder.double().eval(), own.double().eval()


def batch_of(encoder: TextEncoder, lengths: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    rows, longest = len(lengths), max(sum(row) for row in lengths)
    segments = torch.full((rows, longest), -1)
    for row, counts in enumerate(lengths):
        segments[row, : sum(counts)] = torch.tensor([part for part, count in enumerate(counts) for _ in range(count)])
    return {
        "ids": torch.randint(5, encoder.model.config.vocab_size, (rows, 1 + longest)),
        "segments": segments,
        "kinds": torch.tensor([0, 2, 1]),
        "kind_types": torch.tensor([0, 1, 2]),
        "segment_types": torch.tensor([[0, 1, 2]]).expand(rows, -1),
    }


def tokens_of(batch: dict[str, Any], row: int) -> list[Token]:
    segments = [segment for segment in batch["segments"][row].tolist() if segment >= 0]
    there = [number for number in range(3) if number == 0 or number in segments]
    tops = [Token(number, number, number, kind=(0, 2, 1)[number]) for number in there]
    ids = batch["ids"][row, 1:].tolist()
    longs = [Token(part, place, part, piece=ids[place]) for place, part in enumerate(segments)]
    return [*tops, *longs]


@pytest.mark.parametrize("few", [0, 99], ids=["blocks", "one-block"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_states_and_gradients_are_those_of_all_pairs(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, name: str, few: int
) -> None:
    monkeypatch.setattr(global_local, "FEW_BLOCKS", few)
    encoder, own = build(tiny_bert, STRUCTURES[name])
    batch = batch_of(encoder, LENGTHS)
    tops, pieces = own(encoder, batch)
    assert torch.equal(pieces[:, 0], tops[:, 0])
    weights = torch.randn(pieces.size(1) + 3, tops.size(2)).double()
    found = expected = torch.zeros(()).double()
    for row in range(len(LENGTHS)):
        tokens = tokens_of(batch, row)
        by_hand = states(encoder, own, tokens)
        for token, state in zip(tokens, by_hand, strict=True):
            mine = tops[row, token.place] if token.kind is not None else pieces[row, 1 + token.place]
            assert torch.allclose(mine, state, atol=1e-10)
            number = token.place if token.kind is not None else 3 + token.place
            found, expected = found + mine @ weights[number], expected + state @ weights[number]
    parameters = [*encoder.parameters(), *own.parameters()]
    gradients = torch.autograd.grad(found, parameters, allow_unused=True)
    for one, other in zip(gradients, torch.autograd.grad(expected, parameters, allow_unused=True), strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.allclose(one, other, atol=1e-9)


def test_roberta_has_its_positions_behind_the_padding(tiny_roberta: Path) -> None:
    encoder, own = build(tiny_roberta, STRUCTURES["etc"])
    batch = batch_of(encoder, ((20, 20, 15),))  # 55 of 22 positions.
    tops, pieces = own(encoder, batch)
    by_hand = states(encoder, own, tokens_of(batch, 0))
    assert torch.allclose(torch.cat([tops[0], pieces[0, 1:]]), by_hand, atol=1e-10)


@pytest.mark.parametrize("name", STRUCTURES)
def test_blocks_of_a_long_text_are_the_whole(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    encoder, own = build(tiny_bert, STRUCTURES[name])
    batch = batch_of(encoder, ((7, 130, 261), (2, 350, 0), (0, 0, 77)))
    results = []
    for few in (4, 10_000):
        monkeypatch.setattr(global_local, "FEW_BLOCKS", few)
        tops, pieces = own(encoder, batch)
        filled = batch["segments"] >= 0
        total = (pieces[:, 1:][filled] * torch.linspace(-1, 1, pieces.size(2))).sum() + tops[0].square().sum()
        gradients = torch.autograd.grad(total, [own.of_long, own.of_global, own.tokens])
        results.append([tops[0], pieces[:, 1:][filled], *gradients])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-8)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_token_sees_what_the_structure_says(name: str) -> None:
    structure = STRUCTURES[name]
    torch.manual_seed(1)
    for counts in ((3, 4, 6), (5, 0, 8), (1, 11, 0)):
        segments = torch.tensor([[part for part, count in enumerate(counts) for _ in range(count)] + [-1, -1]])
        length = segments.size(1)
        found = sight(segments, 3, structure, length)
        batch = {"segments": segments, "ids": torch.zeros(1, 1 + length, dtype=torch.long)}
        tokens = tokens_of(batch, 0)
        columns = {token: token.place if token.kind is not None else 3 + token.place for token in tokens}
        of_long = found.of_long[0, 0, 0]  # (L, 3 + A + L)
        around = of_long[:, 3 + found.shown :].clone()
        around[:, : found.shown] |= of_long[:, 3 : 3 + found.shown]
        assert not (of_long[:, 3 : 3 + found.shown] & of_long[:, 3 + found.shown :][:, : found.shown]).any()
        whole = torch.cat([found.of_global[0, 0], torch.cat([of_long[:, :3], around], dim=1)])
        for one in tokens:
            seen = {columns[other] for other in tokens if sees(structure, one, other)}
            assert set(whole[columns[one]].nonzero().flatten().tolist()) == seen


def test_what_is_kept_grows_with_the_length_not_its_square() -> None:
    structure = STRUCTURES["smartave"]
    sizes = [
        sight(torch.tensor([[0] * 3 + [1] * (length - 3)]), 2, structure, structure.radius).of_long.numel()
        for length in (300, 600, 1200)
    ]
    assert sizes[1] == 2 * sizes[0] and sizes[2] == 4 * sizes[0]


@pytest.mark.parametrize(("size", "keys", "before"), [(1, 1, 0), (5, 5, 0), (4, 12, 4), (1, 3, 1)])
def test_products_by_distance(size: int, keys: int, before: int) -> None:
    torch.manual_seed(0)
    queries, vectors = torch.randn(2, 3, 2, size, 4).double(), torch.randn(3, 7, 4).double()
    found = by_distance(queries, vectors, keys, before)
    for query in range(size):
        for key in range(keys):
            distance = max(-3, min(3, key - before - query))
            expected = (queries[:, :, :, query] * vectors[None, :, None, distance + 3]).sum(dim=3)
            assert torch.allclose(found[..., query, key], expected)


def test_with_cls_alone_it_is_at_first_the_encoder(tiny_bert: Path) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(str(tiny_bert), "word").eval()
    ids = torch.randint(5, encoder.model.config.vocab_size, (2, 15))
    ids[:, 0] = encoder.tokenizer.cls_token_id
    mask = torch.arange(15) < torch.tensor([[15], [9]])
    expected = encoder.layers(encoder.embed(ids), mask)[-1]
    own = GlobalLocal(encoder, Structure(14, 3), 1, (0,)).eval()
    with torch.no_grad():
        own.tokens.copy_(encoder.model.embeddings.word_embeddings.weight[encoder.tokenizer.cls_token_id])
    batch = {"ids": ids, "segments": torch.where(mask[:, 1:], 0, -1), "kinds": torch.tensor([0])}
    batch |= {"kind_types": torch.tensor([0]), "segment_types": torch.zeros(2, 1, dtype=torch.long)}
    _, pieces = own(encoder, batch)
    assert torch.allclose(pieces[mask], expected[mask], atol=1e-5)
