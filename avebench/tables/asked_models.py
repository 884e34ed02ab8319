"""What language models were asked, and what that cost: said under the tables that show what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from avebench.nn.weights import shown_name
from avebench.store.results import AskedModel, Result


def asked_notes(rows: Sequence[tuple[str, Sequence[Result]]]) -> list[str]:
    """Return what the rows that ask a language model, given by label with their results, asked, per repetition."""
    notes: list[str] = []
    for label, results in rows:
        found = [(result, result.asked) for result in results if result.asked is not None]
        if not found:
            continue
        models = " / ".join(sorted({_model(result) for result, _ in found}))
        told = "; ".join(dict.fromkeys(_said(asked) for _, asked in found))
        notes.append(f"{label} asks {models}: {told}.")
        notes += [f"{label}: {note}" for note in dict.fromkeys(note for _, asked in found for note in asked.notes)]
    return notes


def _said(asked: AskedModel) -> str:
    """Return it in words."""
    said = [
        f"{asked.requests:,} questions ({asked.from_cache:,} of them answered before)",
        f"{asked.tokens_in:,} tokens in",
        f"{asked.tokens_out:,} out",
        f"{asked.seconds:,.0f} s until all answers were there, one after the other",
    ]
    if asked.estimated:
        said.append(f"tokens of {asked.estimated:,} estimated by their characters")
    return ", ".join(said)


def _model(result: Result) -> str:
    """Return the name of the model that a result is of: of local weights, that of their folder."""
    if "llm" in result.weights:
        return shown_name(result.weights["llm"].name)
    return f"{result.config['llm']} at an endpoint"
