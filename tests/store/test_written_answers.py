"""What a system wrote in vain reaches its result, and is said under the table and where rows are compared."""

import json
from pathlib import Path

from inprocess import avebench_here
from made_up import gold_line, system, write_gold
from small_table import ONE_ROW
from stored_cells import result

from avebench.contracts.examples import Prediction, Written
from avebench.store.results import WrittenAnswers
from avebench.store.writtenanswers import written_answers, written_notes

WRITING = """
def predict(self, examples):
    written = Written(answers=2, unparsable=1, values=1200, dropped=3, unknown=4, cut=1)
    return [answer(example, spans_of(example.text, {"Color": "blue"}), written=written) for example in examples]
"""


def test_what_is_written_in_vain_is_said_under_the_table(tmp_path: Path) -> None:
    write_gold(tmp_path / "data", lambda split: [gold_line(split, "a blue dress", {"Color": "blue"})])
    (tmp_path / "writing.py").write_text(
        system("writing", WRITING, imports="from avebench.contracts.examples import Written")
    )
    table = ONE_ROW.format(label="row", model="writing", options="").replace('"demo"', '"jsonl"')
    (tmp_path / "mine.toml").write_text(table)
    done = avebench_here(
        tmp_path, "run", "mine.toml", "--data", "data", "--plugin", "writing.py", "--no-mlflow", "--format", "md"
    )
    assert done.returncode == 0, done.stderr
    (stored,) = tmp_path.glob("runs/cells/*/result.json")
    expected = {"answers": 2, "unparsable": 1, "values": 1200, "dropped": 3, "unknown": 4, "cut": 1}
    assert json.loads(stored.read_text())["written"] == expected
    said = (
        "row: 3 of 1,200 written values (0.2 %) stand nowhere in the text; of 2 answers 1 could not be read and 1 "
        "were cut; 4 values are of attributes that were not to be answered."
    )
    assert said in done.stdout


def test_counts_add_up_over_examples_and_repetitions() -> None:
    one = Prediction("1", {}, {}, (), written=Written(1, 0, 3, 1, 0))
    other = Prediction("2", {}, {}, (), written=Written(1, 1, 0, 0, 0))
    found = written_answers([one, Prediction("3", {}, {}, ()), other])
    assert found == WrittenAnswers(answers=2, unparsable=1, values=3, dropped=1, unknown=0, cut=0)
    assert written_answers([Prediction("3", {}, {}, ())]) is None
    silent = WrittenAnswers(answers=1, unparsable=0, values=0, dropped=0, unknown=0, cut=0)
    rows = [("a", [result(written=found)] * 2), ("b", [result()]), ("c", [result(written=silent)])]
    assert [note.split(";")[0] for note in written_notes(rows)] == [
        "a: 2 of 6 written values (33.3 %) stand nowhere in the text",
        "c: 0 of 0 written values stand nowhere in the text",
    ]
