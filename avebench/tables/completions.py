"""What language models were asked, and what that cost: said under the tables that show what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from avebench.nn.weights import shown_name
from avebench.store.results import Completions, Result


def asked_notes(rows: Sequence[tuple[str, Sequence[Result]]]) -> list[str]:
    """Return what the rows that ask a language model, given by label with their results, asked, per repetition."""
    notes: list[str] = []
    for label, results in rows:
        found = [(result, result.completions) for result in results if result.completions is not None]
        if not found:
            continue
        models = " / ".join(sorted({_model(result) for result, _ in found}))
        told = "; ".join(dict.fromkeys(_said(completions) for _, completions in found))
        notes.append(f"{label} asks {models}: {told}.")
        notes += [
            f"{label}: {note}" for note in dict.fromkeys(note for _, completions in found for note in completions.notes)
        ]
    return notes


def _said(completions: Completions) -> str:
    """Return it in words."""
    said = [
        f"{completions.requests:,} questions ({completions.from_cache:,} of them answered before)",
        f"{completions.tokens_in:,} tokens in",
        f"{completions.tokens_out:,} out",
        f"{completions.seconds:,.0f} s until all answers were there, one after the other",
    ]
    if completions.estimated:
        said.append(f"tokens of {completions.estimated:,} estimated by their characters")
    return ", ".join(said)


def _model(result: Result) -> str:
    """Return the name of the model that a result is of: of local weights, that of their folder."""
    if "llm" in result.weights:
        return shown_name(result.weights["llm"].name)
    return f"{result.config['llm']} at an endpoint"
