"""Loading of Hugging Face folders that third parties made: plain tensors only, and every fault one clear error."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from avebench.files.errors import AvebenchError

_UNFIT = (OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError, AttributeError)
"""What transformers and torch raise for a config.json or weights that no model can be built from."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the load report (heads that are not used) and the progress bar of transformers."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers has no types here.
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # As above.


def load_pretrained(
    place: str, folder: Path, optional: str | None = None, /, head: Any = AutoModel, **options: Any
) -> Any:
    """Return the model of a folder in float32; `place` names it in messages, `options` go to its class.

    It is that of a class of transformers that chooses by config.json, by default without any `head`.

    Tensors whose name starts with `optional` may be missing; they are then new.

    AvebenchError if weights are missing, broken, pickled, or do not fit the config.json.
    """
    try:
        model, report = head.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            dtype=torch.float32,
            **options,
            output_loading_info=True,
            # Reported below by name; left to itself transformers points to a printed report.
            ignore_mismatched_sizes=True,
        )
    except pickle.UnpicklingError:
        raise AvebenchError(
            f"The weights of {place} are not plain tensors but pickled Python objects, which are never loaded. "
            "Convert them to model.safetensors where you trust them."
        ) from None
    except (*_UNFIT, SafetensorError) as error:
        raise AvebenchError(
            f"The weights of {place} cannot be loaded: {first_line(error)} Name a folder saved by save_pretrained, "
            "with config.json and model.safetensors of the same model."
        ) from None
    misfits = {str(key) for key in report["missing_keys"]} | {str(key[0]) for key in report["mismatched_keys"]}
    if optional is not None:
        misfits = {name for name in misfits if not name.startswith(optional)}
    if misfits:
        raise AvebenchError(
            f"The weights of {place} do not fit its config.json: {len(misfits)} tensors are missing or of another "
            f"shape, for instance '{min(misfits)}'. Copy both files from the same model."
        )
    check_finite(place, model.state_dict())
    return model


def load_tokenizer(place: str, folder: Path, files: Sequence[str], symbols: Sequence[str], kind: str) -> Any:
    """Return the tokenizer of a folder, which is made of one of the `files` and has these special `symbols`.

    AvebenchError if it is not there, broken, or not that of `kind`.
    """
    # Without its files transformers silently makes up a tokenizer of a few symbols.
    if not any((folder / file).is_file() for file in files):
        raise AvebenchError(
            f"There is no tokenizer in {place}: none of {', '.join(files)} is there. Copy the tokenizer "
            "files of the model into that folder."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # The Rust tokenizers raise bare Exception.
        raise AvebenchError(
            f"The tokenizer of {place} cannot be read: {first_line(error)} Copy its files again from where the "
            "model is."
        ) from None
    for symbol in symbols:
        if getattr(tokenizer, f"{symbol}_token_id") is None:
            raise AvebenchError(f"The tokenizer of {place} has no {symbol}_token; that of {kind} has one.")
    return tokenizer


def check_finite(place: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise AvebenchError if a weight of `place` is not a finite number: what it computes would be none either."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise AvebenchError(
                f"The weights of {place} are damaged: {count} numbers of '{name}' are not finite. Copy them again."
            )


def first_line(error: Exception) -> str:
    """Return the first sentence of an error, on one line and with a full stop."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0].strip()
    return text if text.endswith(".") else text + "."
