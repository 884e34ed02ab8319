"""Pretraining: word pieces, masking, labels of pictures, the shipped encoders, and the same bytes again."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from tokenizers.implementations import BertWordPieceTokenizer
from transformers import AutoImageProcessor, BertForMaskedLM, BertTokenizer
from typer.testing import CliRunner

from avebench.commands.app import app
from avebench.contracts.examples import Example, Picture
from avebench.data.opening import open_dataset
from avebench.files.errors import AvebenchError
from avebench.nn.image_encoder import ImageEncoder
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.weights import ENCODERS, Modality, encoder_folder, weights_digest
from avebench.training import encoder_folders, pretraining
from avebench.training.denoising import DenoisingRecipe
from avebench.training.generator_pretraining import GeneratorPlan, generator_plan
from avebench.training.masked_lm import Recipe, WordMasker, masked_accuracy
from avebench.training.picture_classifier import PictureAccuracy, PictureRecipe, augmented, loss_of, picture_accuracy
from avebench.training.picture_labels import LabelledPictures, Labels, labelled, labels_of, products_of
from avebench.training.pieces import IGNORED
from avebench.training.pretraining import PicturePlan, TextPlan, picture_plan, pretrain_image, pretrain_text, text_plan
from avebench.training.wordpieces import CONTINUES, SPECIAL, learn_pieces, words

TINY = TextPlan(
    sentences=300,
    held_out=60,
    pieces=400,
    min_count=5,
    recipe=Recipe(layers=1, width=32, heads=2, feed_forward=64, steps=3, batch_size=16),
)

TINY_GENERATOR = GeneratorPlan(
    60, 10, 300, 2, DenoisingRecipe(steps=3, layers=1, width=32, heads=2, feed_forward=64, batch_size=8)
)
TINY_PICTURES = PicturePlan(
    examples=300,
    held_out=60,
    min_count=5,
    size=32,
    recipe=PictureRecipe(stem=8, widths=(8, 16), depths=(1, 1), steps=3, batch_size=16),
)


@pytest.fixture(scope="module")
def shipped() -> TextEncoder:
    return TextEncoder("demo", "word")


@pytest.fixture(scope="module")
def unseen() -> list[str]:
    """Sentences of another stream than the one that the shipped encoder was trained on and measured with."""
    dataset = open_dataset("demo", None, {})
    return [example.text for example in dataset.read("valid")][:200]


# Word pieces


def _spelled(pieces: list[str], word: str) -> list[str]:
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})
    return tokenizer.tokenize(word)


def test_merges_worked_by_hand() -> None:
    """ab x3, abc x2, b x1: (a, ##b) occurs 5 times, then (ab, ##c) twice."""
    pieces = learn_pieces(["ab ab abc", "AB abc b"], size=1000, min_count=2)
    assert pieces[-2:] == ["ab", "abc"]
    assert learn_pieces(["ab ab abc", "AB abc b"], size=1000, min_count=3)[-1] == "ab"
    assert _spelled(pieces, "abcab") == ["abc", "##a", "##b"]


def test_pieces_do_not_depend_on_the_order_of_hash_tables() -> None:
    code = (
        "from avebench.datasets.demo.generator import generate; from avebench.training.wordpieces import learn_pieces;"
        "print(*learn_pieces((example.text for example in generate('train', 300)), 500))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert len(printed.pop().split()) == 500


def test_ties_fall_by_spelling() -> None:
    assert learn_pieces(["zy xw zy xw"], size=1000)[-2:] == ["xw", "zy"]


def test_a_repeated_letter_is_merged_from_the_left() -> None:
    pieces = learn_pieces(["aaaa aaaa"], size=1000)
    assert pieces[-3:] == ["##aa", "##aaa", "aaaa"]


def _by_definition(texts: list[str], merges: int) -> list[str]:
    """The textbook loop: count every pair of all words anew before every merge."""
    spelled = [[word[0], *(CONTINUES + letter for letter in word[1:])] for word in words(texts)]
    made: list[str] = []
    for _ in range(merges):
        pairs = Counter(pair for word in spelled for pair in pairwise(word))
        if not pairs or max(pairs.values()) < 2:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        made.append(left + right.removeprefix(CONTINUES))
        for word in spelled:
            place = 0
            while place < len(word) - 1:
                if (word[place], word[place + 1]) == (left, right):
                    word[place : place + 2] = [made[-1]]
                place += 1
    return made


@given(st.lists(st.text("abc ", max_size=12), max_size=8))
def test_merges_are_those_of_the_textbook_loop(texts: list[str]) -> None:
    known = len(learn_pieces([], size=1000))
    assert list(dict.fromkeys(_by_definition(texts, 50))) == learn_pieces(texts, size=1000)[known:]


def test_pieces_agree_with_the_library_where_nothing_ties() -> None:
    """Every word stands with its beginnings, each at another power of two: no two pairs are ever equally frequent."""
    beginnings = ["do", "dot", "dots", "lo", "loo", "loop", "sp", "spo", "spot", "spots"]
    texts = [" ".join([word] * 2**power) for power, word in enumerate(beginnings)]
    library = BertWordPieceTokenizer(lowercase=True)
    library.train_from_iterator(texts, vocab_size=1000, min_frequency=2, show_progress=False)
    theirs = sorted(library.get_vocab().items(), key=lambda item: item[1])
    merged = [piece for piece, _ in theirs if len(piece.removeprefix(CONTINUES)) > 1 and piece not in SPECIAL]
    assert len(merged) >= 10
    assert learn_pieces(texts, size=1000, min_count=2)[-len(merged) :] == merged


def test_a_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(AvebenchError, match="a vocabulary of 20 is too small"):
        learn_pieces(["a dress"], size=20)


# Masking


@pytest.fixture(scope="module")
def masker() -> WordMasker:
    pieces = [*SPECIAL, "a", "b", "c", "##x", "##y"]
    return WordMasker(BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}), 0.15)


@pytest.fixture(scope="module")
def batch(masker: WordMasker) -> torch.Tensor:
    """4,000 rows [CLS] a ##x ##y b c ##x [SEP], every second one without the last word and padded."""
    return masker.padded([[2, 5, 8, 9, 6, 7, 8, 3], [2, 5, 8, 9, 6, 3]] * 2000)


def test_whole_words_are_chosen_and_nothing_else(masker: WordMasker, batch: torch.Tensor) -> None:
    _, targets = masker(batch, generator=torch.Generator().manual_seed(1))
    chosen = targets != IGNORED
    assert torch.equal(targets[chosen], batch[chosen])
    assert not chosen[batch < len(SPECIAL)].any()
    assert torch.equal(chosen[:, 1], chosen[:, 2]) and torch.equal(chosen[:, 2], chosen[:, 3])
    assert torch.equal(chosen[::2, 5], chosen[::2, 6])
    shares = [chosen[:, 1], chosen[:, 4], chosen[::2, 5]]
    for share in shares:
        assert abs(float(share.float().mean()) - 0.15) < 4 * (0.15 * 0.85 / len(share)) ** 0.5
    together = (chosen[:, 1] & chosen[:, 4]).float().mean()
    assert abs(float(together) - 0.15**2) < 4 * (0.15**2 / len(chosen)) ** 0.5


def test_chosen_words_are_hidden_swapped_or_left(masker: WordMasker, batch: torch.Tensor) -> None:
    read, targets = masker(batch, generator=torch.Generator().manual_seed(2))
    assert torch.equal(read[targets == IGNORED], batch[targets == IGNORED])
    word = targets[:, 1] != IGNORED
    masked = read[word][:, 1:4] == masker.mask
    count = int(word.sum())
    # All three pieces share the word's fate; a tenth of the swapped ones are [MASK] by chance.
    for piece in range(3):
        share = float(masked[:, piece].float().mean())
        assert abs(share - 0.81) < 4 * (0.81 * 0.19 / count) ** 0.5
    assert float(masked.all(dim=1).float().mean()) > 0.75
    kept = (read[word][:, 1:4] == batch[word][:, 1:4]).all(dim=1).float().mean()
    assert abs(float(kept) - 0.1) < 4 * (0.1 * 0.9 / count) ** 0.5


def test_everything_chosen_is_hidden_for_measuring(masker: WordMasker, batch: torch.Tensor) -> None:
    read, targets = masker(batch, hide=1.0, swap=0.0)
    assert torch.equal(read == masker.mask, targets != IGNORED)


# Labels of pictures


def _example(number: int, picture: str | None, category: str | None, **pairs: set[str]) -> Example:
    drawn = None if picture is None else Picture(picture, lambda: Image.new("RGB", (4, 4), (number, 0, 255)))
    values = {attribute: frozenset(found) for attribute, found in pairs.items()}
    return Example(str(number), "", (), pairs=values, picture=drawn, category=category)


EXAMPLES = [
    _example(1, "a", "shoe", colour={"Red"}),
    _example(2, "a", "shoe", colour={"blue"}, kind={"low"}),
    _example(3, None, "shoe", colour={"green"}),
    _example(4, "b", None, colour={"green"}),
    _example(5, "c", "bag", colour={"red"}, kind={"low"}),
    _example(6, "d", "bag", kind={"low", "rare"}),
    _example(7, "e", "bag", colour={"blue"}),
    _example(8, "f", "hat", colour={"red", "pale"}),
]


def test_sentences_of_a_picture_become_one_product() -> None:
    products = products_of(EXAMPLES)
    assert [product.picture.name for product in products] == ["a", "c", "d", "e", "f"]
    assert products[0].pairs == {("colour", "red"), ("colour", "blue"), ("kind", "low")}


def test_labels_worked_by_hand() -> None:
    """Colour red 3 times, blue twice; kind low 3 times, but nothing to tell it from; pale and rare once."""
    products = products_of(EXAMPLES)
    labels = labels_of(products, 2)
    assert labels.categories == ("bag", "hat", "shoe")
    assert labels.values == (("colour", "red"), ("colour", "blue"))
    found = labelled(products, labels, 4)
    assert found.categories.tolist() == [2, 0, 0, 0, 1]
    assert found.shown.tolist() == [[True, True], [True, False], [False, False], [False, True], [True, False]]
    assert found.annotated.tolist() == [[True, True], [True, True], [False, False], [True, True], [True, True]]
    assert found.pixels[:, :, 0, 0].tolist() == [[number, 0, 255] for number in (2, 5, 6, 7, 8)]
    assert labels_of(products, 1).columns() == {"colour": [0, 2, 3], "kind": [1, 4]}
    assert labelled(products, Labels(("hat",), labels.values), 4).categories.tolist() == [-1, -1, -1, -1, 0]


def test_pictures_with_nothing_to_tell_apart_are_refused() -> None:
    with pytest.raises(AvebenchError, match="nothing to tell apart in 5 pictures"):
        labels_of(products_of(EXAMPLES), 4)


def test_the_loss_is_that_of_its_definition() -> None:
    """What is not told has no part in it and no gradient."""
    generator = torch.Generator().manual_seed(4)
    categories, values = torch.randn(5, 3, generator=generator), torch.randn(5, 4, generator=generator)
    values.requires_grad_()
    told = torch.rand(5, 4, generator=generator) < 0.5
    shown = told & (torch.rand(5, 4, generator=generator) < 0.5)
    pictures = LabelledPictures(torch.empty(5), torch.tensor([0, 2, 1, 1, 0]), shown, told)
    expected = 0.0
    for row in range(5):
        expected -= float(categories[row].softmax(0)[pictures.categories[row]].log())
        for column in range(4):
            probability = float(values[row, column].detach().sigmoid())
            expected -= int(told[row, column]) * np.log(probability if shown[row, column] else 1 - probability)
    loss = loss_of(categories, values, pictures)
    assert float(loss.detach()) == pytest.approx(expected / 5, rel=1e-5)
    loss.backward()
    assert values.grad is not None and torch.equal(values.grad != 0, told)


def test_augmented_pictures_are_mirrored_and_moved_with_edges_repeated() -> None:
    torch.manual_seed(6)
    pixels = torch.randint(256, (400, 3, 6, 6), dtype=torch.uint8)
    found = augmented(pixels, 1)
    assert found.shape == pixels.shape and found.dtype == torch.uint8
    met = Counter()
    for picture, moved in zip(pixels.numpy(), found.numpy(), strict=True):
        padded = np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge")
        places = {
            (down, right, mirrored): padded[:, down : down + 6, right : right + 6][:, :, :: -1 if mirrored else 1]
            for down in range(3)
            for right in range(3)
            for mirrored in (False, True)
        }
        met.update([next(place for place, expected in places.items() if np.array_equal(expected, moved))])
    assert len(met) == 18


@given(st.integers(0, 2**32))
def test_picture_accuracy_is_that_of_counting(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = Labels(("x", "y"), (("a", "1"), ("b", "1"), ("a", "2"), ("a", "3"), ("b", "2")))
    count = int(random.integers(1, 9))
    shown = random.random((count, 5)) < 0.3
    categories = random.integers(-1, 2, count)
    logits = torch.from_numpy(random.random((count, 2))), torch.from_numpy(random.random((count, 5)))
    right = frequent = asked = 0
    for row in range(count):
        for columns in ([0, 2, 3], [1, 4]):
            best = max(columns, key=lambda column: logits[1][row, column])
            asked += int(any(shown[row, column] for column in columns))
            right += int(shown[row, best])
            frequent += int(shown[row, columns[0]])

    class Fixed(torch.nn.Module):
        mean = torch.zeros(1)

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return logits

    told = torch.zeros(count, 5, dtype=torch.bool)  # Not looked at here.
    pictures = LabelledPictures(torch.empty(count), torch.from_numpy(categories), torch.from_numpy(shown), told)
    assert picture_accuracy(Fixed(), pictures, labels) == PictureAccuracy(
        category=100 * sum(logits[0].argmax(1).numpy() == categories) / count,
        most_frequent_category=100 * sum(categories == 0) / count,
        value=100 * right / max(1, asked),
        most_frequent_value=100 * frequent / max(1, asked),
        pictures=count,
        attributes=asked,
    )


# The shipped encoders


def test_the_shipped_encoder_loads_in_float32(shipped: TextEncoder) -> None:
    folder = encoder_folder("demo")
    assert folder == ENCODERS / "demo-text"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4 << 20
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    assert {parameter.dtype for parameter in shipped.parameters()} == {torch.float32}
    assert (shipped.hidden, shipped.limit) == (128, 64)
    assert len(weights_digest("demo")) == 64


def test_a_folder_of_the_same_name_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert encoder_folder("./demo").resolve() == tmp_path / "demo"
    assert encoder_folder("demo") == ENCODERS / "demo-text"


def test_the_shipped_encoder_reads_every_word_of_the_demo_set(shipped: TextEncoder) -> None:
    dataset = open_dataset("demo", None, {})
    unknown, pieces, units = 0, 0, 0
    for split in ("train", "valid", "test"):
        for example in dataset.read(split):
            encoded = shipped.encode(example)
            assert encoded.truncated == 0
            unknown += int((encoded.ids == shipped.tokenizer.unk_token_id).sum())
            pieces += int(encoded.counts.sum())
            units += len(encoded.counts)
    assert unknown == 0
    assert pieces < 1.25 * units


def test_the_shipped_encoder_guesses_hidden_words(unseen: list[str]) -> None:
    """It beats always guessing the most frequent piece by far, and comes near the figure on its card."""
    folder = encoder_folder("demo")
    tokenizer = BertTokenizer.from_pretrained(folder)
    model = BertForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    rows = tokenizer(unseen)["input_ids"]
    counts = Counter(piece for row in rows for piece in row[1:-1])
    found = masked_accuracy(model, WordMasker(tokenizer, 0.15), rows, counts.most_common(1)[0][0], seed=3)
    assert found.pieces > 300
    assert found.model > found.most_frequent + 20
    card = json.loads((folder / encoder_folders.CARD).read_text())["held_out"]
    error = 100 * (0.25 / found.pieces) ** 0.5
    assert abs(found.model - card["masked_accuracy"]) < 4 * error


def test_the_shipped_picture_encoder_is_small_and_gives_a_grid_of_4x4() -> None:
    folder = encoder_folder("demo", "image")
    assert folder == ENCODERS / "demo-image"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2 << 20
    stored = load_file(folder / "model.safetensors").values()
    assert {tensor.dtype for tensor in stored if tensor.is_floating_point()} == {torch.float16}
    encoder = ImageEncoder("demo", size=64, tuned=False)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert (encoder.channels, encoder.patches) == (128, 16)
    assert len({weights_digest("demo"), weights_digest("demo", "image")}) == 2


def _told_by_ridge(encoder: ImageEncoder, learnt: LabelledPictures, asked: LabelledPictures) -> float:
    """Return the share of the categories that a ridge regression on the mean patches tells."""
    with torch.no_grad():
        known, new = (encoder(pictures.pixels).mean(1).double() for pictures in (learnt, asked))
    mean, deviation = known.mean(0), known.std(0) + 1e-6
    known, new = (torch.cat([(part - mean) / deviation, torch.ones(len(part), 1)], 1) for part in (known, new))
    targets = torch.nn.functional.one_hot(learnt.categories).double()
    weights = torch.linalg.solve(known.T @ known + torch.eye(known.size(1)), known.T @ targets)
    return float(((new @ weights).argmax(1) == asked.categories).double().mean())


def test_the_shipped_picture_encoder_sees_what_a_picture_shows() -> None:
    """A linear probe on its frozen patches beats one on random weights, which beats the most frequent category."""
    dataset = open_dataset("demo", None, {})
    products = [products_of(list(dataset.read(split))[:count]) for split, count in (("train", 400), ("valid", 200))]
    labels = labels_of(products[0], 10)
    learnt, asked = (labelled(some, labels, 64) for some in products)
    encoder, other = ImageEncoder("demo", size=64, tuned=False), ImageEncoder("demo", size=64, tuned=False)
    torch.manual_seed(8)
    for module in other.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.reset_parameters()
    found, by_chance = (_told_by_ridge(some, learnt, asked) for some in (encoder, other))
    majority = float((asked.categories == 0).double().mean())
    assert found > 0.9
    assert found > by_chance + 0.1 > majority + 0.1


PLANS = [("text", text_plan()), ("image", picture_plan()), ("generator", generator_plan())]


@pytest.mark.parametrize(("half", "plan"), PLANS)
def test_the_card_says_what_the_encoder_was_made_from(
    half: Modality, plan: TextPlan | PicturePlan | GeneratorPlan
) -> None:
    """It was made by the plan as it stands, from the demo set as it stands."""
    card = json.loads((encoder_folder("demo", half) / encoder_folders.CARD).read_text())
    assert card["plan"] == json.loads(json.dumps(pretraining.asdict(plan)))
    assert card["fingerprint"] == open_dataset("demo", None, {}).fingerprint()
    assert not card["uncommitted_changes"]


# Making one


def test_the_same_call_gives_the_same_bytes(tmp_path: Path) -> None:
    lines: list[str] = []
    one, accuracy = pretrain_text("demo", tmp_path / "one", TINY, report=lines.append)
    torch.rand(7)  # The caller's random state does not matter.
    two, _ = pretrain_text("demo", tmp_path / "two", TINY)
    assert one == tmp_path / "one" / "demo-text"
    assert [path.name for path in one.parent.iterdir()] == ["demo-text"]
    names = {path.name for path in one.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", encoder_folders.CARD} <= names
    for name in names - {encoder_folders.CARD}:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert accuracy.pieces > 0
    assert lines[-1].startswith("step 3 of 3: loss ")
    assert TextEncoder(str(one), "word").hidden == 32


def test_another_seed_gives_another_encoder_and_replaces_the_first(tmp_path: Path) -> None:
    folder, _ = pretrain_text("demo", tmp_path, TINY)
    before = (folder / "model.safetensors").read_bytes()
    pretrain_text("demo", tmp_path, replace(TINY, recipe=replace(TINY.recipe, seed=1)))
    assert (folder / "model.safetensors").read_bytes() != before
    assert list(tmp_path.iterdir()) == [folder]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    lines: list[str] = []
    plan = replace(TINY, recipe=replace(TINY.recipe, steps=120, learning_rate=3e-3))
    pretrain_text("demo", tmp_path, plan, report=lines.append)
    losses = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("step")]
    assert len(losses) == 20
    assert losses[-1] < losses[0] - 0.5


def test_threads_and_random_state_of_the_caller_stay(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    pretrain_text("demo", tmp_path, TINY)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_held_out_texts_are_new() -> None:
    texts, held_out = encoder_folders.texts_of(open_dataset("demo", None, {}), TINY.sentences, TINY.held_out)
    assert len(texts) == 300 and 50 <= len(held_out) <= 60
    assert not set(texts) & set(held_out)
    dataset = open_dataset("demo", None, {})
    splits = {example.product_id for split in ("train", "valid", "test") for example in dataset.read(split)}
    assert not splits & {example.product_id for example in dataset.pretraining(300)}


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "train", fail)
    with pytest.raises(KeyboardInterrupt):
        pretrain_text("demo", tmp_path, TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_is_reported(tmp_path: Path) -> None:
    plan = replace(TINY, recipe=replace(TINY.recipe, learning_rate=float("inf"), steps=3))
    with pytest.raises(AvebenchError, match="loss is not finite around step"):
        pretrain_text("demo", tmp_path, plan)
    assert list(tmp_path.iterdir()) == []


# Making one from pictures


def test_the_same_call_gives_the_same_bytes_of_a_picture_encoder(tmp_path: Path) -> None:
    lines: list[str] = []
    one, accuracy = pretrain_image("demo", tmp_path / "one", TINY_PICTURES, report=lines.append)
    torch.rand(7)  # The caller's random state does not matter.
    two, again = pretrain_image("demo", tmp_path / "two", TINY_PICTURES)
    assert one == tmp_path / "one" / "demo-image"
    assert [path.name for path in one.parent.iterdir()] == ["demo-image"]
    names = {path.name for path in one.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json", encoder_folders.CARD}
    for name in names - {encoder_folders.CARD}:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert accuracy == again and 0 < accuracy.pictures <= 60
    assert lines[-1].startswith("step 3 of 3: loss ")
    other = replace(TINY_PICTURES, recipe=replace(TINY_PICTURES.recipe, seed=1))
    before = (two / "model.safetensors").read_bytes()
    pretrain_image("demo", tmp_path / "two", other)
    assert (two / "model.safetensors").read_bytes() != before


def test_a_picture_encoder_is_prepared_for_as_transformers_does(tmp_path: Path) -> None:
    """A Hugging Face image processor makes of the folder's preprocessor_config.json what `ImageEncoder` makes."""
    folder, _ = pretrain_image("demo", tmp_path, TINY_PICTURES)
    encoder = ImageEncoder(str(folder), size=32, normalisation="encoder")
    assert (encoder.channels, encoder.patches) == (16, 16)
    example = next(iter(open_dataset("demo", None, {}).read("valid")))
    theirs = AutoImageProcessor.from_pretrained(folder, backend="pil")(example.picture.open(), return_tensors="pt")
    ours = encoder.normalise(encoder.encode(example))
    assert torch.allclose(theirs["pixel_values"][0], ours, atol=1e-5)
    assert torch.equal(ours, ImageEncoder(str(folder), size=32).normalise(encoder.encode(example)))


def test_training_on_pictures_lowers_the_loss(tmp_path: Path) -> None:
    lines: list[str] = []
    recipe = replace(TINY_PICTURES.recipe, steps=60, learning_rate=1e-2)
    _, accuracy = pretrain_image("demo", tmp_path, replace(TINY_PICTURES, recipe=recipe), report=lines.append)
    losses = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("step")]
    assert len(losses) == 20
    assert losses[-1] < losses[0] - 2
    assert accuracy.category > accuracy.most_frequent_category


def test_held_out_pictures_are_of_other_products() -> None:
    dataset = open_dataset("demo", None, {})
    examples = list(dataset.pretraining(30))
    # The first product with two sentences is cut in two.
    cut = next(place for place in range(1, 30) if examples[place].product_id == examples[place - 1].product_id)
    learnt, held_out, _ = pretraining._pictures(dataset, replace(TINY_PICTURES, examples=cut, held_out=30, min_count=1))
    pictures = {row.numpy().tobytes() for row in learnt.pixels}
    assert len(pictures) == len({example.product_id for example in examples[:cut]})
    assert not pictures & {row.numpy().tobytes() for row in held_out.pixels}


def test_examples_without_pictures_are_refused() -> None:
    class Texts:
        card = open_dataset("demo", None, {}).card

        def pretraining(self, count: int) -> list[Example]:
            plain = open_dataset("demo", None, {}).pretraining(count)
            return [replace(example, picture=None) for example in plain]

    with pytest.raises(AvebenchError, match=r"gave 360 examples for pretraining: 0 pictures.* give --only text"):
        pretraining._pictures(Texts(), TINY_PICTURES)


# The command


def _command(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["pretrain", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def tiny_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    def text(steps: int | None = None) -> TextPlan:
        return replace(TINY, recipe=replace(TINY.recipe, steps=steps or 3))

    def picture(steps: int | None = None) -> PicturePlan:
        return replace(TINY_PICTURES, recipe=replace(TINY_PICTURES.recipe, steps=steps or 3))

    def generator(steps: int | None = None) -> GeneratorPlan:
        return replace(TINY_GENERATOR, recipe=replace(TINY_GENERATOR.recipe, steps=steps or 3))

    monkeypatch.setattr(pretraining, "text_plan", text)
    monkeypatch.setattr(pretraining, "picture_plan", picture)
    monkeypatch.setattr(pretraining, "generator_plan", generator)


def test_the_command_makes_all_and_prints_how_good_they_are(tmp_path: Path, tiny_plans: None) -> None:
    printed = _command("demo", "--out", str(tmp_path), "--steps", "2")
    text, image, generator = (
        json.loads((tmp_path / f"demo-{half}" / encoder_folders.CARD).read_text())
        for half in ("text", "image", "generator")
    )
    assert [one["plan"]["recipe"]["steps"] for one in (text, image, generator)] == [2, 2, 2]
    filled = generator["held_out"]
    assert f"{filled['denoising_accuracy']:.1f} % of {filled['hidden_pieces']} pieces that were cut out" in printed
    assert f"{text['held_out']['masked_accuracy']:.1f} % of {text['held_out']['hidden_pieces']} hidden" in printed
    assert f"{image['held_out']['category']:.1f} % of the categories of {image['held_out']['pictures']} " in printed
    assert f"{image['held_out']['value']:.1f} % of the values of {image['held_out']['attributes']} " in printed


@pytest.mark.parametrize("half", ["text", "image", "generator"])
def test_one_of_them_is_made_alone(tmp_path: Path, tiny_plans: None, half: str) -> None:
    _command("demo", "--out", str(tmp_path), "--only", half)
    assert [path.name for path in tmp_path.iterdir()] == [f"demo-{half}"]
    card = json.loads((tmp_path / f"demo-{half}" / encoder_folders.CARD).read_text())
    assert card["made_by"] == f"avebench pretrain demo --only {half} --steps 3 --device cpu"


def test_the_plans_take_other_steps() -> None:
    assert text_plan(7) == replace(text_plan(), recipe=replace(text_plan().recipe, steps=7))
    assert picture_plan(7) == replace(picture_plan(), recipe=replace(picture_plan().recipe, steps=7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jsonl"], "The data set 'jsonl' has no examples for pretraining"),
        (["dmeo"], "Did you mean 'demo'"),
        (["demo", "--device", "cuda:99"], "The device 'cuda:99' is not on this machine"),
        (["demo", "--device", "abacus"], "The device 'abacus' is not on this machine"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AvebenchError, match=message):
        _command(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "demo-text").mkdir()
    (tmp_path / "demo-text" / "notes.txt").write_text("mine")
    with pytest.raises(AvebenchError, match="is no encoder made by this command"):
        pretrain_text("demo", tmp_path, TINY)
    assert [path.name for path in (tmp_path / "demo-text").iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AvebenchError, match="cannot be written"):
        pretrain_text("demo", tmp_path / "file", TINY)


def test_a_source_without_new_examples_is_refused() -> None:
    class Short:
        card = open_dataset("demo", None, {}).card

        def pretraining(self, count: int) -> list[object]:
            return list(open_dataset("demo", None, {}).pretraining(10))

    with pytest.raises(AvebenchError, match="gave 10 examples for pretraining, none of them new"):
        encoder_folders.texts_of(Short(), TINY.sentences, TINY.held_out)
