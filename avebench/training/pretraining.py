"""The encoders that this package trains itself: `avebench pretrain NAME`, from a data set that can make more examples.

A data set plug-in can be pretrained on if its `Dataset` has the method `pretraining(count)`: examples that are in none
of its splits. The text encoder learns from texts alone, without labels; the picture encoder from pictures, categories
and gold pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL.Image import Resampling
from transformers import BertForMaskedLM, BertTokenizer

from avebench.contracts.seeds import derive_seed
from avebench.files.errors import AvebenchError
from avebench.nn.image_encoder import MEAN_AND_DEVIATION
from avebench.nn.pretrained import quiet
from avebench.nn.weights import Modality
from avebench.training import picture_classifier
from avebench.training.encoder_folders import (
    Source,
    check_device,
    open_source,
    progress,
    whole_folder,
    write_card,
    write_json,
)
from avebench.training.generator_pretraining import generator_plan, pretrain_generator
from avebench.training.masked_lm import Recipe, WordMasker, build, masked_accuracy, train
from avebench.training.optimisation import reproducible
from avebench.training.picture_classifier import PictureAccuracy, PictureClassifier, PictureRecipe, picture_accuracy
from avebench.training.picture_labels import LabelledPictures, Labels, labelled, labels_of, products_of
from avebench.training.pieces import PieceAccuracy, SentencePlan, most_frequent_piece, pretrain_on_texts
from avebench.training.wordpieces import learn_pieces


@dataclass(frozen=True, slots=True)
class TextPlan(SentencePlan):
    """What the text encoder is made from."""

    recipe: Recipe = field(default_factory=Recipe)


def text_plan(steps: int | None = None) -> TextPlan:
    """Return the plan of the shipped encoder, with another number of steps if given."""
    plan = TextPlan()
    return plan if steps is None else replace(plan, recipe=replace(plan.recipe, steps=steps))


@dataclass(frozen=True, slots=True)
class PicturePlan:
    """What the picture encoder is made from.

    The pictures of the first `examples` are learnt, those of `held_out` more are measured on, less those of the same
    products. Values of at least `min_count` learnt pictures are told apart. Pictures are `size` pixels a side.
    """

    examples: int = 14_000
    held_out: int = 2_000
    min_count: int = 50
    size: int = 64
    recipe: PictureRecipe = field(default_factory=PictureRecipe)


def picture_plan(steps: int | None = None) -> PicturePlan:
    """Return the plan of the shipped encoder, with another number of steps if given."""
    plan = PicturePlan()
    return plan if steps is None else replace(plan, recipe=replace(plan.recipe, steps=steps))


def pretrain(
    name: str,
    out: Path,
    steps: int | None = None,
    device: str = "cpu",
    only: Modality | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[str]:
    """Make the encoders of a data set in the folder `out`, or one; yield what each can do, in a sentence."""
    if only in (None, "text"):
        folder, text = pretrain_text(name, out, text_plan(steps), device, report)
        yield (
            f"{folder}: {text.model:.1f} % of {text.pieces} hidden word pieces of held-out text guessed "
            f"({text.most_frequent:.1f} % by always the most frequent one)."
        )
    if only in (None, "image"):
        folder, image = pretrain_image(name, out, picture_plan(steps), device, report)
        yield (
            f"{folder}: {image.category:.1f} % of the categories of {image.pictures} held-out pictures told "
            f"({image.most_frequent_category:.1f} % by always the most frequent one), and {image.value:.1f} % of the "
            f"values of {image.attributes} attributes ({image.most_frequent_value:.1f} %)."
        )
    if only in (None, "generator"):
        folder, written = pretrain_generator(name, out, generator_plan(steps), device, report)
        yield (
            f"{folder}: {written.model:.1f} % of {written.pieces} pieces that were cut out of held-out text filled in "
            f"({written.most_frequent:.1f} % by always the most frequent one)."
        )


def pretrain_text(
    name: str,
    out: Path,
    plan: TextPlan,
    device: str = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Path, PieceAccuracy]:
    """Train a BERT on sentences of the data set `name`; return its folder `out`/NAME-text and its masked accuracy.

    Folder, bytes and errors are as for `pretrain_on_texts`; the masked language model head is included.
    """
    return pretrain_on_texts(
        name,
        out,
        "text",
        plan,
        device,
        report,
        task="masked language model on texts alone: no label, no picture",
        figure="masked_accuracy",
        tokenizer_of=lambda texts: _word_pieces(texts, plan),
        train=lambda tokenizer, texts, held_out: _train(tokenizer, texts, held_out, plan.recipe, device, report),
    )


def _word_pieces(texts: Sequence[str], plan: TextPlan) -> BertTokenizer:
    """Return the tokenizer that is learnt from texts."""
    pieces = learn_pieces(texts, plan.pieces, plan.min_count)
    return BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        do_lower_case=True,
        model_max_length=plan.recipe.positions,
    )


def pretrain_image(
    name: str,
    out: Path,
    plan: PicturePlan,
    device: str = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Path, PictureAccuracy]:
    """Train a ResNet on pictures of the data set `name`; return its folder `out`/NAME-image and its accuracies.

    The folder is what `save_pretrained` makes of the encoder without its classifiers (weights in float16), the file
    preprocessor_config.json of a Hugging Face image processor, and the card. Bytes, errors and replacing are as for
    `pretrain_on_texts`.
    """
    dataset = open_source(name)
    check_device(device)
    learnt, held_out, labels = _pictures(dataset, plan)
    target = out / f"{name}-image"
    with whole_folder(target) as folder:
        report(
            f"{len(learnt.pixels)} pictures to learn from, {len(held_out.pixels)} held out; {len(labels.categories)} "
            f"categories, {len(labels.values)} values of {len(labels.columns())} attributes; {plan.recipe.steps} steps."
        )
        with reproducible(derive_seed("pretraining", name, "image", plan.recipe.seed)):
            model = PictureClassifier(plan.recipe, labels)
            picture_classifier.train(model, learnt, plan.recipe, device, progress(plan.recipe.steps, report))
            model.encoder.half().float()  # type: ignore[no-untyped-call]  # Measured as it will be stored.
            accuracy = picture_accuracy(model, held_out, labels)
        with quiet():
            model.encoder.half().save_pretrained(folder)  # type: ignore[no-untyped-call]  # transformers has no types.
        write_json(folder / "preprocessor_config.json", _preprocessor(plan.size))
        content = {
            "task": "category and attribute values, by gold pairs, of pictures alone: no text",
            "pictures_sha256": hashlib.sha256(learnt.pixels.numpy().tobytes()).hexdigest(),
            "labels": {
                "pictures": len(learnt.pixels),
                "categories": len(labels.categories),
                "values": len(labels.values),
                "attributes": len(labels.columns()),
            },
        }
        write_card(folder, dataset, "image", asdict(plan), device, content, asdict(accuracy))
    return target, accuracy


def _train(
    tokenizer: BertTokenizer,
    texts: Sequence[str],
    held_out: Sequence[str],
    recipe: Recipe,
    device: str,
    report: Callable[[str], None],
) -> tuple[BertForMaskedLM, PieceAccuracy]:
    """Return the trained model, its weights rounded to float16 as they will be stored, and its masked accuracy."""
    rows, unseen = (
        tokenizer(list(some), truncation=True, max_length=recipe.positions)["input_ids"] for some in (texts, held_out)
    )
    masker = WordMasker(tokenizer, recipe.hidden_share)
    model = build(recipe, tokenizer)
    train(model, masker, rows, recipe, device, progress(recipe.steps, report))
    most_frequent = most_frequent_piece(row[1:-1] for row in rows)
    rounded = model.half().float()  # type: ignore[no-untyped-call]  # transformers has no types here.
    return rounded, masked_accuracy(rounded, masker, unseen, most_frequent)


def _pictures(dataset: Source, plan: PicturePlan) -> tuple[LabelledPictures, LabelledPictures, Labels]:
    """Return the pictures to learn from, those held out, and what is told apart."""
    examples = list(dataset.pretraining(plan.examples + plan.held_out))
    first, rest = examples[: plan.examples], examples[plan.examples :]
    known = {example.product_id for example in first}
    learnt = products_of(first)
    held_out = products_of(example for example in rest if example.product_id not in known)
    if not learnt or not held_out:
        raise AvebenchError(
            f"The data set '{dataset.card.name}' gave {len(examples)} examples for pretraining: {len(learnt)} pictures "
            f"with a category among the first {plan.examples}, {len(held_out)} of other products after them. Its "
            "pretraining(count) must yield `count` examples of different products with both; or give --only text."
        )
    labels = labels_of(learnt, plan.min_count)
    return labelled(learnt, labels, plan.size), labelled(held_out, labels, plan.size), labels


def _preprocessor(size: int) -> dict[str, Any]:
    """Return how `ImageEncoder` prepares a picture, in the words of a Hugging Face image processor."""
    mean, deviation = MEAN_AND_DEVIATION["imagenet"]
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": int(Resampling.BILINEAR),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(deviation),
    }
