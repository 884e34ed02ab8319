"""An endpoint that answers, and one that fails in every way that endpoints do."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from chat_server import Reply, last_text, serving

from avebench.files.errors import AvebenchError, CellFailedError
from avebench.nn.completions.asker import Asker
from avebench.nn.completions.cache import FILE, AnswerCache
from avebench.nn.completions.contract import Completion, Means, Parameters, Question
from avebench.nn.completions.endpoint import Endpoint, check_endpoint


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-written")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def question(text: str, **parameters: Any) -> Question:
    messages = ({"role": "system", "content": "Echo."}, {"role": "user", "content": text})
    return Question(messages, Parameters(**parameters))


def echo(body: dict[str, Any]) -> Reply:
    return Reply(last_text(body).upper())


def asker(address: str, folder: Path, **means: Any) -> Asker:
    told = Means(endpoint=address, **{"timeout": 10.0, "retries": 2, **means})
    return Asker(Endpoint("echo-1", told), told, AnswerCache(folder))


def test_every_question_is_asked_once_and_answered_in_order(tmp_path: Path) -> None:
    questions = [question(f"red dress {number % 12}") for number in range(30)]
    with serving(lambda body: Reply(last_text(body).upper(), seconds=0.05)) as server:
        first = asker(server.address, tmp_path, side_by_side=4)
        answers = first.ask(questions)
        assert [one.text for one in answers] == [f"RED DRESS {number % 12}" for number in range(30)]
        assert len(server.asked) == 12 and server.most == 4
        assert (first.account.requests, first.account.from_cache) == (12, 0)
        assert (first.account.tokens_in, first.account.tokens_out) == (12 * 7, 12 * 3)
        assert server.asked[0]["model"] == "echo-1" and server.asked[0]["temperature"] == 0
        assert server.keys == {"sk-never-written"}
        again = asker(server.address, tmp_path)
        assert again.ask(questions) == answers and again.ask(questions[:3]) == answers[:3]
        assert len(server.asked) == 12
        assert (again.account.requests, again.account.from_cache) == (12, 12)
        assert again.account.seconds == pytest.approx(first.account.seconds)
        # Other parameters, and another model, are other questions.
        again.ask([question("red dress 1", max_tokens=9)])
        Asker(Endpoint("echo-2", Means(server.address)), Means(), AnswerCache(tmp_path)).ask(questions[:1])
        assert len(server.asked) == 14 and server.asked[12]["max_tokens"] == 9
    assert b"never-written" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


class Failing:
    """Fails for the texts that say so, `times` times each; echoes everything else."""

    def __init__(self, reply: Reply, times: int = 10**6) -> None:
        self.reply, self.left = reply, times

    def __call__(self, body: dict[str, Any]) -> Reply:
        if "fail" in last_text(body) and self.left:
            self.left -= 1
            return self.reply
        return echo(body)


CHAT = {"choices": [{"message": {"content": "x" * 50_000}}]}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=400), "the endpoint says 400"),
        (Reply(status=429, headers={"Retry-After": "0.01"}), "the endpoint says 429"),
        (Reply(status=500, headers={"Retry-After": "0.01"}), "the endpoint says 500"),
        (Reply("whole", lost=9), "an answer that ends in the middle"),
        (Reply(raw=b"<html>"), "no chat completion"),
        (Reply(raw=b'{"choices": []}'), "no chat completion"),
        (Reply(raw=json.dumps(CHAT).encode()), "more than 20,000 bytes"),
        (Reply("late", seconds=2.0), "no answer within 0.5 seconds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_question_that_fails_is_named_and_asked_again_the_next_time(reply: Reply, said: str, tmp_path: Path) -> None:
    questions = [question(text) for text in ("a", "fail b", "c")]
    with serving(Failing(reply)) as server:
        failing = asker(server.address, tmp_path, largest_answer=20_000, timeout=0.5, retries=1)
        with pytest.raises(CellFailedError, match=r"2 of 3 questions are answered") as error:
            failing.ask(questions)
        assert said in str(error.value) and "same command" in str(error.value)
        server.rule = echo
        asked = len(server.asked)
        assert [one.text for one in asker(server.address, tmp_path).ask(questions)] == ["A", "FAIL B", "C"]
        assert [last_text(body) for body in server.asked[asked:]] == ["fail b"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=429, headers={"Retry-After": "0.01"}),
        Reply(status=500, headers={"Retry-After": "0.01"}),
        Reply("whole", lost=9),
    ],
    ids=["429", "500", "cut"],
)
def test_what_passes_after_two_failures_is_answered(reply: Reply, tmp_path: Path) -> None:
    with serving(Failing(reply, times=2)) as server:
        answers = asker(server.address, tmp_path).ask([question("a"), question("fail b")])
        assert [one.text for one in answers] == ["A", "FAIL B"] and len(server.asked) == 4


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_is_turned_away_asks_no_more_and_the_key_is_not_told(status: int, tmp_path: Path) -> None:
    told = json.dumps({"error": {"message": "wrong key sk-never-written"}}).encode()
    with serving(lambda body: Reply(status=status, raw=told)) as server:
        with pytest.raises(CellFailedError, match=rf"0 of 50 questions are answered.* {status}.*\(key\)") as error:
            asker(server.address, tmp_path, side_by_side=2).ask([question(str(number)) for number in range(50)])
        assert "never-written" not in str(error.value) and len(server.asked) <= 4


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(CellFailedError, match=r"0 of 40 .*5 questions in a row .*cannot be reached .*refused"):
        asker(address, tmp_path, retries=0, side_by_side=1).ask([question(str(number)) for number in range(40)])


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(None), ""),
        (Reply(""), ""),
        (Reply(raw=b'{"choices": [{"message": {}}]}'), ""),
        (Reply(raw=b'{"choices": [{"message": {"content": [{"type": "text", "text": "a\\ud83d"}]}}]}'), "a?"),
        (Reply("```json\n{}\n```"), "```json\n{}\n```"),
    ],
)
def test_an_empty_or_odd_answer_is_an_answer(reply: Reply, expected: str, tmp_path: Path) -> None:
    with serving(lambda body: reply) as server:
        assert asker(server.address, tmp_path).ask([question("a")])[0].text == expected
        assert asker(server.address, tmp_path).ask([question("a")])[0].text == expected
        assert len(server.asked) == 1


def test_tokens_that_are_not_told_are_estimated_and_cut_answers_counted(tmp_path: Path) -> None:
    with serving(lambda body: Reply("seven letters", usage=False, finish="length")) as server:
        one = asker(server.address, tmp_path)
        answer = one.ask([question("red")])[0]
    assert (answer.tokens_in, answer.tokens_out) == (2, 4)  # Of 8 and 13 characters.
    assert one.account.estimated == 1 and answer.cut


@pytest.mark.parametrize(
    ("budget", "answered"), [({"max_requests": 5}, 5), ({"max_tokens": 50}, 5), ({"max_requests": 0}, 0)]
)
def test_a_budget_stops_and_the_next_run_goes_on(budget: dict[str, int], answered: int, tmp_path: Path) -> None:
    questions = [question(str(number)) for number in range(8)]
    with serving(echo) as server:
        with pytest.raises(CellFailedError, match=rf"{answered} of 8 .*budget"):
            asker(server.address, tmp_path, run="one", side_by_side=1, **budget).ask(questions)
        assert len(server.asked) == answered
        # The budget is that of the run, whichever cell asks.
        with pytest.raises(CellFailedError):
            asker(server.address, tmp_path, run="one", side_by_side=1, **budget).ask(questions)
        assert len(server.asked) == answered
        asker(server.address, tmp_path, run="two").ask(questions)
        assert len(server.asked) == 8


def test_a_damaged_answer_is_asked_again_and_a_damaged_file_said(tmp_path: Path) -> None:
    with serving(echo) as server:
        asker(server.address, tmp_path).ask([question("a"), question("b")])
        import sqlite3

        with sqlite3.connect(tmp_path / FILE) as database:
            database.execute("UPDATE answers SET text = 'Z' WHERE text = 'A'")
        answers = asker(server.address, tmp_path).ask([question("a"), question("b")])
        assert [one.text for one in answers] == ["A", "B"] and len(server.asked) == 3
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(AvebenchError, match=r"answers\.sqlite cannot be read.*Move that file away"):
        AnswerCache(tmp_path).find(["0" * 64])


@pytest.mark.parametrize(
    ("variables", "means", "said"),
    [
        ({"OPENAI_API_KEY": ""}, Means("http://127.0.0.1:1/v1"), "OPENAI_API_KEY is not set"),
        ({}, Means(), "No endpoint is given"),
    ],
)
def test_what_is_missing_is_said(
    variables: dict[str, str], means: Means, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AvebenchError, match=said):
        check_endpoint(means)


def test_a_claim_is_held_by_one_process_and_freed_when_it_ends(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys, pathlib; from avebench.nn.completions.cache import AnswerCache\n"
        "cache = AnswerCache(pathlib.Path(sys.argv[1])); print(cache.claim('a' * 64), flush=True); sys.stdin.read()"
    )
    other: Callable[[], subprocess.Popen[str]] = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    cache = AnswerCache(tmp_path)
    with other() as process:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        assert not cache.claim("a" * 64) and cache.claim("b" * 64)
        process.kill()
        process.wait()
        assert cache.claim("a" * 64)
    cache.release("a" * 64)
    cache.release("b" * 64)


def test_an_answer_that_another_process_asked_for_is_awaited(tmp_path: Path) -> None:
    import threading
    import time

    class Busy(AnswerCache):
        """A cache whose first question is asked by somebody else, who answers in a moment."""

        def claim(self, key: str) -> bool:
            return key != first or first in self.find([first])

    means = Means("http://127.0.0.1:1/v1")
    first = question("a").key("endpoint echo-1")

    def answer_soon() -> None:
        time.sleep(0.5)
        AnswerCache(tmp_path).keep({first: Completion("ELSEWHERE", 1, 1, 0.0)})

    with serving(echo) as server:
        threading.Thread(target=answer_soon).start()
        one = Asker(Endpoint("echo-1", Means(server.address)), means, Busy(tmp_path))
        assert [answer.text for answer in one.ask([question("a"), question("b")])] == ["ELSEWHERE", "B"]
        assert [last_text(body) for body in server.asked] == ["b"]
