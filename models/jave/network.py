"""The network of JAVE and M-JAVE (Zhu et al., EMNLP 2020) apart from its encoders.

h_i are states of labelling units, h_CLS is the vector of the sentence, v_j are the regions of the picture and vG is its
pooled vector; d = `inner` = 200, one head. As in the authors' code, attention has no softmax:

    alpha_ik = (W_q h_i) . (W_k h_k) / sqrt(d)              t_i = sum_k alpha_ik W_v h_k
    beta_ij  = (U_q h_i) . (U_k v_j) / sqrt(d)
    gG_i = sigmoid(w1 . h_i + w2 . vG + b)                  m_i = t_i + gG_i sum_j beta_ij U_v v_j
    a    = sigmoid(W_a [W3 sum_i h_i + W4 sum_i m_i + W5 h_CLS] + b_a)
    gR_j = sigmoid(w6 . a + w7 . v_j)                       r_i = sum_j beta_ij gR_j U_v v_j
    y_i  = softmax(W_y [W8 h_i + W9 m_i + W10 a + r_i] + b_y)

Nothing else has a bias; there is no dropout (in the authors' code it is never switched on). h is zero behind a row's
end, so that without a softmax padding adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from avebench.nn.ragged import prefix_mask

AttentionNorm = Literal["none", "softmax"]
Images = Literal["gated", "open", "none"]
KLPositions = Literal["all", "units"]
SMALLEST_PROBABILITY = 1e-8
"""Probabilities in the KL term are clipped to [1e-8, 1]."""


class JaveOutput(NamedTuple):
    """What the network makes of a batch.

    `label_logits` (B, A) are those of a, None without the attribute task; `tag_logits` (B, S, T) those of y, None
    without a tag layer; `fused` (B, S, d) is what the tag layer reads, W8 h_i + W9 m_i + W10 a + r_i.
    """

    label_logits: Tensor | None
    tag_logits: Tensor | None
    fused: Tensor


class JaveLosses(NamedTuple):
    """The three losses of each sentence, (B,) each and not weighted; None where the attribute task is missing."""

    value: Tensor
    attribute: Tensor | None
    kl: Tensor | None


class JaveNetwork(nn.Module):
    """M-JAVE over given states; without `channels` (no pictures) JAVE.

    `hidden` is the size of h, `sentence` that of h_CLS (0: there is none), `channels` that of v and vG. `labels` and
    `tags` are the numbers A and T of outputs, the first `specials` of each being [PAD] and [UNK]; then come the
    attributes, and the tags O, B-1, I-1, B-2, ... (28 and 55 on MEPAVE). With `tags` 0 there is no tag layer.

    The switches are the paper's ablation. Without `attribute_task` neither a nor what is made of it is there: label
    injection, KL and r. Without `label_injection` the term W10 a is missing. `global_images` "open" has 1 in place of
    gG_i, "none" takes all pictures away, as the authors' switch does; `regional_images` "open" has 1 in place of gR_j,
    "none" takes r_i away. With `attention_norm` "softmax" alpha and beta are normalised over units and regions.

    Names: `query`, `key`, `value` are W_q, W_k, W_v; `region_...` U_q, U_k, U_v; `label_...` W3 to W5 and W_a with b_a;
    `tag_...` W8 to W10 and W_y with b_y; `global_gate_...` w1 with b, and w2; `regional_gate_...` w6 and w7.
    """

    def __init__(
        self,
        hidden: int,
        labels: int,
        tags: int,
        *,
        sentence: int = 0,
        channels: int = 0,
        inner: int = 200,
        specials: int = 2,
        attention_norm: AttentionNorm = "none",
        attribute_task: bool = True,
        label_injection: bool = True,
        global_images: Images = "gated",
        regional_images: Images = "gated",
    ) -> None:
        super().__init__()
        self.inner, self.specials, self.softmax = inner, specials, attention_norm == "softmax"
        self.attribute_task, self.sentence = attribute_task, bool(sentence)
        self.images = global_images if channels else "none"
        self.regions = regional_images if self.images != "none" and attribute_task else "none"

        def plain(size: int, outputs: int = inner) -> nn.Linear:
            return nn.Linear(size, outputs, bias=False)

        self.query, self.key, self.value = plain(hidden), plain(hidden), plain(hidden)
        if self.images != "none":
            self.region_query, self.region_key, self.region_value = plain(hidden), plain(channels), plain(channels)
        if self.images == "gated":
            self.global_gate_state, self.global_gate_picture = nn.Linear(hidden, 1), plain(channels, 1)
        if attribute_task:
            self.label_states, self.label_fused = plain(hidden), plain(inner)
            self.label_sentence = plain(sentence) if sentence else None
            self.label_out = nn.Linear(inner, labels)
        if self.regions == "gated":
            self.regional_gate_label, self.regional_gate_region = plain(labels, 1), plain(channels, 1)
        self.tag_states, self.tag_fused = plain(hidden), plain(inner)
        self.tag_label = plain(labels) if attribute_task and label_injection else None
        self.tag_out = nn.Linear(inner, tags) if tags else None

    def forward(
        self,
        states: Tensor,
        sentence: Tensor | None,
        regions: Tensor | None,
        pooled: Tensor | None,
        lengths: Sequence[int] | Tensor,
    ) -> JaveOutput:
        """Return the outputs of unit states (B, S, D), sentence vectors (B, D'), regions (B, P, C) and pooled (B, C).

        Row b has `lengths[b]` units. What the network was built without is not read and may be None.
        """
        mask = prefix_mask(lengths, states.size(1), states.device)
        states = states * mask.unsqueeze(2)  # (B, S, D)
        fused = self._attend(states, mask)  # t (B, S, d)
        values, weights = None, None
        if self.images != "none":
            assert regions is not None
            values, weights = self.region_value(regions), self._region_weights(states, regions, mask)
            picture = weights @ values.to(weights.dtype)  # (B, S, d)
            fused = fused + (picture * self._global_gate(states, pooled) if self.images == "gated" else picture)
        label_logits = self._label_logits(states, fused, sentence)
        tagged = self.tag_states(states) + self.tag_fused(fused)  # (B, S, d)
        if label_logits is not None:
            probabilities = label_logits.sigmoid()  # a (B, A)
            if self.tag_label is not None:
                tagged = tagged + self.tag_label(probabilities).unsqueeze(1)
            if self.regions != "none" and weights is not None and values is not None:
                tagged = tagged + weights @ self._gated_regions(probabilities, regions, values).to(weights.dtype)
        return JaveOutput(label_logits, None if self.tag_out is None else self.tag_out(tagged), tagged)

    def _attend(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return t (B, S, d), zero behind a row's end."""
        scores = self.query(states) @ self.key(states).transpose(1, 2) / math.sqrt(self.inner)  # (B, S, S)
        if self.softmax:
            # An empty row has no key; its zeros become 0/0 otherwise.
            hidden = ~mask.unsqueeze(1) & mask.any(dim=1)[:, None, None]
            scores = scores.masked_fill(hidden, -torch.inf).softmax(dim=2) * mask.unsqueeze(2)
        attended: Tensor = scores @ self.value(states).to(scores.dtype)
        return attended

    def _region_weights(self, states: Tensor, regions: Tensor, mask: Tensor) -> Tensor:
        """Return beta (B, S, P), zero behind a row's end."""
        scores: Tensor = self.region_query(states) @ self.region_key(regions).transpose(1, 2) / math.sqrt(self.inner)
        return scores.softmax(dim=2) * mask.unsqueeze(2) if self.softmax else scores

    def _global_gate(self, states: Tensor, pooled: Tensor | None) -> Tensor:
        """Return gG (B, S, 1)."""
        gate: Tensor = (self.global_gate_state(states) + self.global_gate_picture(pooled).unsqueeze(1)).sigmoid()
        return gate

    def _gated_regions(self, probabilities: Tensor, regions: Tensor | None, values: Tensor) -> Tensor:
        """Return gR_j U_v v_j (B, P, d)."""
        if self.regions == "open":
            return values
        label = self.regional_gate_label(probabilities).unsqueeze(1)  # (B, 1, 1)
        gated: Tensor = (label + self.regional_gate_region(regions)).sigmoid() * values
        return gated

    def _label_logits(self, states: Tensor, fused: Tensor, sentence: Tensor | None) -> Tensor | None:
        """Return the logits (B, A) of a."""
        if not self.attribute_task:
            return None
        hidden = self.label_states(states.sum(dim=1)) + self.label_fused(fused.sum(dim=1))  # (B, d)
        if self.label_sentence is not None:
            hidden = hidden + self.label_sentence(sentence)
        logits: Tensor = self.label_out(hidden)
        return logits

    def losses(
        self,
        output: JaveOutput,
        labels: Tensor | None,
        tags: Tensor,
        lengths: Sequence[int] | Tensor,
        kl_positions: KLPositions = "all",
    ) -> JaveLosses:
        """Return the losses per sentence for gold labels (B, A), 0 or 1, and gold tags (B, S).

        `value` is the mean cross-entropy of a sentence's units (0 without any), `attribute` the mean binary
        cross-entropy of the A outputs, `kl` that of `kl_divergence`.
        """
        assert output.tag_logits is not None, "The network has no tag layer, so its tags have no cross-entropy."
        mask = prefix_mask(lengths, tags.size(1), tags.device)
        logits = _at_least_float32(output.tag_logits)
        entropy = functional.cross_entropy(logits.transpose(1, 2), tags, reduction="none") * mask  # (B, S)
        value = entropy.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        if output.label_logits is None or labels is None:
            return JaveLosses(value, None, None)
        positions = mask if kl_positions == "units" else torch.ones_like(mask)
        kl = kl_divergence(output.label_logits, logits, positions, self.specials)
        return JaveLosses(value, attribute_loss(output.label_logits, labels), kl)


def attribute_loss(label_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross-entropy (B,) of logits (B, A) for gold labels (B, A), 0 or 1."""
    logits = _at_least_float32(label_logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    return entropy.mean(dim=1)


def kl_divergence(label_logits: Tensor, tag_logits: Tensor, positions: Tensor, specials: int) -> Tensor:
    """Return mean_k (p_k log p_k - p_k log q_k) (B,) over the attributes k, of logits (B, A) and (B, S, T).

    p_k is the probability of attribute k, q_k = (max_t P_t(B-k) + max_t P_t(I-k)) / 2 over the marked `positions`
    (B, S). The authors' code takes the maximum over padding too. p and q are no distributions over k, so the term can
    be negative; gradients flow into both.
    """
    labels = _at_least_float32(label_logits).sigmoid()[:, specials:]  # p (B, N)
    tags = _at_least_float32(tag_logits).softmax(dim=2)[:, :, specials + 1 :]  # (B, S, 2N)
    highest = tags.masked_fill(~positions.unsqueeze(2), 0.0).amax(dim=1)  # (B, 2N)
    p = labels.clamp(SMALLEST_PROBABILITY, 1)
    q = ((highest[:, ::2] + highest[:, 1::2]) / 2).clamp(SMALLEST_PROBABILITY, 1)
    divergence: Tensor = (p * p.log() - p * q.log()).mean(dim=1)
    return divergence


def _at_least_float32(values: Tensor) -> Tensor:
    """Return half precision as float32, wider types as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
