from functools import partial

import pytest
import torch

from lmbook.transformer import GPT, GPTConfig, KVCache, LayerCache

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi", "t5")


def test_a_layer_cache_joins_tokens_in_order(randn):
    cache, k, v = LayerCache(), randn(2, 3, 5, 4), randn(2, 3, 5, 4)
    assert cache.length == 0
    for start, stop in ((0, 2), (2, 3), (3, 5)):
        all_k, all_v = cache.append(k[:, :, start:stop], v[:, :, start:stop])
        assert cache.length == stop
        assert torch.equal(all_k, k[:, :, :stop]) and torch.equal(all_v, v[:, :, :stop])


def test_a_cache_has_one_layer_for_each():
    cache = KVCache(3)
    assert len(cache.layers) == len(set(map(id, cache.layers))) == 3 and cache.length == 0


def small(positions, **options):
    return GPT(GPTConfig(vocab_size=13, max_len=16, d_model=16, n_layers=2, n_heads=4, positions=positions, **options))


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("chunks", [[12], [1] * 12, [5, 1, 1, 4, 1], [1, 11]])
def test_cached_equals_uncached(positions, chunks, loud):
    model, cache = loud(small(positions, n_kv_heads=2)), KVCache(2)
    ids = torch.randint(13, (3, 12), generator=torch.Generator().manual_seed(0))
    parts = []
    for chunk in ids.split(chunks, dim=1):
        parts.append(model(chunk, cache=cache))
    assert cache.length == 12
    close(torch.cat(parts, dim=1), model(ids))


@pytest.mark.parametrize("positions", POSITIONS)
def test_cached_equals_uncached_with_padding_on_the_left(positions, loud):
    model, cache = loud(small(positions)), KVCache(2)
    ids = torch.randint(13, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[0, :3] = False
    parts, end = [], 0
    for chunk in ids.split([4, 1, 3, 1], dim=1):
        end += chunk.shape[1]
        parts.append(model(chunk, mask=mask[:, :end], cache=cache))
    close(torch.cat(parts, dim=1)[mask], model(ids, mask=mask)[mask])


def test_a_refused_call_leaves_the_cache_as_it_was(loud):
    model, cache = loud(small("learned")), KVCache(2)
    model(torch.zeros(1, 10, dtype=torch.long), cache=cache)
    for bad in (torch.zeros(1, 7, dtype=torch.long), torch.tensor([[13]])):
        with pytest.raises(ValueError):
            model(bad, cache=cache)
    assert [layer.length for layer in cache.layers] == [10, 10]
