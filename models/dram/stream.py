"""The three ways from word pieces and patches to states: text alone, TEM, and V-IRC's joint sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from avebench.files.errors import AvebenchError
from avebench.models.dram.blocks import JointEmbeddings, SelfAttentionLayer, TextRelatedEmbeddings
from avebench.nn.neural import Batch
from avebench.nn.text_encoder import TextEncoder

if TYPE_CHECKING:
    from avebench.models.dram.config import Config

PatchPosition = Literal["shared", "own", "before"]


class Read(NamedTuple):
    """What the encoder made of a batch: S text positions, P patches. Of a batch with windows, B are its windows.

    `last` (B, S, H) are the last layer's states of the text, `cls_previous` (B, H) is [CLS] of the layer before,
    `patches` (B, P, H) the states of patch tokens where there are any, `attention` (B, S, P) how much of each patch a
    text position takes where that was asked for.
    """

    last: Tensor
    cls_previous: Tensor
    patches: Tensor | None = None
    attention: Tensor | None = None


def _read(layers: tuple[Tensor, ...], embeddings: Tensor, width: int) -> Read:
    """Return the read states of layer outputs (B, S + P, H) whose first `width` positions are text."""
    previous = layers[-2] if len(layers) > 1 else embeddings
    return Read(layers[-1][:, :width], previous[:, 0], layers[-1][:, width:])


class TextStream(nn.Module):
    """BERT over the text; with `tem`, over E + E_m, where E is the output of its embedding block (journal Eq. 5-9).

    Unless `masked`, padding is attended as in the authors' code, and adds to every E_m.
    """

    def __init__(self, config: Config, text: TextEncoder, channels: int) -> None:
        super().__init__()
        self.attends = "A_v of TEM, with softmax" if config.tem_softmax else "A_v of TEM, without softmax"
        """What `attention` is, in words."""
        self.masked = config.pad_mask == "always"
        self.raw_words = config.tem_input == "words"
        self.tem: TextRelatedEmbeddings | None = None
        if config.fusion == "none":
            return
        self.tem = TextRelatedEmbeddings(
            text.hidden,
            channels,
            config.tem_inner,
            initialisation=config.tem_initialisation,
            softmax=config.tem_softmax,
            output=config.tem_output,
        )
        if config.tem_projections == "frozen":
            for matrix in self.tem.projections():
                matrix.requires_grad_(False)

    def forward(self, text: TextEncoder, batch: Batch, G: Tensor | None, *, attend: bool = False) -> Read:  # noqa: N803
        """Return the states of a batch with patches G (B, P, C); `attention` is A_v."""
        mask = batch["mask"] if self.masked else torch.ones_like(batch["mask"])
        embeddings = text.embed(batch["ids"])  # (B, S, H)
        attention = None
        if self.tem is not None:
            related, attention = self._related(self.tem, text, embeddings, batch, G)
            embeddings = embeddings + related
        read = _read(text.layers(embeddings, mask, batch), embeddings, embeddings.size(1))
        return read._replace(patches=None, attention=attention if attend else None)

    def _related(
        self,
        tem: TextRelatedEmbeddings,
        text: TextEncoder,
        embeddings: Tensor,
        batch: Batch,
        G: Tensor | None,  # noqa: N803
    ) -> tuple[Tensor, Tensor]:
        """Return E_m (B, S, H) and A_v (B, S, P)."""
        source = text.model.embeddings.word_embeddings(batch["ids"]) if self.raw_words else embeddings
        patches = source.new_zeros(len(source), 0, 0) if G is None else G
        found: tuple[Tensor, Tensor] = tem(source, patches, batch["mask"] if self.masked else None)
        return found

    def diagnostics(self, text: TextEncoder, batch: Batch, G: Tensor | None) -> dict[str, float]:  # noqa: N803
        """Return the size of E_m, and of the picture's part of it, over that of E; nothing without TEM."""
        if self.tem is None:
            return {}
        embeddings, mask = text.embed(batch["ids"]), batch["mask"].bool()

        def related(patches: Tensor | None) -> Tensor:
            assert self.tem is not None
            return self._related(self.tem, text, embeddings, batch, patches)[0]

        size = embeddings[mask].norm()
        figures = {"related_to_embeddings": float(related(G)[mask].norm() / size)}
        if G is not None:
            picture = related(G) - related(torch.zeros_like(G))
            figures["picture_to_embeddings"] = float(picture[mask].norm() / size)
        return figures


class JointStream(nn.Module):
    """BERT over the text and the patches behind it in one sequence, after VL-BERT (V-IRC).

    The authors pack each row, text and patches without a gap. Here patches stand behind the padding of the batch, which
    attention does not see: positions are embedded by number, so the states are the same. The patches of an example
    without a picture are not attended.
    """

    attends = "attention of the first layer, mean over its heads"

    def __init__(self, config: Config, text: TextEncoder, channels: int, patches: int) -> None:
        super().__init__()
        self.masked = config.pad_mask != "never"
        self.position = config.patch_position
        types = text.model.embeddings.token_type_embeddings.weight
        self.text_type = min(config.text_type, len(types) - 1)
        self.joint = JointEmbeddings(channels, text.hidden, config.visual_gamma, types[min(1, len(types) - 1)])
        bert = text.model.config
        self.layer: SelfAttentionLayer | None = None
        if config.self_attention_layer:
            self.layer = SelfAttentionLayer(text.hidden, bert.num_attention_heads, bert.hidden_dropout_prob)
        # RoBERTa numbers positions from the padding id + 1 on.
        self.first_position = bert.pad_token_id + 1 if bert.model_type == "roberta" else 0
        beside = patches if self.position == "own" else 1
        if text.limit < beside + 3:
            raise AvebenchError(
                f"{text.place[0].upper()}{text.place[1:]} reads {text.limit} positions at once; {patches} patches of a "
                "picture leave no room for a text. Choose patch_position shared, a smaller image_size or another "
                "text encoder."
            )
        text.limit -= beside

    def embed(self, text: TextEncoder, batch: Batch, G: Tensor) -> Tensor:  # noqa: N803
        """Return the input (B, S + P, H) of the encoder: text, then patches G (B, P, C)."""
        tables = text.model.embeddings
        ids, lengths = batch["ids"], batch["mask"].sum(dim=1)
        places = torch.arange(ids.size(1), device=ids.device).expand_as(ids)  # (B, S)
        offsets = torch.arange(G.size(1), device=ids.device).expand(len(ids), -1)  # (B, P)
        behind = lengths.unsqueeze(1).expand_as(offsets)
        if self.position == "before":
            places, behind = places + 1, torch.zeros_like(offsets)
        elif self.position == "own":
            behind = behind + offsets
        words = tables.word_embeddings(ids) + self.joint.word_constant
        words = words + tables.token_type_embeddings.weight[self.text_type]
        tokens = torch.cat([words, self.joint.patches(G)], dim=1)  # (B, S + P, H)
        tokens = tokens + tables.position_embeddings(torch.cat([places, behind], dim=1) + self.first_position)
        embedded: Tensor = tables.dropout(tables.LayerNorm(tokens))
        return embedded

    def forward(self, text: TextEncoder, batch: Batch, G: Tensor, *, attend: bool = False) -> Read:  # noqa: N803
        """Return the states of a batch with patches G (B, P, C); `attention` is the first layer's, text to patch."""
        width = batch["ids"].size(1)
        words = batch["mask"] if self.masked else torch.ones_like(batch["mask"])
        present = text.of_windows(batch["present"], batch)
        mask = torch.cat([words, present.unsqueeze(1).expand(-1, G.size(1))], dim=1)
        embeddings = self.embed(text, batch, G)
        if self.layer is not None:
            embeddings = self.layer(embeddings, mask)
        read = _read(text.layers(embeddings, mask, batch), embeddings, width)
        if not attend:
            return read
        return read._replace(attention=_first_attention(text, embeddings, mask)[:, :width, width:])

    def diagnostics(self, text: TextEncoder, batch: Batch, G: Tensor | None) -> dict[str, float]:  # noqa: N803
        """Return the mean absolute scale of LayerNorm_o: at 0 the patches differ by nothing that can be seen."""
        return {"visual_gamma": float(self.joint.norm.weight.detach().abs().mean())}


def _first_attention(text: TextEncoder, states: Tensor, mask: Tensor) -> Tensor:
    """Return the attention weights (B, K, K) of the first layer over states (B, K, H), as the mean over its heads."""
    attention = text.model.encoder.layer[0].attention.self
    heads, size = attention.num_attention_heads, attention.attention_head_size
    query, key = (
        linear(states).unflatten(2, (heads, size)).transpose(1, 2) for linear in (attention.query, attention.key)
    )
    scores = query @ key.transpose(2, 3) / size**0.5  # (B, heads, K, K)
    weights: Tensor = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=3).mean(dim=1)
    return weights


def packed(read: Read, lengths: Tensor) -> Tensor:
    """Return the first S positions (B, S, H) of rows without a gap between `lengths` (B,) pieces and the patches.

    So does the authors' decoder read them: where a text is short, its BiLSTM reads patches behind it.
    """
    if read.patches is None:
        return read.last
    width, patches = read.last.size(1), read.patches.size(1)
    places = torch.arange(width, device=lengths.device)
    starts = lengths.unsqueeze(1)
    in_patches = (places >= starts) & (places < starts + patches)
    index = torch.where(in_patches, width + places - starts, places)  # (B, S)
    states = torch.cat([read.last, read.patches], dim=1)
    return states.gather(1, index.unsqueeze(2).expand(-1, -1, states.size(2)))
