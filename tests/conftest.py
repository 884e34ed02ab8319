"""Tiny encoders with random weights, for tests that need the shape of BERT or RoBERTa but not its knowledge."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_encoders import write_tiny_bart, write_tiny_bert, write_tiny_resnet, write_tiny_t5


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests out of the user's cache; what they remember there saves later ones an import of torch."""
    os.environ["AVEBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a 2-layer BERT of width 16 with 24 positions and the word pieces of `PIECES`."""
    return write_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture
def refusal_of_config(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str, dict[str, object]], str]:
    """Return a function that says how a text encoder is refused: the folder of a fixture, its config.json changed."""
    from avebench.files.errors import AvebenchError
    from avebench.nn.text_encoder import TextEncoder

    def refused(folder: str, changes: dict[str, object]) -> str:
        shutil.copytree(request.getfixturevalue(folder), tmp_path, dirs_exist_ok=True)
        config = tmp_path / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))
        with pytest.raises(AvebenchError) as caught:
            TextEncoder(str(tmp_path), "word")
        return str(caught.value)

    return refused


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a 2-layer RoBERTa of width 16 with 22 usable positions and a byte-level vocabulary."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel

    folder = tmp_path_factory.mktemp("tiny-roberta")
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        ["a red dress and a blue dress, long dresses"] * 20,
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    )
    tokenizer.save_model(str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = RobertaConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=24,
            type_vocab_size=1,
        )
        RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a 1-layer T5 of width 32 with the words of `WRITTEN` and all characters of them."""
    return write_tiny_t5(tmp_path_factory.mktemp("tiny-t5"))


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a 1-layer BART of width 32 with 48 positions and a byte-level vocabulary."""
    return write_tiny_bart(tmp_path_factory.mktemp("tiny-bart"))


@pytest.fixture(scope="session")
def tiny_vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text file with vectors of 12 numbers for some words of titles, in GloVe's format."""
    path = tmp_path_factory.mktemp("vectors") / "tiny.txt"
    numbers = np.random.default_rng(0).normal(size=(6, 12)).round(4)
    words = ("red", "blue", "dress", "long", "sundress", "green")
    path.write_text("\n".join(" ".join((word, *map(str, row))) for word, row in zip(words, numbers, strict=True)))
    return path


@pytest.fixture(scope="session")
def tiny_resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a one-stage ResNet of width 8; a picture of 8 x 8 pixels becomes 2 x 2 patches."""
    return write_tiny_resnet(tmp_path_factory.mktemp("tiny-resnet"))
