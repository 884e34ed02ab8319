"""avebench: benchmark and reproduction harness for attribute value extraction (AVE).

The Python interface: `load_dataset`, `score`, `run`, `compare`, `load_model`. Each does what the command of its kind
does, and returns plain objects and data frames; the types are `Dataset`, `Example`, `Prediction`, `Span`, `Scores` and
`AvebenchError`, which every function raises for a request that cannot be carried out.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike

    import pandas

    from avebench.analysis.comparison.asking import Answer
    from avebench.contracts.dataset import Dataset
    from avebench.contracts.examples import Example, Prediction, Span, Units
    from avebench.contracts.model import ChunkScheme
    from avebench.files.errors import AvebenchError
    from avebench.running.loaded_model import LoadedModel
    from avebench.scoring.prediction_files import Scores

    AnyPath = str | PathLike[str]

__version__ = "0.1.0"
__all__ = [
    "AvebenchError",
    "Dataset",
    "Example",
    "Prediction",
    "Scores",
    "Span",
    "compare",
    "load_dataset",
    "load_model",
    "run",
    "score",
]

_TYPES = {
    "AvebenchError": "avebench.files.errors",
    "Dataset": "avebench.contracts.dataset",
    "Example": "avebench.contracts.examples",
    "Prediction": "avebench.contracts.examples",
    "Span": "avebench.contracts.examples",
    "Scores": "avebench.scoring.prediction_files",
}


def __getattr__(name: str) -> Any:
    if name not in _TYPES:
        raise AttributeError(f"module 'avebench' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_TYPES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def load_dataset(
    name: str, folder: AnyPath | None = None, *, plugins: Iterable[AnyPath] = (), **options: Any
) -> Dataset:
    """Return a data set: "demo", "jsonl" for one of your own, or any other that `avebench data list` names.

    Iterating yields its examples, training split first; `read(split)` those of one split, both as a stream;
    `to_pandas(split)` has them in rows. Offsets are code points of `text`, end exclusive. Without `folder` it is looked
    for in `$AVEBENCH_DATA`; `options` are the reader's. AvebenchError if it is not there, and while reading for what is
    broken, with file, line and field.

    >>> dataset = load_dataset("demo")
    >>> example = next(iter(dataset))
    >>> example.text
    'Rose Hill presents corduroy slip-ons No. 9976 with buckle detail'
    >>> {name: sorted(values) for name, values in example.pairs.items()}
    {'material': ['corduroy'], 'closure': ['buckle']}
    >>> list(dataset.to_pandas("test").columns[:3])
    ['id', 'text', 'tokens']
    """
    from avebench.data.opening import open_dataset

    _add_plugins(plugins)
    return open_dataset(name, _path(folder), options)


def score(
    gold: AnyPath | Iterable[Example | Mapping[str, Any]] | pandas.DataFrame,
    predictions: AnyPath | Iterable[Prediction | Mapping[str, Any]] | pandas.DataFrame,
    *,
    units: Units = "word",
    scheme: ChunkScheme = "lenient",
) -> Scores:
    """Return the exact scores of predictions, whoever made them.

    Both are a file (gold and prediction JSON Lines, or BIO columns) or records of these formats in memory: examples and
    predictions, dictionaries, rows of a data frame. `units` cuts gold texts that bring no tokens; `scheme` says how BIO
    tags become spans. The scores hold metrics in % by name, each with its counts, and the counts of every attribute and
    slice. AvebenchError names the file or the argument, the line or the record, and the field of what is wrong.

    >>> gold = [{"id": "p1", "text": "a blue dress", "spans": [{"attribute": "Color", "start": 2, "end": 6}]}]
    >>> scores = score(gold, [{"id": "p1", "pairs": {"Color": ["blue"], "Category": ["dress"]}}])
    >>> scores["cls_precision"], scores["cls_recall"]
    (50.0, 100.0)
    >>> scores.to_pandas().loc["string_f1", ["tp", "predicted", "gold"]].astype(int).tolist()
    [1, 2, 1]
    """
    from avebench.data.gold import gold_examples, read_gold
    from avebench.data.records import MemoryRecords
    from avebench.scoring.prediction_files import score_file, score_records

    there, known = _file(predictions), _file(gold)
    if there is not None:
        examples = known if known is not None else gold_examples(MemoryRecords("gold", gold), units)
        return score_file(there, examples, scheme, units=units)
    examples = read_gold(known, units) if known is not None else gold_examples(MemoryRecords("gold", gold), units)
    return score_records(examples, MemoryRecords("predictions", predictions))


def run(
    experiment: AnyPath,
    *,
    dataset: str | None = None,
    data: AnyPath | None = None,
    rows: Sequence[str] = (),
    seeds: int = 1,
    train_fraction: float = 1.0,
    profile: str | None = None,
    device: str = "auto",
    jobs: int | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: AnyPath = "runs",
    fresh: bool = False,
    track: bool = False,
    plugins: Iterable[AnyPath] = (),
) -> pandas.DataFrame:
    """Train and score what an experiment lacks, and return its table: one row per row, by its label.

    Measured figures, in % with their `_sd` and `_n` over repetitions, and published ones have columns of their own;
    `attrs` holds title, banner and notes. The arguments are the options of `avebench run`; `options` are the reader's,
    `settings` what `--set` gives, nested ({"training": {"steps": 100}}) or dotted. With `track` MLflow is told as well.
    A row that failed has the reason in `measured_status`. AvebenchError if the request cannot be carried out.

    >>> table = run("table6", dataset="demo", rows=["dictionary", "DRAM"], settings={"training.steps": 2}, out=OUT)
    >>> print(f"{table.loc['dictionary', 'measured_tag_f1']:.2f}", table.loc["DRAM", "published_tag_f1"])
    78.60 96.86
    """
    from avebench.analysis.experiment_output import experiment_tables
    from avebench.planning.request import Request
    from avebench.running.experiment_run import Execution
    from avebench.tables.frames import to_frame
    from avebench.tracking.run_records import Attachments
    from avebench.tracking.run_records import track as tell_mlflow

    _add_plugins(plugins)
    request = Request(
        str(experiment),
        _path(out),
        dataset=dataset,
        data=_path(data),
        rows=rows,
        repetitions=seeds,
        train_fraction=train_fraction,
        profile=profile,
        reader_options=options or {},
        settings=_nested(settings),
        fresh=fresh,
    )
    done, tables = experiment_tables(request, Execution(device, jobs))
    if track:
        tell_mlflow(done, tables, Attachments())
    return to_frame(tables[0])


def compare(
    *rows: str,
    experiment: AnyPath | None = None,
    dataset: str | None = None,
    data: AnyPath | None = None,
    seeds: int | None = None,
    train_fraction: float = 1.0,
    profile: str | None = None,
    device: str = "auto",
    jobs: int | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: AnyPath = "runs",
    recorded: bool = False,
    metric: str | None = None,
    plugins: Iterable[AnyPath] = (),
) -> Answer:
    """Return which of the named rows of a table is better, by how much, how surely, and where.

    As a string the answer is its sentences; `to_pandas()` has a row per metric, attribute, slice and category, with the
    difference, its 95 % interval and p-values. The arguments are the options of `avebench compare`; what is not
    finished is trained. AvebenchError for what cannot be compared; CellsFailedError if a row cannot be trained.

    >>> few = {"training.steps": 2}
    >>> answer = compare("dictionary", "DRAM", experiment="table6", dataset="demo", settings=few, out=OUT)
    >>> print(answer)  # doctest: +ELLIPSIS
    dictionary is better than DRAM by ... points of TAG-F1: 78.60 against ...
    """
    from avebench.analysis.comparison.asking import Question, ask
    from avebench.planning.request import Request
    from avebench.running.experiment_run import Execution

    _add_plugins(plugins)
    request = Request(
        "" if experiment is None else str(experiment),
        _path(out),
        dataset=dataset,
        data=_path(data),
        train_fraction=train_fraction,
        profile=profile,
        reader_options=options or {},
        settings=_nested(settings),
    )
    question = Question(rows, None if experiment is None else str(experiment), seeds, recorded, metric)
    return ask(question, request, Execution(device, jobs))


def load_model(
    experiment: AnyPath,
    row: str,
    *,
    dataset: str | None = None,
    data: AnyPath | None = None,
    train_fraction: float | None = None,
    repetition: int | None = None,
    cell: str = "",
    asked: Sequence[str] | None = None,
    device: str = "auto",
    out: AnyPath = "runs",
    plugins: Iterable[AnyPath] = (),
) -> LoadedModel:
    """Return a trained row of a table, which was run before, as a model with `predict(texts, images)`.

    The arguments choose among several cells of the row, as the options of `avebench predict` do; a query system is
    `asked` for these attributes, by default for all. AvebenchError if no cell, or more than one, is trained under
    `out`; it says what there is, and the command that trains one.

    >>> _ = run("table6", dataset="demo", rows=["dictionary"], out=OUT)
    >>> model = load_model("table6", "dictionary", out=OUT)
    >>> (prediction,) = model.predict(["Blue satin dress"])
    >>> {name: sorted(values) for name, values in prediction.pairs.items()}
    {'colour': ['Blue']}
    """
    from avebench.running.chosen_cell import Choice
    from avebench.running.loaded_model import load_model as load

    _add_plugins(plugins)
    place = _path(out)
    return load(
        Choice(str(experiment), row, place, dataset, train_fraction, repetition, cell, _path(data)), device, asked
    )


def _path(given: AnyPath | None) -> Any:
    from pathlib import Path

    return None if given is None else Path(given)


def _file(given: Any) -> Any:
    """Return the path that is given in the place of records; None if it is none."""
    from os import PathLike

    return _path(given) if isinstance(given, str | PathLike) else None


def _nested(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return settings with dotted names laid out."""
    from avebench.planning.settings import merge

    nested: dict[str, Any] = {}
    for name, value in (settings or {}).items():
        for part in reversed(name.split(".")):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def _add_plugins(plugins: Iterable[AnyPath]) -> None:
    from avebench.contracts.registry import add_plugin_file

    for path in plugins:
        add_plugin_file(_path(path))
