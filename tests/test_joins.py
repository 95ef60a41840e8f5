"""Segments over silence that was left out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import viska
from viska.audio import SAMPLE_RATE, load_audio
from viska.result import Segment, Word
from viska.tokenizer import get_tokenizer
from viska.transcription.joins import parted, reaches_over
from viska.transcription.speech import SpeechTrack
from viska.transcription.splitter import text_tokens
from viska.transcription.stretch import Stretch

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
SAID = [" The", " cabbage", " is", " discolored,", " 'if'", " anyone", " знает", " 知", "道", " it."]


def in_words(*words: tuple[str, float, float], **known) -> Segment:
    """A segment that says these words at these times, with its timestamps and a number for each token."""
    tokens = [token for word, _, _ in words for token in TOKENIZER.encode(word)]
    start, end = words[0][1], words[-1][2]
    stamped = (TOKENIZER.timestamp_begin, *tokens, TOKENIZER.timestamp_begin + 50)
    return Segment(
        id=0,
        seek=0,
        start=start,
        end=end,
        text="".join(word for word, _, _ in words),
        tokens=stamped,
        temperature=0.0,
        avg_logprob=-0.2,
        compression_ratio=1.0,
        no_speech_prob=0.01,
        words=tuple(Word(*word, 0.9, 0.9) for word in words),
        token_logprobs=tuple(-float(i) for i in range(len(stamped))),
        **known,
    )


def test_a_segment_is_parted_where_its_words_are_on_both_sides():
    whole = in_words((" The", 1, 2), (" cabbage", 2, 4.8), (" is", 4.9, 5.4), (" here.", 6, 7))
    first, second = parted(whole, [5.0, 20.0], TOKENIZER)
    assert (first.start, first.end, first.text) == (1, 4.8, " The cabbage")
    assert (second.start, second.end, second.text) == (5.0, 7, " is here.")  # it begins no earlier than the join
    assert [word.word for word in second.words] == [" is", " here."]
    assert first.tokens + second.tokens == whole.tokens
    assert first.tokens[0] == whole.tokens[0]
    assert second.tokens[-1] == whole.tokens[-1]
    assert first.token_logprobs + second.token_logprobs == whole.token_logprobs
    assert len(first.token_logprobs) == len(first.tokens)


@pytest.mark.parametrize(
    "segment",
    [
        in_words((" The", 1, 2), (" cabbage.", 2, 4.8)),
        in_words((" The", 6, 7), (" cabbage.", 7, 8)),
        replace(in_words((" The", 1, 2), (" cabbage.", 6, 7)), words=None),
        replace(in_words((" The", 1, 2), (" cabbage.", 6, 7)), words=()),
        replace(in_words((" The", 1, 2), (" cabbage.", 6, 7)), tokens=()),
        replace(in_words((" The", 1, 2), (" cabbage.", 6, 7)), tokens=tuple(TOKENIZER.encode(" A cabbage."))),
    ],
)
def test_a_segment_whose_words_do_not_tell_of_a_join_stays_as_it_is(segment):
    assert parted(segment, [5.0], TOKENIZER) == [segment]
    assert parted(segment, [], TOKENIZER) == [segment]


@given(
    st.lists(st.tuples(st.sampled_from(SAID), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12),
    st.lists(st.integers(1, 20), max_size=4, unique=True).map(sorted),
)
def test_parts_say_what_the_whole_says_and_reach_over_no_join(words, joins):
    timed, at = [], 0.0
    for word, pause, length in words:
        timed.append((word, at + pause, at + pause + length))
        at += pause + length
    whole = in_words(*timed)
    parts = parted(whole, [float(join) for join in joins], TOKENIZER)
    assert "".join(part.text for part in parts) == whole.text
    assert sum((part.tokens for part in parts), ()) == whole.tokens
    assert sum((part.words for part in parts), ()) == whole.words
    assert whole.start <= parts[0].start
    assert parts[-1].end <= whole.end
    for part in parts:
        assert part.text == TOKENIZER.decode(text_tokens(part.tokens, TOKENIZER))
        sides = [sum((word.start + word.end) / 2 >= join for join in joins) for word in part.words]
        assert len(set(sides)) == 1
    assert all(part.start <= part.end for part in parts)


def test_what_is_said_on_one_side_claims_nothing_on_the_other():
    (told,) = parted(in_words((" The", 4.9, 5.5), (" cabbage", 5.5, 7.2)), [5.0, 7.0], TOKENIZER)
    assert (told.start, told.end) == (5.0, 7.0)


def test_words_are_read_where_somebody_speaks_on_both_sides():
    probabilities = np.zeros(1000, dtype=np.float32)
    probabilities[100:490] = probabilities[520:700] = 0.99
    speech = SpeechTrack(probabilities)
    segment = in_words((" The", 1, 2), (" cabbage.", 6, 7))
    assert reaches_over(segment, speech, [5.0])
    assert not reaches_over(segment, speech, [])
    assert not reaches_over(segment, speech, [0.5, 1.1, 6.9, 8.0])  # hardly anything is said on one side
    assert not reaches_over(replace(segment, text=" "), speech, [5.0])


def test_only_long_pauses_part():
    pieces = ((0, 500), (600, 900), (1200, 1300), (1300, 1400))
    assert Stretch(None, pieces, ((0, 1400),)).long_joins_s == (8.0,)


@pytest.mark.guarded
@pytest.mark.parametrize("options", [{}, {"word_timestamps": True}, {"batch_size": 2}])
def test_a_sentence_with_a_minute_of_silence_in_it_is_told_in_two(tiny_en, recordings, options):
    samples = load_audio(recordings / "sense_and_sensibility_0870.wav")
    quiet = np.random.default_rng(0).standard_normal(60 * SAMPLE_RATE).astype(np.float32) * 1e-4
    pause = round(3.0 * SAMPLE_RATE)
    paused = np.concatenate([samples[:pause], quiet, samples[pause:]])
    transcript = viska.transcribe(tiny_en, paused, language="en", vad_filter=True, **options)
    assert len(transcript.segments) >= 2
    for segment in transcript.segments:
        assert segment.end <= pause / SAMPLE_RATE + 1 or segment.start >= pause / SAMPLE_RATE + 59
    assert (segment.words is not None) == ("word_timestamps" in options)
