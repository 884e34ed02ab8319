"""What language models wrote that is no prediction: counted, and said where a number stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from avebench.contracts.examples import Prediction, Written
from avebench.store.results import Result, WrittenAnswers


def written_answers(predictions: Iterable[Prediction]) -> WrittenAnswers | None:
    """Return for a result what became of the answers behind predictions; None if nothing was written."""
    found = [prediction.written for prediction in predictions if prediction.written is not None]
    return WrittenAnswers(**asdict(sum(found, Written()))) if found else None


def written_notes(rows: Sequence[tuple[str, Sequence[Result]]]) -> list[str]:
    """Return what the rows that write, given by label with their results, wrote in vain, over all repetitions."""
    told = []
    for label, results in rows:
        found = [Written(**result.written.model_dump()) for result in results if result.written is not None]
        if found:
            told.append(f"{label}: {_said(sum(found, Written()))}")
    return told


def _said(written: Written) -> str:
    """Return it in words."""
    share = f" ({100 * written.dropped / written.values:.1f} %)" if written.values else ""
    return (
        f"{written.dropped:,} of {written.values:,} written values{share} stand nowhere in the text; "
        f"of {written.answers:,} answers {written.unparsable:,} could not be read and {written.cut:,} were cut; "
        f"{written.unknown:,} values are of attributes that were not to be answered."
    )
