"""Folders of tiny encoders with random weights."""

from pathlib import Path

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "blue", "red", "dress", "sun", "##dress", "##es", "long", "a"]
PIECES += ["12", "黑", "色", "裙", "1", "2", "-", ".", "color", "kind", "length"]


def write_tiny_bert(folder: Path) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(PIECES),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=24,
        )
        BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    return folder


def write_tiny_resnet(folder: Path) -> Path:
    import torch
    from transformers import ResNetConfig, ResNetModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
        ResNetModel(config).save_pretrained(folder)
    return folder
