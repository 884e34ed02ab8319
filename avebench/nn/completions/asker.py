"""Puts questions to a language model: each once, several side by side, within budgets, every answer kept at once."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from avebench.files.errors import CellFailedError
from avebench.nn.completions.cache import AnswerCache
from avebench.nn.completions.contract import Backend, Completion, Means, Question, Unanswered

_POLL_SECONDS = 0.2
"""How often is looked for an answer that another process is asking for."""
_FAILURES_IN_A_ROW = 5
"""After so many questions without an answer, and none with one between them, no more is asked."""
SAME_COMMAND = "What is answered is kept: the same command asks for the rest."

Outcome = list[Completion | Unanswered]


@dataclass(slots=True)
class Account:
    """What the questions of a system cost: distinct questions, answers that were there before, tokens, seconds."""

    requests: int = 0
    from_cache: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: int = 0
    """Answers whose tokens the endpoint did not tell."""
    seconds: float = 0.0
    """Sum of the seconds of every answer, whenever it was given."""

    def add(self, completion: Completion, *, from_cache: bool) -> None:
        """Count one more question with its answer."""
        self.requests += 1
        self.from_cache += from_cache
        self.tokens_in += completion.tokens_in
        self.tokens_out += completion.tokens_out
        self.estimated += completion.estimated
        self.seconds += completion.seconds


class Asker:
    """Answers questions out of the cache, and asks a backend for those that are not there."""

    def __init__(self, backend: Backend, means: Means, cache: AnswerCache | None = None) -> None:
        self.backend = backend
        self.account = Account()
        self._means = means
        self._cache = cache or AnswerCache()
        self._counted: set[str] = set()

    def ask(self, questions: Sequence[Question]) -> list[Completion]:
        """Return the answers in order; equal questions are asked once.

        CellFailedError if some have none, after all others were asked or a budget was used up: it says how many and
        why. What is answered is kept.
        """
        keys = [question.key(self.backend.identity) for question in questions]
        distinct = dict(zip(keys, questions, strict=True))
        known = self._cache.find(distinct)
        before = set(known)
        asking = _Asking(self.backend, self._means, self._cache, distinct, known)
        asking.run()
        for key in distinct:
            if key in known and key not in self._counted:
                self._counted.add(key)
                self.account.add(known[key], from_cache=key in before)
        if len(known) < len(distinct):
            raise CellFailedError(asking.complaint())
        return [known[key] for key in keys]


@dataclass(slots=True)
class _Asking:
    """One round of questions, whose answers go into `known` as they arrive."""

    backend: Backend
    means: Means
    cache: AnswerCache
    questions: dict[str, Question]
    known: dict[str, Completion]
    pending: deque[list[str]] = field(default_factory=deque)
    elsewhere: set[str] = field(default_factory=set)
    """What another process is asking."""
    running: dict[Future[Outcome], list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    in_a_row: int = 0
    stopped: str = ""

    def run(self) -> None:
        """Ask for everything that is not known, until all is answered or has failed, or there is a reason to stop."""
        keys = list(self.questions)
        if len(self.known) == len(keys):
            return
        # Batches are formed of all questions, so that a run that goes on asks in the same batches as one that does not.
        for batch in self.backend.batches(list(self.questions.values())):
            if wanted := [keys[position] for position in batch if keys[position] not in self.known]:
                self.pending.append(wanted)
        with ThreadPoolExecutor(self.backend.side_by_side) as threads:
            while self.running or (not self.stopped and (self.pending or self.elsewhere)):
                self._start(threads)
                done, _ = wait(self.running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    self._take(self.running.pop(future), future.result())
                if self.elsewhere and not self.pending:
                    self._look_elsewhere(pause=not self.running)

    def _start(self, threads: ThreadPoolExecutor) -> None:
        while self.pending and not self.stopped and len(self.running) < self.backend.side_by_side:
            batch = self.pending.popleft()
            held = [key for key in batch if self.cache.claim(key)]
            self.elsewhere.update(set(batch) - set(held))
            answered = self.cache.find(held)  # By a process that held the claim until now.
            self.known.update(answered)
            wanted = [key for key in held if key not in answered]
            allowed = self.cache.allow(len(wanted), self.means) if wanted else 0
            if allowed < len(wanted):
                self.stopped = "the budget of this run is used up"
            for key in (*answered, *wanted[allowed:]):
                self.cache.release(key)
            if allowed:
                asked = wanted[:allowed]
                self.running[threads.submit(self.backend.complete, [self.questions[key] for key in asked])] = asked

    def _take(self, keys: list[str], outcomes: Outcome) -> None:
        """Keep the answers of a batch and note what has none."""
        pairs = list(zip(keys, outcomes, strict=True))
        answers = {key: one for key, one in pairs if isinstance(one, Completion)}
        if answers:
            self.cache.keep(answers, self.means.run)
            self.known.update(answers)
            self.in_a_row = 0
        for key, one in pairs:
            self.cache.release(key)
            if isinstance(one, Unanswered):
                self.failed[key] = one.reason
                self.in_a_row += 1
                if one.hopeless:
                    self.stopped = self.stopped or one.reason
        if self.in_a_row >= _FAILURES_IN_A_ROW and not self.stopped:
            self.stopped = f"{self.in_a_row} questions in a row had no answer"

    def _look_elsewhere(self, *, pause: bool) -> None:
        """Take the answers that other processes have had, and ask what they have left unanswered."""
        if pause:
            time.sleep(_POLL_SECONDS)
        answered = self.cache.find(self.elsewhere)
        self.known.update(answered)
        self.elsewhere.difference_update(answered)
        for key in list(self.elsewhere):
            if self.cache.claim(key):
                self.cache.release(key)
                self.elsewhere.discard(key)
                self.pending.append([key])

    def complaint(self) -> str:
        """Return how many questions have no answer, and why."""
        reasons = Counter(self.failed.values())
        said = [f"{number:,} x {reason}" if number > 1 else reason for reason, number in reasons.most_common(3)]
        if len(reasons) > 3:
            said.append(f"{len(reasons) - 3} other reasons")
        if self.stopped and self.stopped not in reasons:
            said.insert(0, self.stopped)
        return (
            f"{len(self.known):,} of {len(self.questions):,} questions are answered; the others are not: "
            f"{'; '.join(said)}. {SAME_COMMAND}"
        )
