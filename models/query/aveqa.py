"""AVEQA: an attribute is a question, its value a span of the text, or there is none.

Wang et al., Learning to Extract Attribute Value from Product via Question Answering, KDD 2020. Over the states h of
`[CLS] attribute [SEP] text [SEP]`, for the units i of the text:

    begin   softmax over i of w_b . h_i
    end     softmax over i >= b of w_e . [h_b; h_i], b the begin: gold in training, the best at test
    none    sigmoid(w_0 . h_CLS + b_0): above 1/2 the attribute has no value
    L = CE(begin) + CE(end) + beta BCE(none) + alpha T^2 KL(frozen || tuned), the last on masked pieces

The distilled masked language model keeps the encoder near a frozen copy of itself, so that it answers for attributes
that training does not have. Neither code nor alpha, beta, temperature and share of masks were published: those here are
ours. The distributions over pieces are those of the states against the word embeddings, which needs no head that most
weights come without. One value is found per attribute; `head` "sigmoid" is the variant of Google's MAVE code with a
probability for every unit, runs of which are values, and finds several.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from avebench.contracts.examples import AttributeSchema
from avebench.contracts.model import ModelCard, QueryConfig, TrainingConfig, Vocabulary
from avebench.models.query.pairs import Answers, PairModel
from avebench.models.query.questions import BEGIN, INSIDE, OUTSIDE, runs
from avebench.models.shared.options import UnitStateOptions
from avebench.nn.neural import Batch
from avebench.nn.ragged import prefix_mask
from avebench.nn.text_encoder import TextEncoder

CARD = ModelCard(
    name="aveqa",
    summary="Attribute as a question, begin and end of its value, no-answer head, distilled masked language model",
    paper="Learning to Extract Attribute Value from Product via Question Answering, KDD 2020",
    year=2020,
    modality="T",
    family="query",
    implementation=1,
    protocol="all",
    protocols=("oracle", "annotated", "category", "predicted"),
    open_attributes=True,
    needs=("text encoder",),
    published_with="BERT-base",
)
NO_ANSWER = "Score: the probability of an answer, 1 less that of none. "
BEST_SPAN = "The value is the best begin with the best end from there on; end: given that begin."
RUNS = "Values are runs of tokens that are inside one with more than 1/2."


class Config(QueryConfig, UnitStateOptions):
    """Options of AVEQA; sizes and rate are those of a re-implementation (QPAVE), `mepave` has the Chinese encoder."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"mepave": {"text_encoder": "bert-base-chinese"}}

    text_encoder: str = "bert-base-uncased"
    head: Literal["span", "sigmoid"] = "span"
    """One span per attribute, or a probability for every unit."""
    no_answer_weight: float = Field(default=1.0, ge=0)
    """beta."""
    distillation: float = Field(default=1.0, ge=0)
    """alpha; 0: no frozen copy is kept and nothing is masked."""
    temperature: float = Field(default=2.0, gt=0)
    masked: float = Field(default=0.15, gt=0, lt=1)
    """Share of the text's pieces that are masked for the distillation."""
    training: TrainingConfig = TrainingConfig(
        learning_rates={"default": 1e-5}, schedule="linear", batch_size=64, epochs=10, selection="tag_f1"
    )


class Model(PairModel):
    """AVEQA."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary, config.pooling)
        size = self.text_encoder.hidden
        if config.head == "span":
            self.begin = nn.Linear(size, 1, bias=False)
            self.end = nn.Linear(2 * size, 1, bias=False)
        else:
            self.unit = nn.Linear(size, 1)
        self.none = nn.Linear(size, 1)
        self.decides = NO_ANSWER + (BEST_SPAN if config.head == "span" else RUNS)
        self._frozen: tuple[TextEncoder, ...] = ()  # In a tuple it is no sub-module: it is not stored.

    def _mask(self, batch: Batch) -> Tensor:
        return prefix_mask(batch["lengths"], batch["first"].size(1), batch["first"].device)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `begin` and `end`, or `units`; `no_answer`; and `distillation` if it is weighed."""
        parts = ("begin", "end") if self.config.head == "span" else ("units",)
        if not batch["questions"]:
            nothing = self.none.bias.sum() * 0
            return dict.fromkeys(
                [*parts, "no_answer", *(["distillation"] if self.config.distillation else [])], nothing
            )
        states, cls = self.read(batch)
        tags = [question.tags for question in batch["questions"]]
        without = torch.tensor([BEGIN not in row for row in tags], device=states.device)
        losses = self._span_losses(states, batch, tags) if self.config.head == "span" else {}
        if self.config.head == "sigmoid":
            losses["units"] = self._unit_loss(states, batch, tags)
        none = functional.binary_cross_entropy_with_logits(self.none(cls).squeeze(1), without.to(cls.dtype))
        losses["no_answer"] = self.config.no_answer_weight * none
        if self.config.distillation:
            losses["distillation"] = self.config.distillation * self._distillation(batch)
        return losses

    def _span_losses(self, states: Tensor, batch: Batch, tags: list[tuple[int, ...]]) -> dict[str, Tensor]:
        """Return the cross-entropies of begin and end, means over the pairs that have a value; of several the first."""
        found = [(row, *next(runs(path))) for row, path in enumerate(tags) if BEGIN in path]
        if not found:
            nothing = (self.begin.weight.sum() + self.end.weight.sum()) * 0
            return {"begin": nothing, "end": nothing}
        rows, begins, ends = (torch.tensor(column, device=states.device) for column in zip(*found, strict=True))
        begin = functional.cross_entropy(self.begin_scores(states, batch)[rows], begins)
        end = functional.cross_entropy(self.end_scores(states[rows], self._mask(batch)[rows], begins), ends)
        return {"begin": begin, "end": end}

    def begin_scores(self, states: Tensor, batch: Batch) -> Tensor:
        """Return w_b . h_i (Q, S), minus infinity behind a text's last unit."""
        scores: Tensor = self.begin(states).squeeze(2).masked_fill(~self._mask(batch), -torch.inf)
        return scores

    def end_scores(self, states: Tensor, mask: Tensor, begins: Tensor) -> Tensor:
        """Return w_e . [h_b; h_i] (Q, S) for the begins b (Q,), minus infinity before them and behind the text."""
        chosen = states[torch.arange(len(states), device=states.device), begins].unsqueeze(1).expand_as(states)
        scores: Tensor = self.end(torch.cat([chosen, states], dim=2)).squeeze(2)
        before = torch.arange(states.size(1), device=states.device) < begins.unsqueeze(1)
        return scores.masked_fill(before | ~mask, -torch.inf)

    def _unit_loss(self, states: Tensor, batch: Batch, tags: list[tuple[int, ...]]) -> Tensor:
        """Return the binary cross-entropy summed over a text's units, the mean over pairs."""
        gold = torch.zeros(states.shape[:2], device=states.device, dtype=states.dtype)
        for row, path in enumerate(tags):
            gold[row, : len(path)] = torch.tensor([float(tag != OUTSIDE) for tag in path], device=gold.device)
        each = functional.binary_cross_entropy_with_logits(self.unit(states).squeeze(2), gold, reduction="none")
        return (each * self._mask(batch)).sum() / len(tags)

    def _distillation(self, batch: Batch) -> Tensor:
        """Return T^2 KL(frozen || tuned) over masked pieces of the texts, the mean over them; 0 if none is masked."""
        encoder, ids = self.text_encoder, batch["ids"]
        text = (batch["types"] == 1) & (ids != encoder.tokenizer.sep_token_id)
        chosen = (torch.rand(ids.shape).to(ids.device) < self.config.masked) & text
        if not chosen.any():
            return self.none.bias.sum() * 0
        masked = ids.masked_fill(chosen, encoder.tokenizer.mask_token_id)

        def distributions(some: TextEncoder) -> Tensor:
            last = some.layers(some.embed(masked, batch["types"]), batch["mask"], batch)[-1]
            logits = last[chosen] @ some.model.embeddings.word_embeddings.weight.t()
            return functional.log_softmax(logits / self.config.temperature, dim=1)

        tuned = distributions(encoder)
        with torch.no_grad():
            frozen = distributions(self._copy())
        distance = functional.kl_div(tuned, frozen, reduction="batchmean", log_target=True)
        return self.config.temperature**2 * distance

    def _copy(self) -> TextEncoder:
        """Return the encoder as it was pretrained, on the model's device; read anew whenever a training begins."""
        if not self._frozen:
            with torch.random.fork_rng():
                self._frozen = (TextEncoder(self.config.text_encoder, self.schema.units).eval(),)
            self._frozen[0].requires_grad_(False)
        return self._frozen[0].to(self.none.weight.device, self.none.weight.dtype)

    def answers(self, batch: Batch) -> Answers:
        """Return the best span of every pair that has one; with `sigmoid` every run of units above 1/2."""
        states, cls = self.read(batch)
        nothing = self.none(cls).squeeze(1)
        lengths, none, has_value = batch["lengths"], (nothing > 0).tolist(), (-nothing).sigmoid()
        if self.config.head == "sigmoid":
            scores = self.unit(states).squeeze(2)
            inside = ((scores > 0) * INSIDE).tolist()
            found = [list(runs(row[:length])) for row, length in zip(inside, lengths, strict=True)]
            values = [[] if empty else some for some, empty in zip(found, none, strict=True)]
            return Answers(values, has_value, {"inside": scores.sigmoid()})
        begin_scores = self.begin_scores(states, batch)
        begins = begin_scores.argmax(dim=1)
        end_scores = self.end_scores(states, self._mask(batch), begins)
        spans = zip(begins.tolist(), end_scores.argmax(dim=1).tolist(), strict=True)
        one = [[] if empty or not length else [span] for span, length, empty in zip(spans, lengths, none, strict=True)]
        return Answers(one, has_value, {"begin": begin_scores.softmax(dim=1), "end": end_scores.softmax(dim=1)})
