"""Real weights in our own models, from Hugging Face's files and from GGUF; and our own models in such files."""

from lmbook.interop.export import save_pretrained
from lmbook.interop.files import download
from lmbook.interop.huggingface import load_bert, load_gpt2, load_pretrained
from lmbook.interop.llama import load_llama, load_qwen2
from lmbook.interop.minilm import embed_sentences, load_minilm
from lmbook.interop.smollm2 import chat_prompt, load_smollm2
from lmbook.interop.t5 import load_t5
from lmbook.interop.tokenizer_json import load_tokenizer

__all__ = [
    "chat_prompt",
    "download",
    "embed_sentences",
    "load_bert",
    "load_gpt2",
    "load_llama",
    "load_minilm",
    "load_pretrained",
    "load_qwen2",
    "load_smollm2",
    "load_t5",
    "load_tokenizer",
    "save_pretrained",
]
