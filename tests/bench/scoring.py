"""Speed of scoring, in (gold, predicted) tag pairs per second on one thread, from lists of tag strings in memory."""

import random
import time
from collections.abc import Callable

from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from avebench.scoring.sequences import score_tag_sequences

SENTENCES = 60_000
ATTRIBUTES = 26


def sentences(number: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Return gold and predicted tags of made-up sentences of 5 to 24 tags; one predicted tag in twenty is random."""
    random_ = random.Random(seed)
    labels = ["O"] + [f"{prefix}-attribute {index}" for index in range(ATTRIBUTES) for prefix in "BI"]
    gold, predicted = [], []
    for _ in range(number):
        tags: list[str] = []
        length = random_.randint(5, 24)
        while len(tags) < length:
            if random_.random() < 0.7:
                tags.append("O")
            else:
                attribute = random_.randrange(ATTRIBUTES)
                tags += [labels[1 + 2 * attribute]] + [labels[2 + 2 * attribute]] * random_.randint(0, 2)
        gold.append(tags[:length])
        predicted.append([random_.choice(labels) if random_.random() < 0.05 else tag for tag in tags[:length]])
    return gold, predicted


def seconds(function: Callable[[], object], times: int) -> float:
    """Return the least wall time of `times` calls: what else runs on the machine can only add to it."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def main() -> None:
    """Print the speed of both chunk schemes beside seqeval's on a part of the same sentences."""
    gold, predicted = sentences(SENTENCES, seed=0)
    pairs = sum(map(len, gold))
    few = SENTENCES // 20
    few_pairs = sum(map(len, gold[:few]))
    for scheme in ("lenient", "strict"):
        options = {"mode": "strict", "scheme": IOB2} if scheme == "strict" else {}
        ours = pairs / seconds(lambda s=scheme: score_tag_sequences(gold, predicted, s), 9)
        theirs = few_pairs / seconds(lambda o=options: f1_score(gold[:few], predicted[:few], **o), 3)
        f1 = score_tag_sequences(gold[:few], predicted[:few], scheme)[0].f1 / 100
        difference = abs(f1 - f1_score(gold[:few], predicted[:few], **options))
        print(
            f"scoring, {scheme}: {ours / 1e6:.2f} million tag pairs per second (goal 3), "
            f"seqeval {theirs / 1e6:.3f} million, {ours / theirs:.0f} times as fast; F1 differs by {difference:.1e}"
        )


if __name__ == "__main__":
    main()
