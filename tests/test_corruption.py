"""Stored files that are not what was written: a part of the campaign of `corruption`, and what each kind is told."""

import random
from pathlib import Path

import corruption
import pytest


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_resnet: Path) -> Path:
    return corruption.make(tmp_path_factory.mktemp("stored") / "place", tiny_bert, tiny_resnet)


def test_no_damage_breaks_a_command_or_changes_a_number(place: Path) -> None:
    counts = corruption.campaign(place, lambda cases: random.Random(7).sample(cases, 80), seed=7)
    assert counts["refused"] and counts["equal"]
