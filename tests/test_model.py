"""The network: shapes, attention, caches, alignment heads, dtypes."""

import base64
import gzip
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from made_up import ENGLISH, LARGE_V3, MULTILINGUAL, dimensions, made_up_mel, made_up_model
from viska.model import (
    AudioEncoder,
    Conv1d,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    ResidualAttentionBlock,
    Whisper,
    causal_mask,
    disable_sdpa,
    sinusoids,
)


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def features(model):
    return model.embed_audio(made_up_mel())


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_sinusoids_are_sines_then_cosines_of_falling_frequency():
    table = sinusoids(50, 8)
    assert table.shape == (50, 8)
    assert table.dtype == torch.float32
    torch.testing.assert_close(table[:, 0], torch.arange(50).float().sin())  # the fastest has period 2 pi
    torch.testing.assert_close(table[:, 4], torch.arange(50).float().cos())
    torch.testing.assert_close(table[:, 3], (torch.arange(50) / 10000).sin())  # the slowest 10000 times that
    torch.testing.assert_close(table[:, :4] ** 2 + table[:, 4:] ** 2, torch.ones(50, 4))


def test_sinusoids_need_an_even_width():
    with pytest.raises(ValueError, match="even number of channels, not 7"):
        sinusoids(3, 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_layers_follow_the_dtype_of_their_input(dtype):
    x = randn(2, 5, 4).to(dtype)
    for layer in (Linear(4, 4), Linear(4, 4, bias=False), LayerNorm(4)):
        assert layer(x).dtype == dtype
    assert Conv1d(5, 3, kernel_size=3)(x).dtype == dtype


def test_layer_norm_computes_in_float32():
    x = (1000 + randn(2, 64)).half()
    expected = torch.nn.functional.layer_norm(x.float(), (64,)).half()
    assert torch.equal(LayerNorm(64)(x), expected)


def explicit_attention(attention: MultiHeadAttention, x, xa=None, mask=None):
    """Attention written out head by head, in float64."""
    source = x if xa is None else xa
    q, k, v = attention.query(x), attention.key(source), attention.value(source)
    width = q.shape[-1] // attention.n_head
    heads = []
    for h in range(attention.n_head):
        part = slice(h * width, (h + 1) * width)
        scores = q[..., part].double() @ k[..., part].double().transpose(-1, -2) / width**0.5
        if mask is not None:
            scores = scores + mask[: scores.shape[-2], : scores.shape[-1]]
        heads.append(scores.softmax(-1) @ v[..., part].double())
    return attention.out(torch.cat(heads, dim=-1).float())


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize(("cross", "masked"), [(False, False), (False, True), (True, False)])
def test_attention_equals_attention_written_out(cross, masked, need_weights):
    torch.manual_seed(1)
    attention = MultiHeadAttention(12, 3)
    x, xa = randn(2, 5, 12), randn(2, 9, 12, seed=1) if cross else None
    mask = causal_mask(8) if masked else None
    output, scores = attention(x, xa, mask, need_weights=need_weights)
    torch.testing.assert_close(output, explicit_attention(attention, x, xa, mask))
    assert (scores is not None) == need_weights
    if need_weights:
        assert scores.shape == (2, 3, 5, 9 if cross else 5)
        assert bool(torch.isinf(scores).any()) == masked


def test_an_arbitrary_mask_is_honoured_and_not_taken_as_causal():
    attention = MultiHeadAttention(8, 2)
    x = randn(1, 4, 8)
    mask = torch.zeros(4, 4)
    mask[:, 1] = -torch.inf  # nobody may look at position 1
    changed = x.clone()
    changed[:, 1] += 1
    others = [0, 2, 3]
    torch.testing.assert_close(attention(x, mask=mask)[0][:, others], attention(changed, mask=mask)[0][:, others])
    assert not torch.allclose(attention(x)[0][:, others], attention(changed)[0][:, others])


def test_keys_have_no_bias():
    attention = MultiHeadAttention(8, 2)
    assert attention.key.bias is None
    assert all(projection.bias is not None for projection in (attention.query, attention.value, attention.out))


def test_block_shapes_and_residuals():
    block = ResidualAttentionBlock(8, 2, cross_attention=True)
    x, xa = randn(2, 3, 8), randn(2, 7, 8)
    assert block(x, xa).shape == x.shape
    output, scores = block(x, xa, need_weights=True)
    assert scores.shape == (2, 2, 3, 7)
    torch.testing.assert_close(output, block(x, xa), rtol=1e-5, atol=1e-5)
    assert block.mlp[0].out_features == 4 * 8
    assert ResidualAttentionBlock(8, 2).cross_attn is None
    with torch.no_grad():
        for layer in (block.attn.out, block.cross_attn.out, block.mlp[2]):
            layer.weight.zero_()
            layer.bias.zero_()
    assert torch.equal(block(x, xa), x)  # nothing but the residuals is left


def test_disable_sdpa_returns_scores_and_ends_with_the_block():
    attention = MultiHeadAttention(8, 2)
    x = randn(1, 3, 8)
    with disable_sdpa():
        output, scores = attention(x)
    assert scores is not None
    torch.testing.assert_close(output, attention(x)[0])
    assert attention(x)[1] is None


def test_disable_sdpa_leaves_other_threads_alone():
    attention = MultiHeadAttention(8, 2)
    x = randn(1, 3, 8)
    with disable_sdpa(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(attention, x).result()[1] is None


def test_encoder_takes_the_length_that_it_was_made_for():
    encoder = AudioEncoder(n_mels=4, n_ctx=10, n_state=8, n_head=2, n_layer=1)
    assert encoder(randn(2, 4, 20)).shape == (2, 10, 8)
    with pytest.raises(ValueError, match="takes 20 mel frames"):
        encoder(randn(2, 4, 30))


def test_forward_is_embedding_then_logits(model, features):
    mel, tokens = made_up_mel(), torch.tensor([[50258, 50259, 50359]])
    assert features.shape == (1, 1500, 16)
    logits = model(mel, tokens)
    assert logits.shape == (1, 3, MULTILINGUAL)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, model.logits(tokens, features))


def test_later_tokens_do_not_change_earlier_logits(model, features):
    tokens = torch.tensor([[50258, 50259, 50359, 50364, 400, 500]])
    whole = model.logits(tokens, features)
    torch.testing.assert_close(whole[:, :4], model.logits(tokens[:, :4], features))


def test_decoder_gives_cross_attention_scores_on_request(model, features):
    tokens = torch.tensor([[50258, 50259, 50359]])
    logits, scores = model.decoder(tokens, features, need_weights=True)
    torch.testing.assert_close(logits, model.logits(tokens, features), rtol=1e-4, atol=1e-4)
    assert [layer.shape for layer in scores] == [(1, 2, 3, 1500)] * model.dims.n_text_layer


def test_cached_steps_equal_one_whole_pass(model, features):
    tokens = torch.tensor([[50258, 50259, 50359, 50364, 400, 500, 600]])
    cache, hooks = model.install_kv_cache_hooks()
    steps = [model.decoder(tokens[:, :3], features, kv_cache=cache)]
    steps += [model.decoder(tokens[:, i : i + 1], features, kv_cache=cache) for i in range(3, 6)]
    steps.append(model.decoder(tokens[:, 6:], features, kv_cache=cache))
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(torch.cat(steps, dim=1), model.logits(tokens, features), rtol=1e-4, atol=1e-4)
    attention = model.decoder.blocks[0]
    assert cache[attention.attn.key].shape == (1, 7, 16)
    assert cache[attention.cross_attn.key].shape == (1, 1500, 16)


def test_several_tokens_at_once_behind_a_cache_see_no_future(model, features):
    tokens = torch.tensor([[50258, 50259, 50359, 50364, 400, 500, 600]])
    cache, hooks = model.install_kv_cache_hooks()
    first = model.decoder(tokens[:, :3], features, kv_cache=cache)
    rest = model.decoder(tokens[:, 3:], features, kv_cache=cache)
    for hook in hooks:
        hook.remove()
    together = torch.cat([first, rest], dim=1)
    torch.testing.assert_close(together, model.logits(tokens, features), rtol=1e-4, atol=1e-4)


def test_hooks_sit_on_every_key_and_value_projection_of_the_decoder(model):
    cache, hooks = model.install_kv_cache_hooks()
    assert cache == {}
    assert len(hooks) == model.dims.n_text_layer * 2 * 2
    hooked = {module for module in model.modules() if module._forward_hooks}
    expected = {
        projection
        for block in model.decoder.blocks
        for attention in (block.attn, block.cross_attn)
        for projection in (attention.key, attention.value)
    }
    assert hooked == expected
    for hook in hooks:
        hook.remove()
    assert not any(module._forward_hooks for module in model.modules())


def test_removed_hooks_store_nothing_any_more(model, features):
    cache, hooks = model.install_kv_cache_hooks()
    for hook in hooks:
        hook.remove()
    model.logits(torch.tensor([[50258]]), features)
    assert cache == {}


def test_a_given_cache_is_copied_and_gone_on_from(model, features):
    tokens = torch.tensor([[50258, 50259, 50359, 50364]])
    given, hooks = model.install_kv_cache_hooks()
    model.decoder(tokens[:, :3], features, kv_cache=given)
    for hook in hooks:
        hook.remove()
    lengths = {module: tensor.shape for module, tensor in given.items()}
    cache, hooks = model.install_kv_cache_hooks(given)
    assert cache == given
    assert cache is not given
    last = model.decoder(tokens[:, 3:], features, kv_cache=cache)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(last, model.logits(tokens, features)[:, -1:], rtol=1e-4, atol=1e-4)
    assert {module: tensor.shape for module, tensor in given.items()} == lengths


def test_an_output_longer_than_the_text_context_replaces_what_was_there(model):
    projection = model.decoder.blocks[0].cross_attn.key
    cache, hooks = model.install_kv_cache_hooks()
    first, second = randn(1, 449, 16), randn(1, 449, 16, seed=1)
    projection(first)
    assert projection(second).shape == (1, 449, 16)
    stored = cache[projection]
    assert projection(randn(1, 448, 16)).shape == (1, 449 + 448, 16)  # not longer: it is added
    for hook in hooks:
        hook.remove()
    assert torch.equal(stored, projection(second))


def test_concatenated_outputs_are_detached():
    model = made_up_model().requires_grad_(True)
    projection = model.decoder.blocks[0].attn.key
    cache, hooks = model.install_kv_cache_hooks()
    projection(randn(1, 2, 16))
    projection(randn(1, 1, 16))
    for hook in hooks:
        hook.remove()
    assert not cache[projection].requires_grad


def test_hooks_act_only_in_the_thread_that_installed_them(model, features):
    tokens = torch.tensor([[50258, 50259, 50359]])
    alone = model.logits(tokens, features)
    cache, hooks = model.install_kv_cache_hooks()
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(model.logits, tokens, features).result()
    assert cache == {}
    for hook in hooks:
        hook.remove()
    assert torch.equal(elsewhere, alone)


def test_hooks_installed_by_many_threads_at_once_are_all_there_and_all_removed(model):
    barrier = threading.Barrier(8)

    def install_and_remove():
        barrier.wait()
        for _ in range(20):
            cache, hooks = model.install_kv_cache_hooks()
            for block in model.decoder.blocks:
                block.attn.key(torch.zeros(1, 1, 16))
            assert len(cache) == model.dims.n_text_layer
            for hook in hooks:
                hook.remove()

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(install_and_remove) for _ in range(8)]:
            future.result()
    assert not any(module._forward_hooks for module in model.modules())


def test_default_alignment_heads_are_the_upper_half():
    heads = made_up_model(n_text_layer=5).alignment_heads.to_dense()
    assert heads.shape == (5, 2)
    assert not heads[:2].any()
    assert heads[2:].all()


def test_alignment_heads_from_a_dump(model):
    flags = np.array([[False, True], [True, False]])
    model.set_alignment_heads(base64.b85encode(gzip.compress(flags.tobytes())))
    assert model.alignment_heads.to_dense().tolist() == flags.tolist()
    assert model.alignment_heads.indices().T.tolist() == [[0, 1], [1, 0]]
    model.use_alignment_heads([(1, 1)])
    assert model.alignment_heads.to_dense().tolist() == [[False, False], [False, True]]
    with pytest.raises(ValueError, match="3 heads, but the decoder has 2 layers of 2"):
        model.set_alignment_heads(base64.b85encode(gzip.compress(b"\0\1\0")))


def test_alignment_heads_are_no_part_of_the_weights(model):
    assert not any("alignment" in name or name == "decoder.mask" for name in model.state_dict())


@pytest.mark.parametrize(
    ("n_vocab", "multilingual", "languages"),
    [(ENGLISH, False, 99), (MULTILINGUAL, True, 99), (LARGE_V3, True, 100)],
)
@pytest.mark.parametrize("added", [(), ("<|brand|>", " viska")])
def test_vocabulary_sizes(n_vocab, multilingual, languages, added):
    with torch.device("meta"):
        model = Whisper(dimensions(n_vocab + len(added)), added_tokens=added)
    assert model.is_multilingual is multilingual
    assert model.num_languages == languages


def test_a_model_made_of_its_state_gives_the_same_logits(model, features):
    twin = Whisper.from_state_dict(model.dims, model.state_dict())
    tokens = torch.tensor([[50258, 50259, 50359]])
    assert torch.equal(twin.logits(tokens, twin.embed_audio(made_up_mel())), model.logits(tokens, features))
    assert not twin.training
    assert twin.device == torch.device("cpu")
    assert not any(tensor.is_meta for tensor in (*twin.parameters(), *twin.buffers()))


def test_float16_weights_compute_in_float16(model):
    half = Whisper.from_state_dict(model.dims, {name: tensor.half() for name, tensor in model.state_dict().items()})
    features = half.embed_audio(made_up_mel().half())
    assert features.dtype == torch.float16
    logits = half.logits(torch.tensor([[50258]]), features)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
