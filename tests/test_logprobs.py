"""Log-probabilities of single tokens, and the likeliest alternatives, in results and in segments."""

import json
import math

import numpy as np
import pytest
import torch

from made_up import made_up_mel, made_up_model
from viska.audio import SAMPLE_RATE
from viska.decoding import DecodingOptions, DecodingTask, decode
from viska.errors import OptionError
from viska.result import Segment, TokenAlternative
from viska.tokenizer import get_tokenizer
from viska.transcription import transcribe
from viska.transcription.splitter import blanked

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
SEARCHES = [
    {},
    {"temperature": 1.0},
    {"temperature": 0.7, "best_of": 3},
    {"beam_size": 3},
    {"beam_size": 2, "patience": 2.0},
]
ASKED = {"language": "en", "token_logprobs": True, "top_logprobs": 3}


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def features(model):
    return model.embed_audio(made_up_mel(3))


@pytest.fixture(scope="module")
def short_spoken(model, features):
    """The same model, but that it likes to end where it would have said the second of its words again."""
    plain = decode(model, features[0], language="en", sample_len=10, without_timestamps=True)
    model = made_up_model()
    embedding = model.decoder.token_embedding.weight
    embedding[TOKENIZER.eot] = embedding[plain.tokens[1]] * 1.01
    return model


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("rules", [{}, {"prompt": [5, 6], "repetition_penalty": 1.3}, {"without_timestamps": True}])
@pytest.mark.parametrize("sample_len", [4, 60])
def test_with_that_of_the_end_they_make_up_avg_logprob(short_spoken, features, search, rules, sample_len):
    task = DecodingTask(short_spoken, DecodingOptions(**ASKED, **search, **rules, sample_len=sample_len))
    for audio, result in enumerate(task.run(features)):
        assert len(result.token_logprobs) == len(result.top_logprobs) == len(result.tokens)
        total = result.avg_logprob * (len(result.tokens) + 1)
        end = task.recorder.end_logprob(audio, result.tokens)
        assert sum(result.token_logprobs) + end == pytest.approx(total, abs=1e-4, rel=1e-6)  # float32 sums
        assert all(logprob <= 0 for logprob in result.token_logprobs)


def test_both_a_chosen_end_and_a_forced_one_occur(short_spoken, features):
    # So that the test above is about both.
    ends = []
    for sample_len in (1, 60):
        options = DecodingOptions(**ASKED, beam_size=3, sample_len=sample_len, without_timestamps=True)
        task = DecodingTask(short_spoken, options)
        ends += [task.recorder.end_logprob(i, result.tokens) for i, result in enumerate(task.run(features))]
    assert any(end == 0 for end in ends)
    assert any(end < 0 for end in ends)


@pytest.mark.parametrize("search", SEARCHES)
def test_to_ask_changes_nothing_else(model, features, search):
    asked = decode(model, features, **ASKED, **search, sample_len=12)
    plain = decode(model, features, language="en", **search, sample_len=12)
    for a, b in zip(asked, plain, strict=True):
        assert (a.tokens, a.avg_logprob, a.no_speech_prob) == (b.tokens, b.avg_logprob, b.no_speech_prob)
        assert (b.token_logprobs, b.top_logprobs) == (None, None)


def test_greedy_tokens_are_the_first_of_their_alternatives(model, features):
    result = decode(model, features[0], **ASKED, sample_len=20)
    for token, logprob, best in zip(result.tokens, result.token_logprobs, result.top_logprobs, strict=True):
        assert best[0] == TokenAlternative(token, TOKENIZER.decode_with_timestamps([token]), logprob)
        assert [other.logprob for other in best] == sorted((other.logprob for other in best), reverse=True)
        assert len(best) == len({other.id for other in best}) == 3


def test_they_are_those_of_the_distribution_behind_the_rules(model, features):
    banned = decode(model, features[0], language="en", sample_len=1, without_timestamps=True).tokens[0]
    options = {**ASKED, "without_timestamps": True, "suppress_tokens": [banned], "suppress_blank": False}
    result = decode(model, features[0], **options, sample_len=1)
    initial = torch.tensor([TOKENIZER.sot_sequence_including_notimestamps])
    logits = model.logits(initial, features[:1])[0, -1]
    control = [TOKENIZER.transcribe, TOKENIZER.translate, TOKENIZER.sot, TOKENIZER.sot_prev, TOKENIZER.sot_lm]
    logits[[banned, *control, TOKENIZER.no_speech]] = -math.inf
    expected = logits.log_softmax(-1)
    assert result.token_logprobs == pytest.approx([float(expected[result.tokens[0]])], abs=1e-5)
    assert [other.id for other in result.top_logprobs[0]] == expected.topk(3).indices.tolist()


def test_what_is_banned_is_no_alternative(model, features):
    result = decode(model, features[0], **{**ASKED, "top_logprobs": 100}, max_initial_timestamp=0.2, sample_len=3)
    first = result.top_logprobs[0]
    assert [other.text for other in first if not other.text.startswith("<|0.")] == []
    assert len(first) == 11  # 0.00 to 0.20
    assert all(math.isfinite(other.logprob) for best in result.top_logprobs for other in best)


def test_beams_that_change_places_keep_their_own_record(model, features):
    # The window decoded alone, fed with what the search chose, thinks the same of each token.
    result = decode(
        model, features[1], **ASKED, beam_size=4, suppress_tokens="", sample_len=15, without_timestamps=True
    )
    initial = list(TOKENIZER.sot_sequence_including_notimestamps)
    logits = model.logits(torch.tensor([initial + result.tokens]), features[1:2])[0, len(initial) - 1 : -1]
    logits[0, [*TOKENIZER.encode(" "), TOKENIZER.eot]] = -math.inf
    expected = logits.log_softmax(-1).gather(1, torch.tensor(result.tokens)[:, None])[:, 0]
    assert len(result.tokens) == 15
    assert result.token_logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_each_can_be_asked_for_alone(model, features):
    only_own = decode(model, features[0], language="en", token_logprobs=True, sample_len=5)
    only_top = decode(model, features[0], language="en", top_logprobs=2, sample_len=5)
    assert len(only_own.token_logprobs) == len(only_own.tokens)
    assert only_own.top_logprobs is only_top.token_logprobs is None
    assert [len(best) for best in only_top.top_logprobs] == [2] * len(only_top.tokens)


def test_a_task_may_run_again(model, features):
    task = DecodingTask(model, DecodingOptions(**ASKED, beam_size=2, sample_len=8))
    first = task.run(features[:1])[0]
    task.run(features[1:2])
    assert task.run(features[:1])[0].token_logprobs == first.token_logprobs


@pytest.mark.parametrize("number", [-1, 101])
def test_numbers_without_meaning_are_refused(model, features, number):
    with pytest.raises(OptionError, match=f"top_logprobs is {number}; it must be from 0 to 100"):
        decode(model, features[0], language="en", top_logprobs=number)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def test_segments_have_those_of_their_tokens_and_plain_dicts(model):
    options = {"temperature": 0.0, "sample_len": 30, "no_speech_threshold": None, **ASKED}
    transcript = transcribe(model, noise(35), **options)
    assert transcript.segments
    for segment in transcript.segments:
        assert len(segment.token_logprobs) == len(segment.top_logprobs) == len(segment.tokens)
        for token, logprob, best in zip(segment.tokens, segment.token_logprobs, segment.top_logprobs, strict=True):
            assert (best[0].id, best[0].logprob) == (token, logprob)
    plain = json.loads(json.dumps(transcript.to_dict()))["segments"][0]
    assert plain["token_logprobs"] == list(transcript.segments[0].token_logprobs)
    assert set(plain["top_logprobs"][0][0]) == {"id", "text", "logprob"}


def test_what_was_not_asked_for_is_absent(model):
    transcript = transcribe(model, noise(5), temperature=0.0, sample_len=10, language="en", no_speech_threshold=None)
    absent = {"token_logprobs", "top_logprobs", "language", "words"}
    assert transcript.segments
    for segment in transcript.segments:
        assert not absent & set(segment)
        assert not absent & set(segment.to_dict())


def test_a_blank_segment_has_none():
    figures = {"token_logprobs": (-0.5,), "top_logprobs": ((TokenAlternative(220, " ", -0.5),),)}
    segment = Segment(0, 0, 1.0, 1.0, " ", (220,), 0.0, -0.3, 1.0, 0.0, **figures)
    empty = blanked(segment)
    assert (empty.tokens, empty.token_logprobs, empty.top_logprobs, empty.words) == ((), (), (), None)
