"""Word times: the median filter, the path, the alignment, punctuation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from made_up import made_up_mel, made_up_model
from viska.decoding import tokenizer_for
from viska.evaluation.hypothesis import from_transcript
from viska.evaluation.manifest import read_manifest
from viska.evaluation.run import read_samples
from viska.evaluation.score import score
from viska.timing import (
    WordTiming,
    alignment_matrix,
    backtrace,
    dtw,
    find_alignment,
    median_filter,
    merge_punctuations,
)


def plain_median(row: list[float], width: int) -> list[float]:
    reach = width // 2
    padded = row[reach:0:-1] + row + row[-2 : -reach - 2 : -1]
    return [sorted(padded[i : i + width])[reach] for i in range(len(row))]


@given(st.lists(st.floats(-9, 9, width=32), min_size=6, max_size=30), st.sampled_from([1, 3, 5, 7, 9, 11]))
def test_median_filter_is_the_median_of_the_neighbours(row, width):
    found = median_filter(torch.tensor([[row, row]]), width)
    assert found.shape == (1, 2, len(row))
    assert found[0, 1].tolist() == plain_median(row, width)


def test_median_filter_takes_many_rows_apart_and_what_is_no_number_for_the_greatest():
    x = torch.randn(5, 40, 12, generator=torch.Generator().manual_seed(0))
    x[2, 3, 4:6], x[1, 1, 7] = torch.nan, torch.inf
    torch.testing.assert_close(median_filter(x, 7)[0], median_filter(x[0], 7), rtol=0, atol=0)
    reflected = torch.cat([x[..., 1:4].flip(-1), x, x[..., -4:-1].flip(-1)], dim=-1)
    expected = reflected.unfold(-1, 7, 1).sort().values[..., 3]
    torch.testing.assert_close(median_filter(x, 7), expected, rtol=0, atol=0, equal_nan=True)


def test_median_filter_leaves_what_is_too_short_alone():
    x = torch.tensor([3.0, 1.0, 2.0])
    assert median_filter(x, 7) is x


@pytest.mark.parametrize("width", [0, 2, -3])
def test_median_filter_needs_an_odd_width(width):
    with pytest.raises(ValueError, match=f"filter_width is {width}"):
        median_filter(torch.zeros(9), width)


def plain_dtw(cost: np.ndarray) -> np.ndarray:
    """Cell by cell: diagonal where it alone is the cheapest, then up where it alone is, else left."""
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    trace = np.full((n + 1, m + 1), 2)
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
            if diagonal < up and diagonal < left:
                best, trace[i, j] = diagonal, 0
            elif up < diagonal and up < left:
                best, trace[i, j] = up, 1
            else:
                best, trace[i, j] = left, 2
            total[i, j] = cost[i - 1, j - 1] + best
    return backtrace(trace)


@given(st.integers(1, 9), st.integers(1, 14), st.integers(0, 2**31), st.booleans())
def test_dtw_equals_the_plain_one_with_ties_too(n, m, seed, ties):
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, 3, (n, m)).astype(float) if ties else rng.normal(size=(n, m))
    assert dtw(cost).tolist() == plain_dtw(cost).tolist()


@pytest.mark.parametrize(("n", "m"), [(10, 20), (32, 16), (123, 1500), (234, 189)])
def test_dtw_finds_a_planted_path(n, m):
    rng = np.random.default_rng(n)
    steps = np.array(["down"] * (n - 1) + ["right"] * (m - 1))
    rng.shuffle(steps)
    rows = np.cumsum([0, *(steps == "down")])
    columns = np.cumsum([0, *(steps == "right")])
    cost = 100 + rng.random((n, m))
    cost[rows, columns] -= 100
    found = dtw(torch.from_numpy(cost).float())
    # A step down and a step right may be cut short to one diagonal.
    assert set(zip(*found.tolist(), strict=True)) <= set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert (found[0, 0], found[1, 0], found[0, -1], found[1, -1]) == (0, 0, n - 1, m - 1)


def test_a_path_is_monotone_and_leaves_no_row_or_column_out():
    found = dtw(np.random.default_rng(0).normal(size=(30, 70)))
    steps = np.diff(found, axis=1)
    assert steps.min() >= 0
    assert steps.max() == 1
    assert set(found[0]) == set(range(30))
    assert set(found[1]) == set(range(70))


def test_alignment_matrix_softens_crops_and_averages():
    scores = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0))
    matrix = alignment_matrix(scores, num_frames=50, medfilt_width=1)
    assert matrix.shape == (5, 25)
    # Each position is measured against all tokens, so that the tokens' mean is nothing.
    torch.testing.assert_close(matrix.mean(dim=0), torch.zeros(25), atol=1e-5, rtol=0)
    expected = scores[..., :25].softmax(dim=-1)
    expected = (expected - expected.mean(dim=1, keepdim=True)) / expected.std(dim=1, keepdim=True, correction=0)
    torch.testing.assert_close(matrix, expected.mean(dim=0))


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def tokenizer(model):
    return tokenizer_for(model, language="en", task="transcribe")


def test_words_cover_the_tokens_in_order_within_the_sound(model, tokenizer):
    tokens = tokenizer.encode(" And so, my fellow Americans, ask not.")
    mel = made_up_mel()[0]
    found = find_alignment(model, tokenizer, tokens, mel, 1000)
    assert [token for timing in found for token in timing.tokens] == tokens
    assert "".join(timing.word for timing in found) == " And so, my fellow Americans, ask not."
    times = [time for timing in found for time in (timing.start, timing.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= 10
    assert all(0 <= timing.probability <= 1 for timing in found)


def test_features_may_be_of_less_than_half_a_minute(model, tokenizer):
    tokens, features = tokenizer.encode(" Hello there."), model.embed_audio(made_up_mel())[0]
    expected = find_alignment(model, tokenizer, tokens, features, 800)
    found = find_alignment(model, tokenizer, tokens, features[:400], 800)
    assert [timing.word for timing in found] == [timing.word for timing in expected]
    assert 0 <= found[0].start <= found[-1].end <= 8


def test_a_spectrogram_with_as_many_frames_as_features_have_channels_is_not_taken_for_them(model, tokenizer):
    mel = made_up_mel()[0][:, : model.dims.n_audio_state]
    with pytest.raises(ValueError, match="mel frames"):
        find_alignment(model, tokenizer, tokenizer.encode(" Hello."), mel, 100)


def test_features_need_no_second_encoding(model, tokenizer, monkeypatch):
    tokens, mel = tokenizer.encode(" Hello there."), made_up_mel()[0]
    expected = find_alignment(model, tokenizer, tokens, mel, 3000)
    features = model.embed_audio(mel[None])[0]
    monkeypatch.setattr(model.encoder, "forward", lambda _: pytest.fail("encoded again"))
    assert find_alignment(model, tokenizer, tokens, features, 3000) == expected


def test_no_text_has_no_words(model, tokenizer):
    assert find_alignment(model, tokenizer, [], made_up_mel()[0], 3000) == []


def merged(*words: str, prepended: str = "\"'“¿([{-", appended: str = "\"'.。,，!！?？:：”)]}、") -> list[str]:  # noqa: RUF001
    alignment = [WordTiming(word, [i], i, i + 1, 0.5) for i, word in enumerate(words)]
    merge_punctuations(alignment, prepended, appended)
    for timing in alignment:
        assert bool(timing.word) == bool(timing.tokens)
    assert sorted(token for timing in alignment for token in timing.tokens) == list(range(len(words)))
    return [timing.word for timing in alignment if timing.word]


def test_marks_go_to_the_words_they_belong_to():
    assert merged(" Hello", ",", " world", "!") == [" Hello,", " world!"]
    assert merged(" (", "so", ")", " it") == [" (so)", " it"]
    assert merged(' "', "yes", '."') == [' "yes', '."'] or merged(' "', "yes", ".", '"') == [' "yes."']
    assert merged(" one", " -", " two") == [" one", " - two"]
    assert merged(" a", "b") == [" a", "b"]
    assert merged(" word") == [" word"]
    assert merged() == []


@pytest.mark.slow
def test_word_times_lose_no_speech(base, corpus):
    name = "long/fleursdumal_000_baudelaire_64kb.mp3"  # where "Si le viol, le poison, le poignard" was lost
    (clip,) = (clip for clip in read_manifest(corpus / "manifest.jsonl") if clip.path == name)
    transcript = base.transcribe(read_samples(clip), beam_size=5, best_of=5, word_timestamps=True)
    assert score(clip, from_transcript(transcript, None, None), clip.duration).lost == ()


def test_words_of_a_real_recording_join_to_its_text(tiny_en, recordings):
    import viska

    transcript = viska.transcribe(tiny_en, recordings / "sense_and_sensibility_0870.wav", word_timestamps=True)
    words = [word for segment in transcript.segments for word in segment.words]
    assert "".join(word.word for word in words) == transcript.text
    assert all(word.start <= word.end for word in words)
    starts = [word.start for word in words]
    assert starts == sorted(starts)
    assert words[-1].end <= 7.1
    assert transcript["segments"][0]["words"][0]["word"] == " And"
