"""Seeded mutations of sound inputs, through every reader and command that takes what people wrote.

`python tests/campaigns/fuzzing.py CASES [SEED [FIRST]]`: a case that ends in a fault, prints a control character or
hangs is printed with its number, and its files are kept. Case N of a seed is the same on every machine.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from inprocess import avebench_here

SECONDS = 20
"""Of the processor: a case that takes more hangs."""
FORMATS = ("terminal", "md", "latex", "csv", "json")
COLOUR = "Col\x1b]0;x\x07or"
TEXT = "a red dress, 2.0 GHz ± 黑"
SPANS = [{"attribute": "Color", "start": 2, "end": 5}, {"attribute": COLOUR, "start": 6, "end": 11}]
TABLE = """title = "A table"
dataset = "jsonl"
metrics = ["tag_f1", "string_f1"]
[defaults.options.training]
steps = 5
[[rows]]
label = "dictionary"
model = "dictionary"
reference = true
[[rows]]
label = "tagger"
model = "opentag"
options = { hidden = 20, dropout = 0.5 }
profiles = { quick = { embedding = 10 } }
"""


def _lines(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def _gold(split: str) -> bytes:
    first = {"id": f"{split}1", "text": TEXT, "product_id": "p", "spans": SPANS, "category": "c", "image": "p.jpg"}
    second = {"id": f"{split}2", "text": "blue", "tokens": [[0, 2], [2, 4]], "pairs": {"Color": ["blue"]}}
    return _lines(first, {**second, "absent": [COLOUR]})


PREDICTED = _lines(
    {"id": "test1", "attributes": {"Color": 0.5, COLOUR: 1}, "spans": SPANS, "pairs": {"Color": ["red"]}},
    {"id": "test2", "attributes": {}, "spans": [], "candidates": [{"attribute": "a", "score": 0.1, "spans": []}]},
)
COLUMNS = b"# a comment\na O O\nnavy B-c S-c\nblue I-c e-c\n\nnew UNK O\nhat B-k [PAD]\n\xe9\xbb\x91 O O\n"
TITLES = b"id,gender,masterCategory,articleType,baseColour,usage,subCategory,productDisplayName\n"
TITLES += b'1,Men,A,Shirts,Blue,Casual,B,Blue shirt for men\n2,Men,A,Shirts,Red,x,B,"Red, \xe9\xbb\x91"\n'
TRIPLES = b"blue &#39;dress\x01Color\x01blue\nblue &#39;dress\x01Size\x01NULL\nred &amp; hat\x01Color\x01red\n"
SENTENCES = "c_1\ts_{0}1\tab黑\t<x>a</x>b<y>黑</y>\nc_2\ts_{0}2\tcd\tcd\n"
PRODUCTS = {"diffbotUri": "product|4|1", "title": "Blue dress", "text": "of red", "images": ["p.png"]}

TARGETS = (
    b'{"input": "red &amp; hat", "category": "c", "target_scores": {"Color": {"red": 1}, "Size": {"n/a": 1}}}\n' * 2
)
EVIDENCE = {"value": "red", "pid": 1, "begin": 2, "end": 5}
PROFILE = {"category": "c", "paragraphs": [{"text": "hat", "source": "t"}, {"text": "a red hat", "source": "d"}]}
PROFILE["attributes"] = [{"key": "Color", "evidences": [EVIDENCE, {**EVIDENCE, "begin": -1}]}, {"key": "Size"}]
ROWS = b'id\timages\tcategory\ttexts\tattribute_names\tattribute_values\nB1\t\tc\t"[Title] 4"" hat"\tColor\tred\n'

READERS: dict[str, dict[str, bytes]] = {
    "jsonl": {f"{split}.jsonl": _gold(split) for split in ("train", "valid", "test")},
    "conll": {f"{split}.conll": COLUMNS.replace(b" [PAD]", b" O") for split in ("train", "valid", "test")},
    "slots": {
        f"{split}/{name}": content
        for split in ("train", "valid", "test")
        for name, content in (("seq.in", b"play it\nx\n"), ("seq.out", b"O B-a\nO\n"), ("label", b"Play\nGet\n"))
    },
    "ae110k": {"publish_data.txt": TRIPLES},
    "extractgpt": {"train.jsonl": TARGETS, "test.jsonl": TARGETS},
    "mave": {
        f"{split}/mave_{part}.jsonl": json.dumps({**PROFILE, "id": split}).encode() + b"\n"
        for split in ("train", "eval", "test")
        for part in ("positives", "negatives")
    },
    "implicitave": {
        **{f"training_data/c/{name}.tsv": ROWS for name in ("train", "val")},
        "evaluation_data/c_annotated_final.tsv": ROWS,
        "evaluation_data/options_c.json": b'{"Color": ["red", "blue"]}',
    },
    "fashion": {"styles.csv": TITLES},
    "mepave": {f"jdair.jave.{split}.txt": SENTENCES.format(split).encode() for split in ("train", "valid", "test")},
    "mae": {
        f"{part}/a.json": json.dumps([{**PRODUCTS, "specs": {"Color": "blue", COLOUR: "red"}}] * 2).encode()
        for part in ("train", "val")
    },
}
"""Reader -> its files, all sound."""
SETTINGS = (
    "training.steps=5",
    "hidden=20",
    "dropout=0.5",
    "training.learning_rate=1e-3",
    'system="opentag"',
    "a.b=[1]",
)
SWITCHES = ("units=word", "missing_images=blank", "missing_images='error'", "units=character", "x=1.5", "x={a=[1]}")

NASTY = [
    *(
        b"\x1b]0;pwn\x07",
        b"\x1b[2J",
        b"\xc2\x9b2J",
        b"\0",
        b"\r",
        b"\r\n",
        b"\n",
        b"\n\n",
        b"\t",
        b"\x01",
        b"\x7f",
        b"\xff",
    ),
    *(
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\u0000",
        b"\\u001b[2J",
        b"\\u009b",
        b"\xe2\x80\xae",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
    ),
    *(b"nan", b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 30, b"9" * 5000, b"2020-01-01", b"true", b"null"),
    *(b"[" * 3000, b'{"a":' * 2000, b"&#99999999999;", b"&#" + b"9" * 5000 + b";", b"=cmd|x", b"@", b"'", b'"', b'"""'),
    *(
        b"#",
        b"%s",
        b"{}",
        b"{{1}}",
        b"../",
        b"~nobody/",
        b"x" * 300,
        b" ",
        b"",
        b"[red]",
        b"[/]",
        b"B-",
        b"I-x",
        b"UNK",
    ),
]
VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    1e300,
    10**30,
    "",
    " ",
    "\x1b[2J",
    "\ud800",
    "\0",
    "x" * 300,
    [],
    {},
    [[]],
    [None],
    {"": ""},
]


def _bytes(content: bytes, chance: random.Random) -> bytes:
    """Return the content with one change of bytes, lines or encoding."""
    at, to = sorted((chance.randint(0, len(content)), chance.randint(0, len(content))))
    lines = content.split(b"\n")
    match chance.randrange(13):
        case 0:
            return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
        case 1:
            return content[:at] + content[to:]
        case 2:
            return content[:to] + content[at:to] + content[to:]
        case 3 | 4 | 5 | 6:
            return content[:at] + chance.choice(NASTY) + content[at + chance.randrange(3) :]
        case 7:
            chance.shuffle(lines)
            return b"\n".join(lines)
        case 8:
            return b"\n".join([*lines, chance.choice(lines)])
        case 9:
            return b"\n".join(line for line in lines if chance.random() < 0.8)
        case 10:
            return content.replace(b"\n", chance.choice([b"\r", b"\r\n", b"\n\n", b"", b"\x0b"]))
        case 11:
            encoding = chance.choice(["utf-16", "utf-16-le", "utf-32", "latin-1", "gb18030", "utf-8-sig"])
            return content.decode(errors="replace").encode(encoding, errors="replace")
        case _:
            return gzip.compress(content, mtime=0)[: chance.choice([None, -4, 20])]


def _replaced(node: Any, chance: random.Random) -> Any:
    """Return a JSON value with one node, somewhere in it, changed."""
    if isinstance(node, dict) and node and chance.random() < 0.85:
        key = chance.choice(list(node))
        match chance.randrange(6):
            case 0:
                return {name: value for name, value in node.items() if name != key}
            case 1:
                return {
                    chance.choice(["", "\x1b", f"{key}s", "\ud800", "id"]) if name == key else name: value
                    for name, value in node.items()
                }
            case _:
                return {**node, key: _replaced(node[key], chance)}
    if isinstance(node, list) and node and chance.random() < 0.7:
        place = chance.randrange(len(node))
        return [*node[:place], _replaced(node[place], chance), *node[place + chance.randrange(2) :]]
    return chance.choice(VALUES)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return the content with one to four changes; those of JSON's structure come first."""
    if content[:1] in b"{[" and chance.random() < 0.4:
        lines = content.splitlines()
        place = chance.randrange(len(lines))
        lines[place] = json.dumps(_replaced(json.loads(lines[place]), chance)).encode()
        content = b"\n".join(lines)
        if chance.random() < 0.6:
            return content
    for _ in range(chance.choice([1, 1, 1, 2, 3, 4])):
        content = _bytes(content, chance)
    return content


@dataclass(frozen=True)
class Fuzz:
    """Runs cases in a folder that holds a sound data set, a table, and the cell that it trained."""

    place: Path

    @classmethod
    def prepared(cls, place: Path) -> Fuzz:
        """Write the sound files and train the dictionary."""
        _write(place / "good", READERS["jsonl"])
        (place / "table.toml").write_text(TABLE)
        (place / "trained.toml").write_text(TABLE[: TABLE.index('[[rows]]\nlabel = "tagger"')])
        done = avebench_here(place, "run", "trained.toml", "--data", "good", "--no-mlflow", "--jobs", "1")
        assert done.returncode == 0, done.stderr
        # What the tagger's row imports is not the time of the first case.
        assert avebench_here(place, "run", "table.toml", "--data", "good", "--dry-run").returncode == 0
        return cls(place)

    def case(self, number: int, seed: int) -> tuple[list[str], CompletedProcess[str], str]:
        """Return the command of a case, how it ended, and what is wrong with that; empty if nothing is."""
        chance = random.Random(f"{seed}-{number}")
        work = self.place / "case"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        command = chance.choice(_COMMANDS)(work, chance)
        began = time.process_time()
        done = avebench_here(self.place, *command)
        seconds = time.process_time() - began
        printed = done.stdout + done.stderr
        odd = [one for one in printed if one not in "\t\n" and (one < " " or "\x7f" <= one <= "\x9f")]
        wrong = [
            *([f"ended with {done.returncode}"] if done.returncode not in {0, 2} else []),
            *(["a traceback"] if "Traceback" in printed else []),
            *([f"printed {odd[0]!r}"] if odd else []),
            *(["said nothing"] if not printed.strip() else []),
            *([f"took {seconds:.0f} s"] if seconds > SECONDS else []),
        ]
        return command, done, ", ".join(wrong)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _words(text: str, chance: random.Random) -> str:
    """Return a mutated argument, as a shell could give it."""
    return os.fsdecode(mutated(text.encode(), chance).replace(b"\0", b"")[:4000])


def _reader(work: Path, chance: random.Random) -> list[str]:
    name = chance.choice(list(READERS))
    files = dict(READERS[name])
    for broken in chance.sample(list(files), min(len(files), chance.choice([1, 1, 2]))):
        files[broken] = mutated(files[broken], chance)
    if chance.random() < 0.05:
        del files[chance.choice(list(files))]
    _write(work, files)
    match chance.randrange(3):
        case 0:
            return ["data", "check", name, "--data", "case"]
        case 1:
            return ["data", "stats", name, "--data", "case", "--format", chance.choice(FORMATS)]
        case _:
            return ["data", "convert", name, str(work.with_name("converted") / str(chance.random())), "--data", "case"]


def _option(work: Path, chance: random.Random) -> list[str]:
    option = _words(chance.choice(SWITCHES), chance)
    return ["data", "stats", "jsonl", "--data", "good", "--option", option]


def _set(work: Path, chance: random.Random) -> list[str]:
    return ["run", "table.toml", "--data", "good", "--dry-run", "--set", _words(chance.choice(SETTINGS), chance)]


def _table(work: Path, chance: random.Random) -> list[str]:
    (work / "table.toml").write_bytes(mutated(TABLE.encode(), chance))
    return ["run", "case/table.toml", "--data", "good", "--dry-run", "--format", chance.choice(FORMATS)]


def _score(work: Path, chance: random.Random) -> list[str]:
    sound = chance.random() < 0.5
    (work / "found").write_bytes(mutated(PREDICTED, chance) if sound else PREDICTED)
    (work / "gold").write_bytes(_gold("test") if sound else mutated(_gold("test"), chance))
    return ["score", "case/found", "--gold", "case/gold", "--format", chance.choice(FORMATS)]


def _score_columns(work: Path, chance: random.Random) -> list[str]:
    (work / "found.conll").write_bytes(mutated(COLUMNS, chance))
    scheme = chance.choice(["lenient", "strict"])
    return ["score", "case/found.conll", "--scheme", scheme, "--format", chance.choice(FORMATS)]


def _predict(work: Path, chance: random.Random) -> list[str]:
    command = ["predict", "--experiment", "trained.toml", "--row", "dictionary"]
    if chance.random() < 0.3:
        return [*command, f"--text={_words(TEXT, chance)}", "--format", chance.choice(FORMATS)]
    (work / "products.jsonl").write_bytes(mutated(_gold("new"), chance))
    return [*command, "--input", "case/products.jsonl", "--output", "case/out.jsonl"]


_COMMANDS: list[Callable[[Path, random.Random], list[str]]] = [
    *([_reader] * 5),
    *(_option, _set, _table, _score, _score_columns, _predict),
]


def main(arguments: list[str]) -> int:
    """Run the cases; return 1 if one went wrong."""
    cases, seed, first = (int(given) for given in [*arguments, "0", "0"][:3])
    place = Path(tempfile.mkdtemp(prefix="avebench-fuzz-"))
    os.environ["AVEBENCH_CACHE"] = str(place / "cache")
    fuzz = Fuzz.prepared(place)
    ended: Counter[int] = Counter()
    faults = 0
    began = time.monotonic()
    for number in range(first, first + cases):
        command, done, wrong = fuzz.case(number, seed)
        ended[done.returncode] += 1
        if wrong:
            faults += 1
            shutil.copytree(place / "case", place / f"fault-{number}")
            shown = " ".join(ascii(part)[:200] for part in command)
            print(f"case {number}: {wrong}: {shown}\n  {done.stdout[-200:]!a} {done.stderr[-600:]!a}", flush=True)
    seconds = time.monotonic() - began
    codes = ", ".join(f"{count:,} with {code}" for code, count in sorted(ended.items()))
    print(f"{cases:,} cases of seed {seed} in {seconds:.0f} s: ended {codes}; {faults} faults.")
    if not faults:
        shutil.rmtree(place)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
