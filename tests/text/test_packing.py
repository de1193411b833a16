"""Streams, blocks, padding and buckets: nothing lost, nothing held that need not be."""

import random
import tracemalloc
from itertools import count, islice, permutations

import pytest
import torch

from lmbook.text import length_buckets, pack, pad, read_documents

EOS = 99


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 100])
def test_blocks_in_a_row_are_the_documents(length):
    documents = [[1, 2, 3], [], [4], torch.tensor([5, 6, 7, 8, 9, 10])]
    blocks = list(pack(documents, length, EOS))
    assert [token for block in blocks for token in block.tolist()] == [
        *[1, 2, 3, EOS, EOS, 4, EOS],
        *[5, 6, 7, 8, 9, 10, EOS],
    ]
    assert all(block.dtype == torch.long and len(block) == length for block in blocks[:-1])
    assert 1 <= len(blocks[-1]) <= length
    assert list(pack([], length, EOS)) == []


def test_pack_reads_no_further_than_the_block_needs():
    read = []

    def document():
        for token in count():
            read.append(token)
            yield token

    first, second = islice(pack([document()], 4, EOS), 2)
    assert first.tolist() == [0, 1, 2, 3] and second.tolist() == [4, 5, 6, 7] and len(read) == 8


@pytest.mark.parametrize("separator", ["\n", "\n\n", "<end>", "aa"])
@pytest.mark.parametrize("chunk_chars", [1, 2, 3, 7, 1000])
def test_documents_are_those_of_split_wherever_a_chunk_ends(tmp_path, separator, chunk_chars):
    texts = ["é one", "\n\n\ntwo<end>three<<end>\n\n", "aaa\nbaaaa<en", "", "四\n"]
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    expected = [part for text in texts for part in text.split(separator) if part]
    assert list(read_documents(paths, separator=separator, chunk_chars=chunk_chars)) == expected


@pytest.mark.parametrize("chunk_chars", [1, 2, 7, 1000])
def test_line_ends_are_not_translated(tmp_path, chunk_chars):
    path = tmp_path / "windows.txt"
    path.write_bytes("one\r\ntwo\rstill two\r\n\u2028three\x85\r\n".encode())
    for separator in ("\r\n", "\n", "\r", "\x85"):
        expected = [part for part in path.read_bytes().decode().split(separator) if part]
        assert list(read_documents([path], separator=separator, chunk_chars=chunk_chars)) == expected
    assert list(read_documents([path], separator="\r\n")) == ["one", "two\rstill two", "\u2028three\x85"]


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for n_documents in (2_000, 20_000):
        path = tmp_path / f"{n_documents}.txt"
        path.write_text("some words of a document\n" * n_documents)
        tracemalloc.start()
        stream = pack(map(str.encode, read_documents([path], chunk_chars=1000)), 64, EOS)
        n_tokens = sum(len(block) for block in stream)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert n_tokens == n_documents * 25 == path.stat().st_size
    assert max(peaks) < 100_000, peaks  # of a file of 50,000 and one of 500,000 bytes


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_and_mask(side):
    rows = [[5, 0, 7], torch.tensor([3], dtype=torch.int32), [1, 2]]
    ids, mask = pad(rows, 0, side=side)
    right = [[5, 0, 7], [3, 0, 0], [1, 2, 0]]
    assert ids.tolist() == (right if side == "right" else [[5, 0, 7], [0, 0, 3], [0, 1, 2]])
    assert ids.dtype == torch.long and mask.dtype == torch.bool
    assert [ids[i][mask[i]].tolist() for i in range(3)] == [[5, 0, 7], [3], [1, 2]]  # a real 0 is no padding
    assert mask.sum(1).tolist() == [3, 1, 2]


def padding(lengths, batches):
    return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in batches)


def test_buckets_hold_each_index_once_and_pad_little():
    rng = random.Random(0)
    lengths = [rng.randint(1, 300) for _ in range(1003)]
    batches = length_buckets(lengths, 16, generator=torch.Generator().manual_seed(0))
    assert sorted(i for batch in batches for i in batch) == list(range(1003))
    assert sorted(map(len, batches)) == [11] + [16] * 62
    as_they_come = [range(start, min(start + 16, 1003)) for start in range(0, 1003, 16)]
    assert padding(lengths, batches) < 0.05 * padding(lengths, as_they_come)
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest != sorted(longest)  # the batches do not come in the order of length
    assert batches == length_buckets(lengths, 16, generator=torch.Generator().manual_seed(0))
    assert batches != length_buckets(lengths, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("lengths", [[3, 1, 4, 1, 5, 9], [2, 7, 1, 8, 2, 8], [5, 5, 5, 1, 1, 9]])
def test_no_division_into_full_batches_pads_less(lengths):
    least = min(padding(lengths, [order[:3], order[3:]]) for order in permutations(range(6)))
    assert padding(lengths, length_buckets(lengths, 3)) == least


def test_equal_lengths_change_company():
    found = {
        frozenset(map(frozenset, length_buckets([4] * 6, 2, generator=torch.Generator().manual_seed(seed))))
        for seed in range(40)
    }
    assert len(found) > 10  # of the 15 divisions into pairs
