"""A few hundred of the mutated inputs of `tests/campaigns/fuzzing.py`; `make fuzz` runs 20,000."""

import pytest
from fuzzing import Fuzz


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Fuzz:
    return Fuzz.prepared(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("part", range(4))
def test_no_input_ends_in_a_fault_or_reaches_the_terminal_raw(fuzz: Fuzz, part: int) -> None:
    wrong, ended = [], set()
    for number in range(part * 75, (part + 1) * 75):
        command, done, said = fuzz.case(number, 1)
        ended.add(done.returncode)
        if said:
            wrong.append((number, said, command, done.stderr[-300:]))
    assert wrong == []
    assert ended == {0, 2}, "some inputs are still sound, others are not"
