"""Time and memory of attention: ours as written, ours through the fused kernels, and PyTorch's two.

    python benchmarks/attention.py

Runs on a CUDA GPU where there is one, else on one thread of the CPU. All compute the same causal attention, in
float32; ``nn.MultiheadAttention`` also projects, as ``MultiHeadAttention`` beside it does. Milliseconds (of
processor time on a CPU) are the least of several runs, forward only; memory is the peak above what the inputs take.
The table is printed and written to benchmarks/results/attention.json.
"""

import datetime
import json
import platform
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

import lmbook
from lmbook.transformer import MultiHeadAttention, attention, causal_mask, fast_attention

N_HEADS, D_HEAD = 8, 64
RUNS = 3


def seconds(call, device):
    """The shortest of RUNS runs, after one that is not counted."""
    clock, times = time.perf_counter if device.type == "cuda" else time.process_time, []
    for _ in range(RUNS + 1):
        start = clock()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times[1:])


def peak_bytes(call, device):
    """Most memory held at once, above what was held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    held = peak = 0
    for event in sorted(record.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def contenders(n_tokens, device):
    """What is compared, by name: calls without arguments."""
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = (torch.randn(1, N_HEADS, n_tokens, D_HEAD, device=device, generator=generator) for _ in range(3))
    d_model = N_HEADS * D_HEAD
    x = torch.randn(1, n_tokens, d_model, device=device, generator=generator)
    ours = MultiHeadAttention(d_model, N_HEADS).to(device).eval()
    theirs = nn.MultiheadAttention(d_model, N_HEADS, batch_first=True).to(device).eval()
    later = ~causal_mask(n_tokens, device=device)
    return {
        "attention": lambda: attention(q, k, v, causal=True),
        "fast_attention": lambda: fast_attention(q, k, v, causal=True),
        "F.scaled_dot_product_attention": lambda: scaled_dot_product_attention(q, k, v, is_causal=True),
        "MultiHeadAttention": lambda: ours(x, causal=True),
        "nn.MultiheadAttention": lambda: theirs(x, x, x, attn_mask=later, is_causal=True, need_weights=False),
    }


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lengths = (1024, 4096, 16384) if device.type == "cuda" else (256, 1024, 4096)
    rows = []
    print(f"{'':32}{'tokens':>8}{'ms':>10}{'peak MB':>10}")
    for n_tokens in lengths:
        for name, call in contenders(n_tokens, device).items():
            row = {"name": name, "tokens": n_tokens, "ms": round(1000 * seconds(call, device), 3)}
            row["peak_mb"] = round(peak_bytes(call, device) / 1e6, 2)
            rows.append(row)
            print(f"{name:32}{n_tokens:8}{row['ms']:10.2f}{row['peak_mb']:10.1f}", flush=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else _processor(),
        "torch": torch.__version__, "lmbook": lmbook.__version__, "python": platform.python_version(),
        "heads": N_HEADS, "d_head": D_HEAD, "dtype": "float32", "threads": torch.get_num_threads(), "rows": rows,
    }  # fmt: skip
    path = Path(__file__).parent / "results" / "attention.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
