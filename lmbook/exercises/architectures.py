"""Checkers for the exercises of the architectures chapter."""

import math

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise
from lmbook.transformer import GPT, EncoderDecoder, EncoderDecoderConfig, GPTConfig


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@exercise
def gpt_parameters(answer) -> str:
    """``answer(vocab_size, max_len, d_model, n_layers)`` counts the parameters of a GPT-2, heads as wide as fits."""
    for vocab_size, max_len, d_model, n_layers in [(5, 3, 4, 1), (9, 8, 32, 2), (50257, 1024, 768, 12)]:
        sizes = {"vocab_size": vocab_size, "max_len": max_len, "d_model": d_model, "n_layers": n_layers}
        with torch.device("meta"):
            model = GPT(GPTConfig(**sizes, n_heads=2))
        got, want = answer(vocab_size, max_len, d_model, n_layers), sum(p.numel() for p in model.parameters())
        if got == want + vocab_size * d_model:
            raise WrongAnswer("you counted the embeddings twice: the output layer is the same matrix")
        if got == want - 2 * d_model:
            raise WrongAnswer("the last LayerNorm is missing, after the blocks")
        if got == sum(p.numel() for p in model.parameters() if p.ndim == 2):
            raise WrongAnswer("only the matrices are counted: add the biases, and two vectors for each LayerNorm")
        compare(got, want, f"V={vocab_size}, max_len={max_len}, D={d_model}, {n_layers} blocks")
    return "124,439,808 for GPT-2 small, like the published file"


@exercise
def split_qkv(answer) -> str:
    """``answer(weight)`` cuts GPT-2's (D, 3·D) matrix into the (D, D) weights of three nn.Linear."""
    for seed, d_model in enumerate([1, 3, 8]):
        linears = [_random(d_model, d_model, seed=10 * seed + i) for i in range(3)]
        got = answer(torch.cat([linear.T for linear in linears], dim=1))
        if not isinstance(got, list | tuple) or len(got) != 3:
            raise WrongAnswer("return three tensors: the weights of the queries, the keys and the values")
        if d_model > 1 and all(g.shape == w.shape and torch.equal(g, w.T) for g, w in zip(got, linears, strict=True)):
            raise WrongAnswer("not transposed: the file holds (in, out), nn.Linear wants (out, in)")
        for letter, mine, linear in zip("qkv", got, linears, strict=True):
            compare(mine, linear, f"w_{letter} of width {d_model}")
    return "three matrices, each as nn.Linear wants it"


@exercise
def swiglu_width(answer) -> str:
    """``answer(d_model, multiple)`` is the inner width that makes SwiGLU as large as a plain network of 4·d_model."""
    for d_model, multiple in [(4096, 256), (5120, 256), (576, 1), (768, 256), (12, 8)]:
        got = answer(d_model, multiple)
        want = multiple * math.ceil(8 * d_model // 3 / multiple)
        if got == 4 * d_model:
            raise WrongAnswer("three matrices of that width are half as large again as two: take two thirds of it")
        if got == 8 * d_model // 3 != want:
            raise WrongAnswer(f"{got} is not a multiple of {multiple}: round up")
        if got == want - multiple:
            raise WrongAnswer(f"rounded down to {got}: round up to a multiple of {multiple}")
        compare(got, want, f"d_model={d_model}, multiples of {multiple}")
    return "11,008 for a width of 4,096, as in Llama 2"


@exercise
def bits_per_byte(answer) -> str:
    """``answer(logits, ids, n_bytes)``: logits (T, V) after each of the T ids of a text of n_bytes bytes."""
    for seed, (n_tokens, n_vocab, n_bytes) in enumerate([(2, 3, 5), (9, 20, 40), (30, 50, 111)]):
        logits = 3 * _random(n_tokens, n_vocab, seed=seed)
        ids = torch.randint(n_vocab, (n_tokens,), generator=torch.Generator().manual_seed(seed))
        got = answer(logits, ids, n_bytes)
        logs = logits.log_softmax(-1)
        nats = float(-logs[torch.arange(n_tokens - 1), ids[1:]].sum())
        unshifted = float(-logs[torch.arange(n_tokens), ids].sum())
        value = float(got)
        if math.isclose(value, unshifted / math.log(2) / n_bytes, rel_tol=1e-6):
            raise WrongAnswer("not shifted: the logits after token t are a guess at token t + 1")
        if math.isclose(value, nats / n_bytes, rel_tol=1e-6):
            raise WrongAnswer("these are nats: divide by ln 2 for bits")
        if math.isclose(value, nats / math.log(2) / (n_tokens - 1), rel_tol=1e-6):
            raise WrongAnswer("these are bits for each token: divide by the number of bytes")
        compare(value, nats / math.log(2) / n_bytes, f"{n_tokens} tokens, {n_bytes} bytes")
    return "shifted by one, in bits, over bytes: comparable between any two models"


@exercise
def write(answer) -> str:
    """``answer(model, ids, start_id, end_id, limit)`` writes greedily with an encoder-decoder: a list of ids."""
    for seed in (35, 139, 155, 23):  # two that end, two that do not
        model, ids = _writer(seed), torch.randint(2, 9, (1, 5), generator=torch.Generator().manual_seed(seed))
        for limit in (2, 7):
            got, want = answer(model, ids, 0, 1, limit), _write(model, ids, limit)
            if isinstance(got, list) and got == [0, *want]:
                raise WrongAnswer("the start token opens the target, but it is no part of the answer")
            if got == [*want, 1]:
                raise WrongAnswer("the end token closes the target, but it is no part of the answer")
            if isinstance(got, list) and got[: len(want) + 1] == [*want, 1]:
                raise WrongAnswer("your loop goes on after the end token")
            compare(got, want, f"source {ids[0].tolist()}, at most {limit} tokens")
    return "the source is read once, the target is written token by token"


@torch.no_grad()
def _writer(seed: int) -> EncoderDecoder:
    """A tiny random model, loud enough that every token matters."""
    config = EncoderDecoderConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_head=4, d_ff=16)
    model = EncoderDecoder(config).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.7, generator=generator)
    return model


@torch.no_grad()
def _write(model: EncoderDecoder, ids: torch.Tensor, limit: int) -> list[int]:
    memory, target = model.encode(ids), [0]
    while len(target) <= limit:
        target.append(int(model.decode(torch.tensor([target]), memory)[0, -1].argmax()))
        if target[-1] == 1:
            return target[1:-1]
    return target[1:]
