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


WRITTEN = ["extract", "attributes", "color", "kind", "length", "red", "blue", "long", "sundress", "dress", "sun"]
WRITTEN += ["none", "12", "2", "a", "es", "dresses"]
"""Words that the tiny encoder-decoders have in one piece, at the start of a word and inside one."""


def write_tiny_t5(folder: Path) -> Path:
    """Write a T5 whose tokenizer, like T5's own, is a Unigram model that marks where words start."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    signs = sorted({*"".join(WRITTEN), *":;-.\\▁"})
    pieces = [f"▁{word}" for word in WRITTEN] + WRITTEN
    scored = {"<pad>": 0.0, "</s>": 0.0, "<unk>": -9.0} | dict.fromkeys(signs, -5.0) | dict.fromkeys(pieces, -2.0)
    tokenizer = Tokenizer(models.Unigram(list(scored.items()), unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    wrapped.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=len(wrapped),
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=1,
            num_heads=2,
            dropout_rate=0.0,
            decoder_start_token_id=0,
        )
        T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def write_tiny_bart(folder: Path) -> Path:
    """Write a BART with its tokenizer's byte-level pieces, and <s> and </s> around every text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = dict.fromkeys(special + sorted(pre_tokenizers.ByteLevel.alphabet()))
    merges = []
    for word in WRITTEN:
        for spelled in (word, f"Ġ{word}"):
            for end in range(2, len(spelled) + 1):
                if spelled[:end] not in pieces:
                    pieces[spelled[:end]] = None
                    merges.append((spelled[: end - 1], spelled[end - 1]))
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    wrapped.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BartConfig(
            vocab_size=len(wrapped),
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=48,
        )
        BartForConditionalGeneration(config).save_pretrained(folder)
    return folder
