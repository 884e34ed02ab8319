"""A causal language model of `transformers` in this process: greedy, in batches of about equal length.

Questions that begin with the same first message (the instruction and, within a category, its attributes) share the
tokens that all of them begin with: their keys and values are computed once. A batch is padded on the left as a whole,
what is shared included, so that distances between tokens are those of a question by itself, also where a model attends
within a sliding window only. Its answers are then those of each question alone, up to rounding.

A model with a chat template is sent the messages by that; if the template has no system turn, its text goes before the
first turn of the user. A base model without one gets plain text: the text of the system, then `User: ...` and
`Assistant: ...` with a free line behind each turn, and answers up to the first free line or the next turn of the user.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from avebench.files.errors import UnusableError
from avebench.nn.completions.contract import Completion, Message, Question, Unanswered
from avebench.nn.neural import device_named
from avebench.nn.pretrained import quiet

Precision = Literal["float32", "bf16"]
_PLAIN_STOPS = ("\n\n", "\nUser:")
_TRUSTED: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


class CausalModel:
    """The model in a folder saved by `save_pretrained`, with its tokenizer; UnusableError if that cannot be loaded.

    Its weights are loaded when there is a question. `identity` names them; `share` says whether what questions share is
    computed once.
    """

    side_by_side = 1

    def __init__(
        self,
        folder: Path,
        identity: str,
        precision: Precision = "float32",
        batch_size: int = 8,
        device: str = "auto",
        *,
        share: bool = True,
    ) -> None:
        self.identity = identity
        self._batch_size, self._share, self._device = batch_size, share, device_named(device)
        self._folder, self._dtype = folder, _DTYPES[precision]
        with _loading(folder):
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, **_TRUSTED)
        self._merged = False
        self._plain = self._tokenizer.chat_template is None
        self._merged = not (self._plain or self._takes_system_turn())
        self._shared: dict[str, tuple[int, ...]] = {}
        self._computed: tuple[tuple[int, ...], Any] = ((), None)

    @cached_property
    def _model(self) -> Any:
        """Return the model; UnusableError if it cannot be loaded, or weights are missing."""
        with _loading(self._folder):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                self._folder, **_TRUSTED, weights_only=True, dtype=self._dtype, output_loading_info=True
            )
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise UnusableError(
                f"The language model in {self._folder} lacks weights ({', '.join(missing[:3])}). Save it again."
            )
        return model.to(self._device).eval()

    @cached_property
    def _ends(self) -> list[int]:
        """Return the tokens that end an answer, by model and tokenizer; UnusableError if there are none."""
        ends = self._model.generation_config.eos_token_id
        known = [*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id]
        found = list(dict.fromkeys(one for one in known if one is not None))
        if not found:
            raise UnusableError(f"The language model in {self._folder} names no token that ends an answer.")
        return found

    def notes(self) -> list[str]:
        """Return how messages became one text, where that was not by the model's own template."""
        if self._plain:
            return ["The model has no chat template: it reads the messages as plain text (User: ..., Assistant: ...)."]
        return ["The model's template has no system turn: its text stands before the first of the user."] * self._merged

    def batches(self, questions: Sequence[Question]) -> list[list[int]]:
        """Return batches of questions that begin with the same message, in order of length."""
        tokens = [self._tokens(question.messages) for question in questions]
        alike: dict[tuple[str, object], list[int]] = defaultdict(list)
        for position, question in enumerate(questions):
            alike[_beginning(question), question.parameters].append(position)
        batches = []
        for (beginning, _), positions in alike.items():
            self._shared[beginning] = _common([tokens[position] for position in positions])
            ordered = sorted(positions, key=lambda position: (len(tokens[position]), position))
            batches += [ordered[start : start + self._batch_size] for start in range(0, len(ordered), self._batch_size)]
        return batches

    def complete(self, questions: Sequence[Question]) -> list[Completion | Unanswered]:
        """Answer questions with equal parameters together; one that is too long for the model is not answered."""
        parameters = questions[0].parameters
        if parameters.temperature != 0:
            raise UnusableError(
                f"A language model in this process answers greedily; temperature = {parameters.temperature:g} needs an "
                "endpoint. Give temperature = 0."
            )
        begun = time.perf_counter()
        tokens = [self._tokens(question.messages) for question in questions]
        limit: int | None = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        most = None if limit is None else limit - parameters.max_tokens
        fits = [position for position, one in enumerate(tokens) if most is None or len(one) <= most]
        shared = self._shared_by([questions[position] for position in fits], [tokens[position] for position in fits])
        written = self._write([tokens[position] for position in fits], shared, questions[0]) if fits else []
        seconds = (time.perf_counter() - begun) / len(questions)
        outcomes: list[Completion | Unanswered] = [
            Unanswered(f"a question of {len(one):,} tokens, of which the model reads {most:,} beside the answer")
            for one in tokens
        ]
        stops = self._stops(questions[0])
        for position, (new, cut) in zip(fits, written, strict=True):
            text = _stopped(self._tokenizer.decode(new, skip_special_tokens=True), stops)
            outcomes[position] = Completion(text, len(tokens[position]), len(new), seconds, cut=cut)
        return outcomes

    def _shared_by(self, questions: Sequence[Question], tokens: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Return the tokens that the questions begin with, and all others that begin with the same message."""
        if not self._share or not questions or len({_beginning(question) for question in questions}) > 1:
            return ()
        known = self._shared.get(_beginning(questions[0]))
        shared = known if known is not None and len(_common([known, *tokens])) == len(known) else _common(tokens)
        return shared[: min(map(len, tokens)) - 1]  # The last token of a question is always computed.

    @torch.inference_mode()
    def _write(
        self, rows: Sequence[tuple[int, ...]], shared: tuple[int, ...], question: Question
    ) -> list[tuple[list[int], bool]]:
        """Return the tokens that follow each row, without those that end an answer, and whether it was cut."""
        longest = max(map(len, rows))
        pads = [longest - len(row) for row in rows]
        ids = torch.tensor([[self._ends[0]] * pad + list(row) for pad, row in zip(pads, rows, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * len(row) for pad, row in zip(pads, rows, strict=True)])
        cache = self._cache_of(shared, pads) if shared else None
        done = torch.zeros(len(rows), dtype=torch.bool)
        new: list[list[int]] = [[] for _ in rows]
        stops = self._stops(question)
        step, mask = ids[:, len(shared) :].to(self._device), mask.to(self._device)
        for _ in range(question.parameters.max_tokens):
            places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -step.shape[1] :]
            out = self._model(
                input_ids=step,
                attention_mask=mask,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            chosen = out.logits[:, -1].argmax(-1)  # (B,)
            for row, token in enumerate(chosen.tolist()):
                if done[row]:
                    continue
                if token in self._ends:
                    done[row] = True
                    continue
                new[row].append(token)
                done[row] = self._ended(new[row], stops)
            if done.all():
                break
            step = chosen[:, None]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        return [(tokens, not bool(ended)) for tokens, ended in zip(new, done, strict=True)]

    def _cache_of(self, shared: tuple[int, ...], pads: Sequence[int]) -> Any:
        """Return keys and values of what is shared, per row moved right by its padding, what then overhangs cut off.

        Slots that a row's padding fills are masked; their content does not matter.
        """
        if self._computed[0] != shared:
            ids = torch.tensor([shared], device=self._device)
            # A cache that keeps everything: one made by the model would forget what a sliding window has left behind.
            out = self._model(input_ids=ids, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1)
            self._computed = (shared, out.past_key_values)
        moved = DynamicCache()
        places = torch.arange(len(shared), device=self._device)
        sources = torch.stack([(places - pad).clamp(min=0) for pad in pads])  # (B, P)
        for number, layer in enumerate(self._computed[1].layers):
            rows = [layer.keys[0][:, source] for source in sources]  # each (H, P, D)
            values = [layer.values[0][:, source] for source in sources]
            moved.update(torch.stack(rows), torch.stack(values), number)
        return moved

    def _ended(self, tokens: list[int], stops: Sequence[str]) -> bool:
        if not stops:
            return False
        text = str(self._tokenizer.decode(tokens, skip_special_tokens=True))
        return _stopped(text, stops) != text

    def _stops(self, question: Question) -> tuple[str, ...]:
        return (*question.parameters.stop, *(_PLAIN_STOPS if self._plain else ()))

    def _tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        text = _plain_text(messages) if self._plain else self._templated(messages)
        return tuple(self._tokenizer.encode(text, add_special_tokens=self._plain))

    def _takes_system_turn(self) -> bool:
        try:
            self._templated([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])
        except TemplateError:
            return False
        return True

    def _templated(self, messages: Sequence[Message]) -> str:
        turns = _without_system(messages) if self._merged else list(messages)
        return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """Make whatever transformers raises for files that nothing can be built from an UnusableError, and quietly."""
    try:
        with quiet():
            yield
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UnusableError(f"The language model in {folder} cannot be loaded: {reason}") from None


def _beginning(question: Question) -> str:
    return str(question.messages[0]["content"])


def _common(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the longest beginning that all rows have."""
    low, high = min(rows), max(rows)  # What these two share, all between them do.
    end = next((place for place, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:end]


def _plain_text(messages: Sequence[Message]) -> str:
    """Return the messages as a base model reads them, with the beginning of its answer."""
    names = {"system": "", "user": "User: ", "assistant": "Assistant: "}
    return "".join(f"{names[one['role']]}{one['content']}\n\n" for one in messages) + "Assistant:"


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with the text of the system before the first one of the user."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, first, *others = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *others]


def _stopped(text: str, stops: Sequence[str]) -> str:
    """Return an answer up to the first of the strings that end it; what comes before its first character does not."""
    begun = len(text) - len(text.lstrip())
    ends = [place for stop in stops if (place := text.find(stop, begun)) >= 0]
    return text[: min(ends)] if ends else text
