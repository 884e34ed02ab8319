"""What a system that is asked for attributes is asked of a text."""

from __future__ import annotations

from avebench.contracts.examples import AttributeSchema, Example


def asked_of(example: Example, schema: AttributeSchema) -> tuple[str, ...]:
    """Return the attributes that are asked of an example; of a product that the harness asked nothing of, all."""
    return schema.attributes if example.asked is None else example.asked
