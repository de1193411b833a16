"""Checkers for the exercises of the architectures chapter."""

import math

import torch

from lmbook.exercises.core import WrongAnswer, compare, exercise, near
from lmbook.transformer import EncoderDecoder, EncoderDecoderConfig


def _random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@exercise
def split_qkv(answer) -> str:
    """``answer(weight)`` cuts GPT-2's (D, 3·D) matrix into the (D, D) weights of three nn.Linear."""
    for seed, d_model in enumerate([3, 8, 1]):
        linears = [_random(d_model, d_model, seed=10 * seed + i) for i in range(3)]
        got = answer(torch.cat([linear.T for linear in linears], dim=1))
        got = list(got) if hasattr(got, "__iter__") else got
        if not isinstance(got, list) or len(got) != 3 or near(torch.tensor(0), got[0]):
            raise WrongAnswer("return three tensors: the weights of the queries, the keys and the values")
        if d_model > 1 and all(near(g, w.T) for g, w in zip(got, linears, strict=True)):
            raise WrongAnswer("not transposed: the file holds (in, out), nn.Linear wants (out, in)")
        for letter, mine, linear in zip("qkv", got, linears, strict=True):
            compare(mine, linear, f"w_{letter} of width {d_model}")
    return "three matrices, each as nn.Linear wants it"


@exercise
def gated_width(answer) -> str:
    """``answer(d_model, stretch, multiple)`` is the inner width of Llama's gated network, as its code computes it."""
    cases = [(4096, 1.0, 256), (4096, 1.3, 1024), (577, 1.0, 1), (8192, 1.3, 4096), (577, 1.5, 1), (12, 1.0, 8)]
    cases.append((12, 1.3, 1))
    for d_model, stretch, multiple in cases:
        got = answer(d_model, stretch, multiple)
        third = 8 * d_model // 3
        width = int(stretch * third)
        want = multiple * -(-width // multiple)
        case = f"d_model={d_model}, stretch={stretch}, multiples of {multiple}"
        if near(got, multiple * math.ceil(4 * d_model * stretch / multiple)):
            raise WrongAnswer("three matrices of that width are half as large again as two: take two thirds of it")
        if width != want and near(got, width):
            raise WrongAnswer(f"{case}: {width} is not a multiple of {multiple}: round up")
        if width != want and near(got, want - multiple):
            raise WrongAnswer(f"{case}: rounded down to {want - multiple:,}: round up to a multiple of {multiple}")
        exact = stretch * 8 * d_model / 3
        if near(got, multiple * math.ceil(exact / multiple)) and not near(got, want):
            raise WrongAnswer(f"{case}: expected {want:,}, got {got:,}: round down twice before you round up")
        compare(got, want, case)
    return "11,008 for Llama 2 and 14,336 for Llama 3, both with a width of 4,096"


@exercise
def bits_per_byte(answer) -> str:
    """``answer(logits, ids, n_bytes)``: logits (T, V) after each of the T ids of a text of n_bytes bytes."""
    cases = [(2, 3, 5, 3), (9, 20, 40, 3), (30, 50, 111, 3), (6, 7, 20, 900)]  # the last one overflows a plain exp
    for seed, (n_tokens, n_vocab, n_bytes, loud) in enumerate(cases):
        logits = loud * _random(n_tokens, n_vocab, seed=seed)
        ids = torch.randint(n_vocab, (n_tokens,), generator=torch.Generator().manual_seed(seed))
        got = answer(logits, ids, n_bytes)
        logs = logits.log_softmax(-1)
        nats = -logs[torch.arange(n_tokens - 1), ids[1:]].sum()
        unshifted = -logs[torch.arange(n_tokens), ids].sum()
        want = nats / math.log(2) / n_bytes
        if near(got, unshifted / math.log(2) / n_bytes):
            raise WrongAnswer("not shifted: the logits after token t are a guess at token t + 1")
        if near(got, nats / n_bytes):
            raise WrongAnswer("these are nats: divide by ln 2 for bits")
        if near(got, nats / math.log(2) / (n_tokens - 1)):
            raise WrongAnswer("these are bits for each token: divide by the number of bytes")
        compare(got, want, f"{n_tokens} tokens, {n_bytes} bytes, logits of about {loud}")
    return "comparable between models, whatever their tokens"


@exercise
def no_positions(answer) -> str:
    """The share of next tokens that an encoder without positions finds in random sequences of seven words."""
    share = float(answer)
    if not 0 <= share <= 1:
        raise WrongAnswer(f"{share:g} is no share: give a number between 0 and 1")
    if share > 0.9:
        raise WrongAnswer(f"{share:.2f} is a copy: are the positions zero before training, and do they stay so?")
    if share < 0.25:
        raise WrongAnswer(f"{share:.2f}: it can do better; has it trained for 400 steps, on random sequences?")
    compare(share, 0.46, "the share of the first four places", atol=0.035)
    return "the commonest of the words in sight, and no idea where it stands"


@exercise
def mixture(answer) -> str:
    """``answer(x, router, experts, k)`` is a layer of experts, of which each token is read by k."""
    for seed, (n_tokens, d_model, n_experts, k) in enumerate([(1, 3, 3, 1), (7, 4, 5, 2), (20, 6, 8, 3), (3, 2, 4, 4)]):
        x, router = _random(n_tokens, d_model, seed=seed), 2 * _random(n_experts, d_model, seed=seed + 50)
        matrices, read = _random(n_experts, d_model, d_model, seed=seed + 90), []

        def expert(rows, matrix):
            read.append(len(rows.view(-1, d_model)))  # noqa: B023
            return (rows @ matrix.to(rows.dtype)).tanh() + 1

        experts = [lambda rows, matrix=matrix: expert(rows, matrix) for matrix in matrices]  # noqa: B023
        got, n_read = answer(x, router, experts, k), sum(read)
        scores = x @ router.T
        outputs = torch.stack([(x @ matrix).tanh() + 1 for matrix in matrices], dim=1)
        least = scores.topk(k).values[:, -1:]
        chosen = scores >= least
        want = (scores.masked_fill(~chosen, -math.inf).softmax(-1)[..., None] * outputs).sum(1)
        case = f"{n_tokens} tokens, {n_experts} experts, k = {k}"
        if k < n_experts and near(got, (scores.softmax(-1)[..., None] * outputs).sum(1)):
            raise WrongAnswer(f"{case}: every expert has a say; only the {k} with the highest scores should")
        if k < n_experts and near(got, ((scores.softmax(-1) * chosen)[..., None] * outputs).sum(1)):
            raise WrongAnswer(f"{case}: the weights do not sum to 1; the softmax is over the {k} chosen scores only")
        if k > 1 and near(got, (outputs * chosen[..., None]).sum(1) / k):
            raise WrongAnswer(f"{case}: a plain mean; weight the experts by the softmax of their scores")
        compare(got, want, case)
        if n_read > k * n_tokens:
            raise WrongAnswer(
                f"{case}: right, but the experts read {n_read} tokens; let each read only those that chose it, "
                f"{k * n_tokens} in all"
            )
    return "the parameters of all experts, the work of a few"


@exercise
def write(answer) -> str:
    """``answer(model, ids, start_id, end_id, limit)`` writes greedily with an encoder-decoder: a list of ids."""
    for seed, start, end in [(35, 0, 1), (139, 0, 1), (155, 0, 1), (23, 0, 1), (35, 3, 5), (139, 4, 0)]:
        model, ids = _writer(seed), torch.randint(2, 9, (1, 5), generator=torch.Generator().manual_seed(seed))
        encode, calls = model.encode, []
        model.encode = lambda *args, **kwargs: calls.append(1) or encode(*args, **kwargs)  # noqa: B023
        for limit in (2, 7, 0):
            want = _write(model, ids, start, end, limit)
            calls.clear()
            got = answer(model, ids, start, end, limit)
            got = got.tolist() if isinstance(got, torch.Tensor) else list(got)
            case = f"source {ids[0].tolist()}, start {start}, end {end}, at most {limit} tokens"
            if got == [start, *want]:
                raise WrongAnswer("the start token opens the target, but it is no part of the answer")
            if got == [*want, end]:
                raise WrongAnswer("the end token closes the target, but it is no part of the answer")
            if got[: len(want) + 1] == [*want, end]:
                raise WrongAnswer("your loop goes on after the end token")
            compare(got, want, case)
            if len(calls) > 1:
                raise WrongAnswer(f"{case}: right, but the source was read {len(calls)} times; once is enough")
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
def _write(model: EncoderDecoder, ids: torch.Tensor, start: int, end: int, limit: int) -> list[int]:
    memory, target = model.encode(ids), [start]
    while len(target) <= limit:
        target.append(int(model.decode(torch.tensor([target]), memory)[0, -1].argmax()))
        if target[-1] == end:
            return target[1:-1]
    return target[1:]
