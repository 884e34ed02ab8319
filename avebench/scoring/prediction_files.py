"""Score a file of predictions from any system: what stands behind `avebench score`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avebench.contracts.examples import PAD, Example, Prediction, Units, gold_attributes
from avebench.contracts.model import ChunkScheme
from avebench.contracts.tagging import split_tag
from avebench.data.annotation import places
from avebench.data.conll import Tagged, read_conll
from avebench.data.gold import read_gold
from avebench.data.jsonlines import Records, text_lines
from avebench.data.predictions import match_predictions, read_predictions
from avebench.files.errors import AvebenchError
from avebench.files.textfiles import is_stream, read_once
from avebench.scoring.counts import accuracy_counts, set_counts
from avebench.scoring.families import ClsSource, Counts, Family
from avebench.scoring.invariants import invariant_faults
from avebench.scoring.metrics import METRICS, SCORER_VERSION, Metric, output_range, score
from avebench.scoring.pairs import pairs_from_tags
from avebench.scoring.queried import five_counters
from avebench.scoring.sequences import score_tag_sequences

if TYPE_CHECKING:
    import pandas

FileFormat = Literal["jsonl", "conll"]
_OF_TAGS: tuple[Family, ...] = ("tag", "cls", "cls_with_pad", "mae", "mae_by_attribute")
"""What columns of tags are scored on."""
_SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".tsv": "conll",
}


@dataclass(frozen=True, slots=True)
class Scores:
    """The exact scores of one prediction file.

    `scheme` is how tags became chunks, None where the file gives spans itself. `metrics` holds None for what the file
    cannot be scored on. `per_attribute` counts spans, or value strings where there are no spans. `output_range` is
    (C_o, C_m) of `scoring.metrics.output_range` over the attributes that occur in the gold, None for tag columns.
    `places` is how many gold values have a place in the text, and how many there are, None for tag columns.
    """

    predictions: str
    examples: int
    scheme: ChunkScheme | None
    cls_source: ClsSource
    metrics: dict[str, Metric | None]
    per_attribute: dict[str, Counts]
    per_slice: dict[str, tuple[int, Counts]]
    mean_selected_range: float
    output_range: tuple[float, float] | None
    scorer_version: int = SCORER_VERSION
    notes: dict[str, int] = field(default_factory=dict)
    """What was read as something else, or left out: how often."""
    places: tuple[int, int] | None = None

    def __getitem__(self, metric: str) -> float:
        """Return a metric in %; KeyError if there is none of this name, or these predictions have none."""
        found = self.metrics[metric]
        if found is None:
            raise KeyError(f"{metric} is not available for these predictions")
        return found.value

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per available metric: its value in %, and the counts tp, predicted and gold behind it."""
        import pandas

        rows = {name: asdict(metric) for name, metric in self.metrics.items() if metric is not None}
        return pandas.DataFrame.from_dict(rows, orient="index")

    def to_json(self) -> dict[str, Any]:
        """Return the scores as plain JSON; ratios of attributes and slices stand beside their counts."""
        content = asdict(self)
        content["per_attribute"] = {name: _with_ratios(counts) for name, counts in self.per_attribute.items()}
        content["per_slice"] = {
            name: {"examples": number, **_with_ratios(counts)} for name, (number, counts) in self.per_slice.items()
        }
        if self.output_range is not None:
            content["output_range"] = {"c_o": self.output_range[0], "c_m": self.output_range[1]}
        content["counters"] = five_counters(self.metrics)
        return content


def _with_ratios(counts: Counts) -> dict[str, float]:
    return {**asdict(counts), "precision": counts.precision, "recall": counts.recall, "f1": counts.f1}


def file_format(path: Path) -> FileFormat:
    """Return the format of a prediction file by the end of its name, or else by its first line that is not empty.

    AvebenchError if the file cannot be read or is empty.
    """
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    if name.suffix in _SUFFIXES:
        return _SUFFIXES[name.suffix]
    first = next((text.strip() for _, text in text_lines(path) if text.strip()), "")
    return "jsonl" if first.startswith("{") and '"' in first else "conll"


def score_file(
    path: Path,
    gold: Path | Sequence[Example] | None,
    scheme: ChunkScheme = "lenient",
    *,
    cls_source: ClsSource = "head",
    form: FileFormat | None = None,
    units: Units = "word",
    slices: Callable[[Example], Iterable[str]] | None = None,
    released: bool = False,
) -> Scores:
    """Return the scores of a prediction file.

    JSON Lines need `gold`: a gold file (`units` cuts its texts where it gives no tokens) or the examples themselves.
    CoNLL columns hold both tags in one file (`gold` is None), or `gold` is the file with the gold tags; only they use
    `scheme`, and their attributes are read off the tags. With `released` their tokens are word pieces, joined to values
    as the released code of DRAM does. A pipe or standard input (`-`) is read once. AvebenchError names file, line and
    field of what is wrong.
    """
    if isinstance(gold, Path) and gold == path and is_stream(path):
        raise AvebenchError(f"{path} cannot be both predictions and gold. Put one of them into a file.")
    with read_once(path), read_once(gold) if isinstance(gold, Path) else nullcontext():
        if (form or file_format(path)) == "conll":
            if gold is not None and not isinstance(gold, Path):
                raise AvebenchError(
                    f"{path} holds columns of tags, which cannot be matched with examples. "
                    "Give token, gold tag and predicted tag as columns, or a file with the gold tags with --gold."
                )
            return _score_tags(path, read_conll(path, gold), scheme, released)
        if released:
            raise AvebenchError(
                f"{path} is JSON Lines, whose values are stated. Only columns of word pieces and tags can be read by "
                "--values released."
            )
        if gold is None:
            raise AvebenchError(
                f"{path} is JSON Lines and holds no gold. Name the gold with --gold FILE or --dataset NAME."
            )
        examples = read_gold(gold, units) if isinstance(gold, Path) else gold
        return _scores(str(path), examples, read_predictions(path, examples), slices, cls_source)


def score_records(gold: Sequence[Example], predictions: Records, *, name: str = "predictions") -> Scores:
    """Return the scores of predictions that stand in memory; AvebenchError as `match_predictions`."""
    return score_predictions(gold, match_predictions(predictions, gold), name)


def score_predictions(gold: Sequence[Example], predictions: Sequence[Prediction], name: str) -> Scores:
    """Return the scores of predictions, called `name`, that stand in the order of the gold examples."""
    return _scores(name, gold, predictions, None, "head")


def _scores(
    name: str,
    gold: Sequence[Example],
    predictions: Sequence[Prediction],
    slices: Callable[[Example], Iterable[str]] | None,
    cls_source: ClsSource,
) -> Scores:
    scores = score(gold, predictions, slices, cls_source)
    metrics = scores.metrics()
    _check(metrics, scores.examples, gold)
    attributes = frozenset[str]().union(*map(gold_attributes, gold))
    placed = [places(example) for example in gold]
    return Scores(
        predictions=name,
        examples=scores.examples,
        scheme=None,
        cls_source=cls_source,
        metrics=metrics,
        per_attribute=scores.per_attribute(),
        per_slice=scores.per_slice(),
        mean_selected_range=scores.mean_selected_range,
        output_range=output_range(len(attributes), scores.mean_length, scores.mean_selected_range),
        places=(sum(one for one, _ in placed), sum(number for _, number in placed)),
    )


def _score_tags(path: Path, tagged: Tagged, scheme: ChunkScheme, released: bool) -> Scores:
    """Return the scores of parallel tags: chunks, their strings, and the attributes read off `B-` and `I-` tags."""
    total, per_type = score_tag_sequences(tagged.gold, tagged.predicted, scheme)
    totals: dict[Family, Counts] = {family: Counts() for family in _OF_TAGS} | {"tag": total}
    selected = 0
    for tokens, gold_tags, predicted_tags in zip(tagged.tokens, tagged.gold, tagged.predicted, strict=True):
        gold_pairs = pairs_from_tags(gold_tags, tokens, scheme, released=released)
        predicted_pairs = gold_pairs
        if predicted_tags != gold_tags:
            predicted_pairs = pairs_from_tags(predicted_tags, tokens, scheme, released=released)
        totals["mae"] += accuracy_counts(gold_pairs, predicted_pairs)
        totals["mae_by_attribute"] += accuracy_counts(gold_pairs, predicted_pairs, by_attribute=True)
        wanted, found = _read_off(gold_tags), _read_off(predicted_tags)
        selected += len(found)
        totals["cls"] += set_counts(wanted, found)
        totals["cls_with_pad"] += set_counts(wanted or {PAD}, found or {PAD})
    metrics: dict[str, Metric | None] = dict.fromkeys(METRICS)
    for name, (family, ratio) in METRICS.items():
        if family in totals:
            counts = totals[family]
            metrics[name] = Metric(getattr(counts, ratio), counts.tp, counts.predicted, counts.gold)
    _check(metrics, len(tagged.gold), None)
    return Scores(
        predictions=str(path),
        examples=len(tagged.gold),
        scheme=scheme,
        cls_source="tags",
        metrics=metrics,
        per_attribute=dict(sorted(per_type.items())),
        per_slice={},
        mean_selected_range=selected / len(tagged.gold),
        output_range=None,
        notes=dict(+tagged.counts),
    )


def _read_off(tags: Sequence[str]) -> set[str]:
    return {kind for prefix, kind in map(split_tag, set(tags)) if prefix in {"B", "I"}}


def _check(metrics: dict[str, Metric | None], examples: int, gold: Sequence[Example] | None) -> None:
    """Raise RuntimeError if the scores contradict themselves: that would be a fault of the scorer, never of a file."""
    faults = invariant_faults(metrics, examples, gold)
    if faults:
        raise RuntimeError("the scores contradict themselves: " + "; ".join(faults))
