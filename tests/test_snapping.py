"""Words at the edges of pauses: pauses found by loudness, starts and ends that move there, and those that do not."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from viska.audio import SAMPLE_RATE, log_mel_spectrogram
from viska.result import Segment, Word
from viska.transcription.snapping import (
    LEAD_S,
    SHORTEST_PAUSE_S,
    SHORTEST_WORD_S,
    TRAIL_S,
    Pause,
    find_pauses,
    level_db,
    snap,
    snap_words,
)

LOUD, QUIET = -20.0, -70.0


def levels(*parts: tuple[float, float]):
    """Frames of 10 ms from (seconds, decibels)."""
    return np.concatenate([np.full(round(100 * seconds), db) for seconds, db in parts])


def word(start: float, end: float, text: str = " word") -> Word:
    return Word(text, start, end, 0.9)


def segment(*words: Word, start: float = 0.0, end: float = 30.0) -> Segment:
    return Segment(0, 0, start, end, " text", (7,), 0.0, -0.3, 1.0, 0.0, words=words or None)


def snapped(*words: Word, pauses=(), until_s: float = 100.0):
    return [(w.start, w.end) for w in snap_words(words, pauses, until_s)]


class TestPauses:
    def test_silence_between_speech_is_a_pause(self):
        level = levels((1.0, LOUD), (0.5, QUIET), (2.0, LOUD), (0.3, QUIET))
        assert find_pauses(level, 10.0) == [Pause(11.0, 11.5), Pause(13.5, 13.8)]

    def test_what_is_short_is_no_pause(self):
        level = levels((1.0, QUIET), (1.0, LOUD), (SHORTEST_PAUSE_S - 0.01, QUIET), (1.0, LOUD))
        assert find_pauses(level) == [Pause(0.0, 1.0)]

    def test_a_click_does_not_end_a_pause(self):
        level = levels((1.0, LOUD), (0.5, QUIET), (0.02, LOUD), (0.5, QUIET), (1.0, LOUD))
        assert find_pauses(level) == [Pause(1.0, 2.02)]

    def test_steady_noise_is_silence_if_speech_stands_out(self):
        noise = levels((1.0, LOUD), (1.0, -45.0), (1.0, LOUD))
        assert find_pauses(noise + np.tile([-1.5, 1.5], 150)) == [Pause(1.0, 2.0)]

    def test_a_brief_word_in_a_long_silence_stands_out(self):
        assert find_pauses(levels((20.0, QUIET), (0.5, LOUD), (9.5, QUIET))) == [Pause(0.0, 20.0), Pause(20.5, 30.0)]

    @pytest.mark.parametrize("quiet", [LOUD, -35.0])
    def test_with_little_contrast_nothing_is_silent(self, quiet):
        assert find_pauses(levels((1.0, LOUD), (1.0, quiet), (1.0, LOUD))) == []

    def test_without_frames_there_are_no_pauses(self):
        assert find_pauses(np.zeros(0)) == []

    def test_the_level_of_a_spectrogram_is_that_of_the_sound(self):
        tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
        mel = log_mel_spectrogram(np.concatenate([tone, 0.01 * tone]))
        level = level_db(mel)
        assert level[50] - level[150] == pytest.approx(40, abs=0.5)


PAUSE = Pause(2.0, 3.0)


class TestWords:
    def test_a_start_within_a_pause_moves_to_its_end(self):
        assert snapped(word(2.4, 3.5), pauses=[PAUSE]) == [(3.0, 3.5)]

    def test_a_start_shortly_before_a_pause_that_the_word_reaches_over_moves_to_its_end(self):
        assert snapped(word(2.0 - LEAD_S + 0.01, 3.5), pauses=[PAUSE]) == [(3.0, 3.5)]

    def test_a_word_that_begins_well_before_a_pause_is_said_in_two_parts(self):
        assert snapped(word(1.2, 3.5), pauses=[PAUSE]) == [(1.2, 3.5)]

    def test_an_end_within_a_pause_moves_to_its_start(self):
        assert snapped(word(1.5, 2.7), pauses=[PAUSE]) == [(1.5, 2.0)]

    def test_sound_before_a_pause_belongs_to_the_last_word(self):
        assert snapped(word(1.0, 1.5), word(3.0, 3.4), pauses=[PAUSE]) == [(1.0, 2.0), (3.0, 3.4)]

    def test_but_not_if_there_is_much_of_it(self):
        assert snapped(word(0.2, 2.0 - TRAIL_S - 0.1), pauses=[PAUSE]) == [(0.2, 2.0 - TRAIL_S - 0.1)]

    def test_nor_if_another_word_is_in_it(self):
        found = snapped(word(1.0, 1.3), word(1.3, 1.8), word(2.9, 3.4), pauses=[PAUSE])
        assert found == [(1.0, 1.3), (1.3, 2.0), (3.0, 3.4)]

    def test_nor_if_the_next_window_hears_it(self):
        assert snapped(word(1.0, 1.5), pauses=[PAUSE], until_s=1.5) == [(1.0, 1.5)]
        assert snapped(word(1.0, 1.5), pauses=[PAUSE], until_s=2.0) == [(1.0, 2.0)]

    def test_two_words_around_a_pause_part(self):
        assert snapped(word(1.6, 2.1), word(2.1, 3.3), pauses=[PAUSE]) == [(1.6, 2.0), (3.0, 3.3)]

    def test_of_two_pauses_the_start_takes_the_later_and_the_end_the_earlier(self):
        pauses = [PAUSE, Pause(3.1, 4.0)]
        assert snapped(word(1.6, 2.1), word(2.1, 4.4), pauses=pauses) == [(1.6, 2.0), (4.0, 4.4)]

    def test_a_word_that_lies_within_a_pause_stays(self):
        assert snapped(word(2.2, 2.6), pauses=[PAUSE]) == [(2.2, 2.6)]

    def test_without_pauses_nothing_moves(self):
        assert snapped(word(1.0, 1.5), word(1.5, 2.5)) == [(1.0, 1.5), (1.5, 2.5)]


times = st.integers(0, 400).map(lambda n: n / 100)


@given(st.lists(times, min_size=2, max_size=16), st.lists(times, min_size=2, max_size=10, unique=True), times)
def test_words_stay_in_order_apart_and_no_shorter_than_nothing(edges, pause_edges, until_s):
    edges, pause_edges = sorted(edges), sorted(pause_edges)
    words = [word(*pair) for pair in zip(edges[::2], edges[1::2], strict=False)]
    pauses = [Pause(*pair) for pair in zip(pause_edges[::2], pause_edges[1::2], strict=False)]
    found = snap_words(words, pauses, max(until_s, edges[-1]))
    assert [w.word for w in found] == [w.word for w in words]
    assert all(w.start <= w.end for w in found)
    assert all(before.end <= behind.start for before, behind in pairwise(found))
    assert found[-1].end <= max(until_s, edges[-1])
    for pause in pauses:
        for before, after in zip(words, found, strict=True):
            if not pause.start <= before.start < before.end <= pause.end:  # the words that nothing can be said of
                assert not pause.start <= after.start < pause.end - SHORTEST_WORD_S < pause.end < after.end


def test_a_word_that_takes_no_time_is_given_some_by_one_beside_it():
    assert snapped(word(1.0, 1.0), word(1.0, 1.5)) == [(1.0, 1.04), (1.04, 1.5)]
    assert snapped(word(1.0, 1.5), word(1.5, 1.5)) == [(1.0, 1.46), (1.46, 1.5)]
    assert snapped(word(1.0, 1.02), word(2.0, 2.5)) == [(1.0, 1.04), (2.0, 2.5)]
    assert snapped(word(1.0, 1.0), word(1.0, 1.02)) == [(1.0, 1.0), (1.0, 1.02)]  # neither has any to give


class TestSegments:
    def mel(self):
        """A second of noise, one of silence, one of noise: a window that begins at 10 s."""
        noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.1
        return log_mel_spectrogram(np.concatenate([noise, 1e-4 * noise, noise]))

    def test_words_move_and_segments_with_them(self):
        first, second = segment(word(10.2, 11.3), start=10.0, end=11.5), segment(word(11.3, 12.5), word(12.5, 12.8))
        found = snap([first, second], self.mel(), start_s=10.0, until_s=13.0)
        edges = [(w.start, w.end) for s in found for w in s.words]
        assert edges == [(10.2, pytest.approx(11.0, abs=0.03)), (pytest.approx(12.0, abs=0.03), 12.5), (12.5, 12.8)]
        assert [(s.start, s.end) for s in found] == [(10.2, edges[0][1]), (edges[1][0], 12.8)]
        assert [s.words[0].probability for s in found] == [0.9, 0.9]

    @pytest.mark.parametrize("words", [None, ()])
    def test_segments_without_words_stay_as_they_are(self, words):
        bare = Segment(0, 0, 1.0, 2.0, "", (), 0.0, -0.3, 1.0, 0.0, words=words)
        assert snap([bare], self.mel(), start_s=0.0, until_s=3.0) == [bare]

    def test_nothing_is_nothing(self):
        assert snap([], torch.zeros(80, 0), start_s=0.0, until_s=0.0) == []


def test_in_its_own_mode_no_word_begins_in_the_silence_between_two_sentences(tiny_en, recordings):
    from itertools import chain

    from viska import load_audio, transcribe

    first, second = (load_audio(recordings / f"sense_and_sensibility_0{number}") for number in ("870.wav", "890.flac"))
    pause = np.zeros(round(2.5 * SAMPLE_RATE), dtype=np.float32)
    samples = np.concatenate([first, pause, second])
    silence = Pause(len(first) / SAMPLE_RATE, (len(first) + len(pause)) / SAMPLE_RATE)
    options = {"word_timestamps": True, "temperature": 0.0}
    own, compat = (transcribe(tiny_en, samples, compat=mode, **options) for mode in (None, "openai"))
    assert len(own.words) > 20
    begins = [word.start for word in own.words]
    assert not [begin for begin in begins if silence.start < begin < silence.end - 0.05]
    assert begins != [word.start for word in compat.words]  # there nothing is moved
    segments = chain.from_iterable((one.start, one.end) for one in own.segments)
    assert sorted(segments) == list(chain.from_iterable((one.start, one.end) for one in own.segments))
