"""Stored files that are not what was written: a part of the campaign of `corruption`, and what each kind is told."""

import random
import shutil
from pathlib import Path

import corruption
import pytest


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_resnet: Path) -> Path:
    return corruption.make(tmp_path_factory.mktemp("stored") / "place", tiny_bert, tiny_resnet)


@pytest.mark.parametrize("part", range(3))
def test_no_damage_breaks_a_command_or_changes_a_number(place: Path, part: int) -> None:
    counts = corruption.campaign(place, lambda cases: random.Random(7).sample(cases, 240)[part::3], seed=7)
    assert counts["refused"] and counts["equal"]


def test_a_damaged_entry_of_the_cache_is_made_anew_and_counted(place: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(place, tmp_path / "copy")
    expected = corruption.command("run", copy)
    for memo in (copy / "cache" / "resolved").iterdir():
        memo.write_bytes(memo.read_bytes().replace(b"0.2", b"0.4"))
    ended = corruption.command("run", copy)
    assert (ended.code, ended.out) == (0, expected.out)
    assert "damaged entries of the cache, made anew: 1." in ended.err
    assert "damaged entries" not in corruption.command("run", copy).err
