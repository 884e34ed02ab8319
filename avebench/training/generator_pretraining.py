"""The small encoder-decoder that this package trains itself: its pieces, its training and its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration

from avebench.training.denoising import (
    END,
    PAD,
    SPECIAL,
    UNKNOWN,
    DenoisingRecipe,
    SpanCutter,
    build,
    denoising_accuracy,
    marks,
    train,
)
from avebench.training.encoder_folders import progress
from avebench.training.pieces import PieceAccuracy, SentencePlan, most_frequent_piece, pretrain_on_texts
from avebench.training.wordpieces import learn_byte_pairs


@dataclass(frozen=True, slots=True)
class GeneratorPlan(SentencePlan):
    """What the encoder-decoder is made from."""

    recipe: DenoisingRecipe = field(default_factory=DenoisingRecipe)


def generator_plan(steps: int | None = None) -> GeneratorPlan:
    """Return the plan of the shipped encoder-decoder, with another number of steps if given."""
    plan = GeneratorPlan()
    return plan if steps is None else replace(plan, recipe=replace(plan.recipe, steps=steps))


def pretrain_generator(
    name: str,
    out: Path,
    plan: GeneratorPlan,
    device: str = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Path, PieceAccuracy]:
    """Train a T5 on sentences of the data set `name`; return its folder `out`/NAME-generator and its accuracy.

    Folder, bytes and errors are as for `pretrain_on_texts`.
    """
    return pretrain_on_texts(
        name,
        out,
        "generator",
        plan,
        device,
        report,
        task="filling in spans cut out of texts alone: no label, no picture",
        figure="denoising_accuracy",
        tokenizer_of=lambda texts: byte_pair_tokenizer(texts, plan),
        train=lambda tokenizer, texts, held_out: _train(tokenizer, texts, held_out, plan.recipe, device, report),
    )


def byte_pair_tokenizer(texts: Sequence[str], plan: GeneratorPlan) -> PreTrainedTokenizerFast:
    """Return the tokenizer of texts, with the marks of spans that are cut out; every text ends with the end symbol."""
    symbols = [*SPECIAL, *marks(plan.recipe.marks)]
    pieces, merges = learn_byte_pairs(texts, symbols, plan.pieces, plan.min_count)
    inner = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=None, special_tokens=[(END, SPECIAL.index(END))]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers has no types here.
        tokenizer_object=inner,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        extra_special_tokens=marks(plan.recipe.marks),
        model_max_length=plan.recipe.positions,
    )


def _train(
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    held_out: Sequence[str],
    recipe: DenoisingRecipe,
    device: str,
    report: Callable[[str], None],
) -> tuple[T5ForConditionalGeneration, PieceAccuracy]:
    """Return the trained model, its weights rounded to float16 as they will be stored, and its accuracy."""
    rows, unseen = (
        tokenizer(list(some), add_special_tokens=False, truncation=True, max_length=recipe.positions)["input_ids"]
        for some in (texts, held_out)
    )
    symbols = range(len(SPECIAL), len(SPECIAL) + recipe.marks)
    cutter = SpanCutter(symbols, recipe.hidden_share, recipe.mean_span)
    model = build(recipe, len(tokenizer))
    train(model, cutter, rows, recipe, device, progress(recipe.steps, report))
    rounded = model.half().float()  # type: ignore[no-untyped-call]  # transformers has no types here.
    return rounded, denoising_accuracy(rounded, cutter, unseen, most_frequent_piece(rows))
