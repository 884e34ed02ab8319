"""Folders of tiny causal language models with random weights."""

from pathlib import Path


def write_tiny_llm(folder: Path, kind: str = "llama") -> Path:
    """Write a causal model that reads and writes bytes; `gemma` attends within a window of 16 in every other layer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_alone = Tokenizer(models.BPE({sign: number for number, sign in enumerate(["<end>", *signs])}, []))
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_alone.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=bytes_alone, eos_token="<end>").save_pretrained(folder)
    size = {
        "vocab_size": 257,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "eos_token_id": 0,
        "bos_token_id": None,
        "pad_token_id": None,
        "initializer_range": 0.5,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "gemma":
            layers = ["sliding_attention", "full_attention"]
            gemma = Gemma3TextConfig(
                **size, head_dim=8, sliding_window=16, layer_types=layers, tie_word_embeddings=False
            )
            Gemma3ForCausalLM(gemma).save_pretrained(folder)
        else:
            LlamaForCausalLM(LlamaConfig(**size)).save_pretrained(folder)
    return folder
