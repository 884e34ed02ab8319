"""What ExtractGPT writes to a language model: instruction, attributes, demonstrations, text. The wording is ours.

`list` names the attributes in one line; `schema` gives them as a JSON schema with descriptions and example values. An
answer is one JSON object; "n/a" stands for a value that is known not to be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from avebench.models.generative.demonstrations import Answers, Demonstration
from avebench.nn.completions.contract import Message

Form = Literal["list", "schema"]
NO_VALUE = "n/a"
ROLE = "You read product texts and extract the values of attributes from them, in a structured format."
TASK = (
    "Split the text at white space. Answer with one JSON object that maps an attribute to its value, or to the list of "
    "its values. Copy every value exactly as it stands in the text. The value of an attribute that is not known from "
    f'the text is "{NO_VALUE}". Write nothing but the object.'
)
REPAIR = (
    "That answer cannot be used: {reason}. Answer again with one JSON object alone, and copy every value exactly as it "
    "stands in the text."
)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a schema says of attributes beside their names: a description, and values that training texts have."""

    descriptions: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)


def messages(
    form: Form,
    attributes: Sequence[str],
    knowledge: Knowledge,
    demonstrations: Sequence[Demonstration],
    text: str,
) -> tuple[Message, ...]:
    """Return the turns of a question: the instruction, demonstrations in their order, and the text."""
    shown: list[Message] = [{"role": "system", "content": _instruction(form, attributes, knowledge)}]
    for one in demonstrations:
        shown.append({"role": "user", "content": one.example.text})
        shown.append({"role": "assistant", "content": answer(one.answers, attributes)})
    return (*shown, {"role": "user", "content": text})


def repairing(asked: Sequence[Message], written: str, reason: str) -> tuple[Message, ...]:
    """Return the turns that ask for a better answer than the one that was written."""
    return (
        *asked,
        {"role": "assistant", "content": written},
        {"role": "user", "content": REPAIR.format(reason=reason)},
    )


def answer(answers: Answers, attributes: Sequence[str]) -> str:
    """Return what a demonstration answers of these attributes, in their order; what is not annotated is left out."""
    told = {name: answers[name] for name in attributes if name in answers}
    written = {
        name: NO_VALUE if not values else values[0] if len(values) == 1 else list(values)
        for name, values in told.items()
    }
    return json.dumps(written, ensure_ascii=False)


def _instruction(form: Form, attributes: Sequence[str], knowledge: Knowledge) -> str:
    if form == "list":
        return f"{ROLE}\n{TASK}\nThe valid attributes are: {', '.join(attributes)}."
    properties = {name: _property(name, knowledge) for name in attributes}
    schema = {"type": "object", "properties": properties}
    return f"{ROLE}\n{TASK}\nThe object has this JSON schema:\n{json.dumps(schema, ensure_ascii=False)}"


def _property(name: str, knowledge: Knowledge) -> dict[str, object]:
    said: dict[str, object] = {"type": "string"}
    if name in knowledge.descriptions:
        said["description"] = knowledge.descriptions[name]
    if knowledge.values.get(name):
        said["examples"] = list(knowledge.values[name])
    return said
