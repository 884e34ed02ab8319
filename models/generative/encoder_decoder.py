"""Any Hugging Face T5, FLAN-T5, mT5 or BART as a writer: a text in, a text out, one loss and one way of generating.

Nothing is ever fetched: the model `demo`, a folder on this machine, or a hub id in the local cache. Decoding is
deterministic, greedy or by beams, whatever the model's own generation_config.json says, with the cache of keys and
values of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoModelForSeq2SeqLM, GenerationConfig

from avebench.contracts.examples import Example
from avebench.files.errors import AvebenchError
from avebench.nn.pretrained import first_line, load_pretrained, load_tokenizer, quiet
from avebench.nn.ragged import padded
from avebench.nn.weights import encoder_folder

ARCHITECTURES = ("t5", "mt5", "bart")
VOCABULARY_FILES = ("tokenizer.json", "spiece.model", "vocab.json")
IGNORED = -100
"""Target behind the end of an answer, as `cross_entropy` knows it."""
Ids = NDArray[np.int32]
Allowed = Callable[[int, Tensor], list[int]]
"""Row of a batch and the ids (T,) written for it so far -> the ids that may come next."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is read: ids (P,), and for each unit of the example that was not cut off the piece that it begins in."""

    ids: Ids
    first: Ids
    truncated: int


class EncoderDecoder(nn.Module):
    """The pretrained encoder-decoder `name`, which reads at most `longest` word pieces; with a `head` it can write.

    AvebenchError if tokenizer or weights are missing, broken, or of another architecture.
    """

    def __init__(self, name: str, longest: int, *, head: bool = True) -> None:
        super().__init__()
        folder = encoder_folder(name, "generator")
        self.place = f"the generator {folder}" if name == str(folder) else f"the generator '{name}' ({folder})"
        try:
            kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AvebenchError(
                f"The config.json of {self.place} names no model_type ({first_line(error)}) Name a folder saved by "
                "save_pretrained."
            ) from None
        if kind not in ARCHITECTURES:
            raise AvebenchError(
                f"The type of {self.place} is '{kind}'; generators are of type {', '.join(ARCHITECTURES)}. Name "
                "another with --set generator=NAME."
            )
        with quiet():
            self.tokenizer = load_tokenizer(self.place, folder, VOCABULARY_FILES, ("eos", "pad"), "a T5 or BART")
            self.model = load_pretrained(self.place, folder, head=AutoModelForSeq2SeqLM if head else AutoModel)
        config = self.model.config
        self.hidden: int = config.d_model
        self.positions: int | None = getattr(config, "max_position_embeddings", None)
        """Word pieces that have a place of their own, where the model counts places (BART)."""
        self.limit: int = self.at_most(longest)
        """Word pieces that are read at once, special symbols included."""
        self.eos: int = self.tokenizer.eos_token_id
        self.pad: int = self.tokenizer.pad_token_id
        self.start: int = self.pad if config.decoder_start_token_id is None else config.decoder_start_token_id
        self.opening: tuple[int, ...] = tuple(self._pieces("")["input_ids"][:-1])
        """What every answer begins with: BART's <s>."""

    def _pieces(self, text: str) -> Any:
        # A text that spells a special symbol ("</s>") is taken as ordinary text.
        return self.tokenizer(text, return_offsets_mapping=True, split_special_tokens=True, verbose=False)

    def at_most(self, pieces: int) -> int:
        """Return so many word pieces, or those that the model can number."""
        return pieces if self.positions is None else min(pieces, self.positions)

    def read(self, prefix: str, example: Example) -> Source:
        """Return the pieces of `prefix` and the example's text; those beyond the limit are cut off."""
        found = self._pieces(prefix + example.text)
        ids, ends = found["input_ids"], [end - len(prefix) for _, end in found["offset_mapping"]]
        if cut := len(ids) > self.limit:
            ids, ends = [*ids[: self.limit - 1], self.eos], ends[: self.limit - 1]
        # Special symbols have no place; of what ends where, the first piece counts.
        reached = np.maximum.accumulate(np.array([*ends, *[max([0, *ends])] * (len(ids) - len(ends))]))
        begins = np.array([start for start, _ in example.tokens], dtype=np.int64)
        first = np.searchsorted(reached, begins, side="right")
        whole = int((first < len(ids)).sum()) if cut else len(first)
        first = np.minimum(first, len(ids) - 1)[:whole]
        return Source(np.array(ids, dtype=np.int32), first.astype(np.int32), len(example.tokens) - whole)

    def written(self, answer: str) -> Ids:
        """Return the pieces of an answer with its end; what the model cannot number is cut off."""
        ids = self._pieces(answer)["input_ids"]
        return np.array(ids[: self.at_most(len(ids))], dtype=np.int32)

    def collate(self, sources: Sequence[Source], answers: Sequence[Ids] | None = None) -> dict[str, Any]:
        """Return `ids` and `mask` (B, P), and of answers the `labels` (B, T), `IGNORED` behind their ends."""
        ids = padded([source.ids for source in sources], self.pad)
        pieces = torch.tensor([len(source.ids) for source in sources])
        batch: dict[str, Any] = {"ids": ids, "mask": torch.arange(ids.size(1)) < pieces.unsqueeze(1)}
        return batch if answers is None else batch | {"labels": padded(answers, IGNORED)}

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Return the cross-entropy of the answers under teacher forcing, the mean over their pieces."""
        labels = batch["labels"]
        before = torch.cat([torch.full_like(labels[:, :1], self.start), labels[:, :-1]], dim=1)
        logits = self.model(
            input_ids=batch["ids"],
            attention_mask=batch["mask"].long(),
            decoder_input_ids=before.masked_fill(before == IGNORED, self.pad),
        ).logits  # (B, T, V)
        return functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    def states(self, batch: dict[str, Any]) -> Tensor:
        """Return the encoder's states (B, P, H)."""
        found: Tensor = self.model.get_encoder()(
            input_ids=batch["ids"], attention_mask=batch["mask"].long()
        ).last_hidden_state
        return found

    def decode(self, inputs: Tensor, states: Tensor, batch: dict[str, Any], cache: Any = None) -> tuple[Tensor, Any]:
        """Return the decoder's states (B, T, H) of `inputs` (B, T, H) over the encoder's, and the cache for more.

        Without a `cache` nothing came before; None is returned for it in training.
        """
        found = self.model.get_decoder()(
            inputs_embeds=inputs,
            encoder_hidden_states=states,
            encoder_attention_mask=batch["mask"].long(),
            past_key_values=cache,
            use_cache=not self.training,
        )
        return found.last_hidden_state, found.past_key_values

    def write(
        self, batch: dict[str, Any], beams: int, longest: int, allowed: Allowed | None = None
    ) -> list[tuple[str, bool]]:
        """Return what is written for each row, greedily or the best of `beams`, and whether it was cut.

        It is after `longest` pieces.
        """
        settings = GenerationConfig(  # type: ignore[no-untyped-call]  # transformers has no types here.
            do_sample=False,
            num_beams=beams,
            max_new_tokens=self.at_most(longest + 1) - 1,  # The decoder's start has a place as well.
            early_stopping=beams > 1,
            decoder_start_token_id=self.start,
            eos_token_id=self.eos,
            pad_token_id=self.pad,
        )
        # What settings leave open, transformers takes from the model's own: BART's would force an end, or bar repeats.
        self.model.generation_config = settings
        with quiet():
            ids = self.model.generate(
                input_ids=batch["ids"],
                attention_mask=batch["mask"].long(),
                generation_config=settings,
                prefix_allowed_tokens_fn=allowed,
            )
        # T5 starts with the padding symbol, BART with the end.
        return [(self._text(row), self.eos not in row[1:]) for row in ids.tolist()]

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
