"""Byte-pair encoding: training and encoding 5 MB, beside the `tokenizers` library and counting anew for each merge.

    python -m benchmarks.bpe

Everything runs in one process on one thread, one after the other; seconds are of processor time.
Merges and ids must be identical; the table is printed and written to benchmarks/results/bpe.json.
"""

import datetime
import json
import os
import platform
import statistics
import time
from collections import Counter
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"  # one thread for the tokenizers library too
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import regex  # noqa: E402
import tokenizers  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

import lmbook  # noqa: E402
from lmbook.text import BPE, GPT2_PATTERN  # noqa: E402
from lmbook.text.corpora import load  # noqa: E402
from lmbook.text.pieces import BYTE_TO_CHAR, to_printable  # noqa: E402

VOCAB_SIZE = 4096
PLAIN_MERGES = 50  # the plain one is timed on so many merges only, and extrapolated
RUNS = 3


def counting_anew(texts, n_merges):
    """The plain algorithm: count all pairs, join the most frequent, repeat; of equals, the smaller pair of ids."""
    ids = {byte: id for id, byte in enumerate(BYTE_TO_CHAR)}
    tokens = [bytes([byte]) for byte in BYTE_TO_CHAR]
    pieces = Counter(piece for text in texts for piece in regex.findall(GPT2_PATTERN, text))
    words = [([ids[byte] for byte in piece.encode()], count) for piece, count in pieces.items()]
    merges = []
    for _ in range(n_merges):
        pairs = Counter()
        for word, count in words:
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += count
        best = max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]))
        merges.append((tokens[best[0]], tokens[best[1]]))
        tokens.append(tokens[best[0]] + tokens[best[1]])
        for word, _ in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [len(tokens) - 1]
                i += 1
    return merges


def theirs():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def train_theirs(texts):
    tokenizer, alphabet = theirs(), pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def timed(call, runs=RUNS):
    """The result, and the median of the seconds of processor time that it took."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        result = call()
        seconds.append(time.process_time() - start)
    return result, statistics.median(seconds)


def processor():
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def main():
    texts = [f"{document.title}\n\n{document.text}\n\n" for document in load("bbc", unique=False)]
    whole = "".join(texts)
    size = len(whole.encode()) / 1e6

    ours, train_ours_s = timed(lambda: BPE.train(texts, VOCAB_SIZE, ties="oldest"))
    peer, train_theirs_s = timed(lambda: train_theirs(texts))
    original, _ = timed(lambda: BPE.train(texts, VOCAB_SIZE), runs=1)
    plain, plain_s = timed(lambda: counting_anew(texts, PLAIN_MERGES), runs=1)
    _, pieces_s = timed(lambda: counting_anew(texts, 0), runs=1)
    all_plain_s = pieces_s + (plain_s - pieces_s) * (VOCAB_SIZE - 256) / PLAIN_MERGES

    merges = [tuple(merge) for merge in json.loads(peer.to_str())["model"]["merges"]]
    assert [(to_printable(left), to_printable(right)) for left, right in ours.merges] == merges, "merges differ"
    assert ours.merges[:PLAIN_MERGES] == plain, "merges differ from those of the plain algorithm"
    differ = len(set(ours.merges) ^ set(original.merges)) // 2

    ids, encode_ours_s = timed(lambda: BPE(ours.vocab, ours.merges).encode(whole))  # a new one: the cache is empty
    stream, stream_s = timed(lambda: list(BPE(ours.vocab, ours.merges).encode_iterable(texts)))
    cut = [whole[i : i + 100_000] for i in range(0, len(whole), 100_000)]
    their_ids, encode_theirs_s = timed(lambda: peer.encode(whole).ids)
    assert ids == their_ids == stream, "ids differ"
    assert list(ours.encode_iterable(cut)) == ids and ours.decode(ids) == whole

    seconds = {
        "train": {"lmbook": train_ours_s, "tokenizers": train_theirs_s, "counting anew (extrapolated)": all_plain_s},
        "encode": {"lmbook": encode_ours_s, "lmbook, streaming": stream_s, "tokenizers": encode_theirs_s},
    }
    result = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "threads": 1,
        "versions": {
            "lmbook": lmbook.__version__,
            "tokenizers": tokenizers.__version__,
            "regex": regex.__version__,
            "python": platform.python_version(),
        },
        "text": {"megabytes": round(size, 2), "documents": len(texts), "tokens": len(ids)},
        "vocab_size": VOCAB_SIZE,
        "runs": RUNS,
        "plain_merges_timed": PLAIN_MERGES,
        "identical_merges": len(merges),
        "identical_ids": len(ids),
        "merges_that_differ_with_the_other_rule_for_ties": differ,
        "processor_seconds": {
            task: {name: round(s, 2) for name, s in times.items()} for task, times in seconds.items()
        },
    }
    print(f"{result['processor']}, 1 thread; {size:.2f} MB, {len(texts)} documents, {VOCAB_SIZE} tokens")
    for task, times in seconds.items():
        for name, s in times.items():
            print(f"{task:8}{name:32}{s:10.2f} s{size / s:10.2f} MB/s")
    print(f"identical: {len(merges)} merges, {len(ids)} ids; {differ} merges are others if the greater pair wins ties")
    path = Path(__file__).parent / "results" / "bpe.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
