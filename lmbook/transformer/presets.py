"""The published sizes of GPT-2, Llama and SmolLM2, as configurations of ``GPT``."""

from functools import partial

from lmbook.transformer.gpt import GPTConfig


def gpt2_small() -> GPTConfig:
    """124 million parameters. Source: Radford et al. 2019, table 2, and the published code and weights."""
    return GPTConfig(vocab_size=50257, max_len=1024, d_model=768, n_layers=12, n_heads=12)


def gpt2_medium() -> GPTConfig:
    """355 million parameters. Source: Radford et al. 2019, table 2."""
    return GPTConfig(vocab_size=50257, max_len=1024, d_model=1024, n_layers=24, n_heads=16)


def gpt2_large() -> GPTConfig:
    """774 million parameters. Source: Radford et al. 2019, table 2."""
    return GPTConfig(vocab_size=50257, max_len=1024, d_model=1280, n_layers=36, n_heads=20)


def gpt2_xl() -> GPTConfig:
    """1,558 million parameters. Source: Radford et al. 2019, table 2."""
    return GPTConfig(vocab_size=50257, max_len=1024, d_model=1600, n_layers=48, n_heads=25)


_llama = partial(GPTConfig, positions="rotary", norm="rms", feed_forward="swiglu", bias=False)


def llama2_7b() -> GPTConfig:
    """6.7 billion parameters. Source: Touvron et al. 2023 (Llama 2), table 1, and the published configuration."""
    return _llama(
        vocab_size=32000, max_len=4096, d_model=4096, n_layers=32, n_heads=32, d_ff=11008, tie_embeddings=False
    )


def llama3_8b() -> GPTConfig:
    """8.0 billion parameters. Source: Grattafiori et al. 2024 (Llama 3), table 3, and the published configuration."""
    return _llama(
        vocab_size=128256, max_len=8192, d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, d_ff=14336,
        tie_embeddings=False, rope_base=500000.0,
    )  # fmt: skip


def smollm2_135m() -> GPTConfig:
    """134.5 million parameters. Source: Ben Allal et al. 2025 (SmolLM2), and the published configuration."""
    return _llama(
        vocab_size=49152, max_len=8192, d_model=576, n_layers=30, n_heads=9, n_kv_heads=3, d_ff=1536,
        rope_base=100000.0,
    )  # fmt: skip
