"""From documents to batches: read as a stream, packed into blocks, or padded beside others of their length."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import torch
from jaxtyping import Bool, Int
from torch import Generator, Tensor

from lmbook._checks import check_choice, check_integers, check_positive


def read_documents(
    paths: Iterable[str | os.PathLike], *, separator: str = "\n", chunk_chars: int = 1 << 20
) -> Iterator[str]:
    """The texts between the separators of UTF-8 files, one file after the other, less empty ones.

    Nothing in them is changed: a file with Windows' line ends, cut at the default separator, gives documents that
    end in "\\r"; cut it at "\\r\\n". Never more than a chunk and the longest document are in memory, whatever the
    size of the files. A file ends a document.

    Book: pretraining.
    """
    if isinstance(paths, (str, os.PathLike)):
        raise TypeError(f"paths must be a list of files, got {paths!r}")
    if not isinstance(separator, str) or not separator:
        raise ValueError(f"separator must be a string that is not empty, got {separator!r}")
    check_positive(chunk_chars=chunk_chars)
    return _read_documents(paths, separator, chunk_chars)


def _read_documents(paths, separator: str, chunk_chars: int) -> Iterator[str]:
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            rest = ""
            while chunk := file.read(chunk_chars):
                *whole, rest = (rest + chunk).split(separator)  # a separator cut in two is whole in the next turn
                yield from filter(None, whole)
            if rest:
                yield rest


def pack(documents: Iterable[Iterable], length: int, eos: int) -> Iterator[Int[Tensor, "T"]]:
    """Blocks of length tokens from all documents in a row, each followed by eos. Nothing is lost: the last is shorter.

    It reads only as much as the next block needs, so that the documents may be a stream, and each of them too.

    Source: Brown et al. 2020 (GPT-3), app. B. Book: pretraining.
    """
    check_positive(length=length)
    if not isinstance(eos, int) or isinstance(eos, bool):
        raise TypeError(f"eos must be an int, got {eos!r}")
    return _pack(documents, length, eos)


def _pack(documents, length: int, eos: int) -> Iterator[Tensor]:
    block = []
    for number, document in enumerate(documents):
        if isinstance(document, int):
            raise TypeError(f"documents must be sequences of token ids, got {document!r:.60} as number {number}")
        for token in chain(document.tolist() if hasattr(document, "tolist") else document, [eos]):
            if not isinstance(token, int):
                raise TypeError(f"documents must hold ints, got {token!r} in number {number}")
            block.append(token)
            if len(block) == length:
                yield torch.tensor(block)
                block = []
    if block:
        yield torch.tensor(block)


def pad(batch: Sequence, pad_id: int, *, side: str = "right") -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Sequences of different lengths as one tensor, with a mask that is True at the real tokens.

    Book: attention, pretraining.
    """
    check_choice(("left", "right"), side=side)
    if not isinstance(pad_id, int) or isinstance(pad_id, bool):
        raise TypeError(f"pad_id must be an int, got {pad_id!r}")
    rows = [torch.as_tensor(row) for row in batch]
    if not rows or not all(row.ndim == 1 and len(row) for row in rows):
        lengths = [row.numel() for row in rows]
        raise ValueError(f"batch must hold sequences of at least one token, got lengths {lengths}")
    for number, row in enumerate(rows):
        check_integers(row, name=f"batch[{number}]")
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        place = slice(len(row)) if side == "right" else slice(longest - len(row), None)
        ids[number, place], mask[number, place] = row.to(ids), True
    return ids, mask


def length_buckets(lengths: Sequence[int], batch_size: int, *, generator: Generator | None = None) -> list[list[int]]:
    """The indices of all sequences in batches of neighbours in length, the batches in random order.

    Which of several sequences of equal length stand together is random too. One batch, that of the longest, may be
    smaller; where there is none, no other division into batches of this size pads less.

    Book: pretraining.
    """
    check_positive(batch_size=batch_size)
    if not all(isinstance(length, int) and length > 0 for length in lengths):
        raise ValueError(f"lengths must be ints of at least 1, got {lengths!r:.60}")
    order = torch.randperm(len(lengths), generator=generator).tolist()
    order.sort(key=lengths.__getitem__)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
