"""Every answer of a language model that this machine has had: one SQLite file in the cache folder.

An answer is written when it arrives, in a transaction of its own: what is there after a kill is whole. A row carries a
digest, and one that is not what was written counts as not there. Several processes share the file. Who asks a question
holds a claim to it, a lock on one byte of a second file, which the system frees when the process dies: so nobody asks
what another is asking.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from avebench.files.cache import cache_folder
from avebench.files.digests import sha256
from avebench.files.disk import full_disk
from avebench.files.errors import AvebenchError, UnusableError
from avebench.nn.completions.contract import Completion, Means

FILE, CLAIMS = "answers.sqlite", "claims"
_TABLES = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, tokens_in INTEGER NOT NULL, "
    "tokens_out INTEGER NOT NULL, seconds REAL NOT NULL, estimated INTEGER NOT NULL, cut INTEGER NOT NULL, "
    "answered REAL NOT NULL, digest TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS spent (run TEXT PRIMARY KEY, requests INTEGER NOT NULL, tokens INTEGER NOT NULL)",
)
_WAIT_SECONDS = 120.0
"""How long a process waits for another one's transaction; one takes milliseconds."""
_AT_ONCE = 500
"""Keys of one query; SQLite takes some thousands."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has asked so far."""

    requests: int
    tokens: int


class AnswerCache:
    """The answers in a folder, by default that of the cache; used by one thread. AvebenchError if it cannot be used."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_folder() / "completions"
        self._path = self._folder / FILE
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._claims = _claims_of(self._folder / CLAIMS)
            # Transactions begin where they are written; a row is on the disk when it is committed.
            self._database = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
            for statement in _TABLES:
                self._database.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None

    def find(self, keys: Iterable[str]) -> dict[str, Completion]:
        """Return the answers that are there, by key."""
        wanted, found = list(keys), {}
        try:
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                for row in self._database.execute(
                    "SELECT key, text, tokens_in, tokens_out, seconds, estimated, cut, digest FROM answers "
                    f"WHERE key IN ({marks})",
                    some,
                ):
                    key, text, tokens_in, tokens_out, seconds, estimated, cut, digest = row
                    completion = Completion(text, tokens_in, tokens_out, seconds, bool(estimated), bool(cut))
                    if _digest(key, completion) == digest:
                        found[key] = completion
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        return found

    def keep(self, answers: Mapping[str, Completion], run: str = "") -> None:
        """Write the answers of one batch, all or none of them, and add their tokens to what the run has spent."""
        tokens = sum(one.tokens_in + one.tokens_out for one in answers.values())
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                for key, one in answers.items():
                    flags = (int(one.estimated), int(one.cut))
                    row = (key, one.text, one.tokens_in, one.tokens_out, one.seconds, *flags, time.time())
                    self._database.execute(
                        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, _digest(key, one))
                    )
                self._database.execute("UPDATE spent SET tokens = tokens + ? WHERE run = ?", (tokens, run))
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def allow(self, number: int, means: Means) -> int:
        """Return how many of `number` questions the budgets of a run still allow, and count them as asked."""
        if means.max_requests is None and means.max_tokens is None:
            return number
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.execute("INSERT OR IGNORE INTO spent VALUES (?, 0, 0)", (means.run,))
                spent = self._spent(means.run)
                if means.max_requests is not None:
                    number = max(0, min(number, means.max_requests - spent.requests))
                if means.max_tokens is not None and spent.tokens >= means.max_tokens:
                    number = 0
                self._database.execute("UPDATE spent SET requests = requests + ? WHERE run = ?", (number, means.run))
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        return number

    def _spent(self, run: str) -> Spent:
        return Spent(*self._database.execute("SELECT requests, tokens FROM spent WHERE run = ?", (run,)).fetchone())

    def claim(self, key: str) -> bool:
        """Return whether this process now holds the claim to a question; False while another process holds it."""
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self, key: str) -> None:
        """Give up the claim to a question."""
        fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, _place(key))

    def _unusable(self, error: Exception) -> AvebenchError:
        return full_disk(error, self._path) or UnusableError(
            f"The answers of language models in {self._path} cannot be read or written ({error}). Move that file away, "
            "or choose another cache folder with $AVEBENCH_CACHE; what only it holds is asked again."
        )


@cache
def _claims_of(path: Path) -> int:
    """Return the open file of claims, once per process: closing any of several would free all that it holds."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _place(key: str) -> int:
    """Return the byte that stands for a question: 60 bits of its key; the file itself stays empty."""
    return int(key[:15], 16)


def _digest(key: str, one: Completion) -> str:
    return sha256([key, one.text, one.tokens_in, one.tokens_out, one.seconds, one.estimated, one.cut])
