"""Words into segments, and text over silence: each rule by itself."""

import pytest

from viska.result import Segment, Word
from viska.timing import WordTiming
from viska.transcription.planner import Window
from viska.transcription.silence import Recording, anomaly, is_anomalous, last_word_end, skip_silence
from viska.transcription.splitter import Split
from viska.transcription.words import Pace, is_squeezed, pace_of, place_words, shorten_at_sentence_ends


def timing(word: str, start: float, end: float, n_tokens: int = 1) -> WordTiming:
    return WordTiming(word, [7] * n_tokens, start, end, 0.9)


def segment(start: float, end: float, *words: Word) -> Segment:
    return Segment(0, 0, start, end, " text", (7,), 0.0, -0.3, 1.0, 0.0, words or None)


def word(start: float, end: float, text: str = " word", probability: float = 0.9) -> Word:
    return Word(text, start, end, probability)


def test_the_pace_is_the_median_of_words_that_take_time_and_not_above_a_limit():
    assert pace_of([timing("a", 0, 0.2), timing("b", 1, 1), timing("c", 2, 2.4)]).median_s == pytest.approx(0.3)
    assert pace_of([timing("a", 0, 5)]) == Pace(0.7, 1.4)
    assert pace_of([timing("a", 1, 1)]) is None
    assert pace_of([]) is None


def test_overlong_words_around_the_end_of_a_sentence_are_shortened():
    alignment = [timing(" so", 0, 0.3), timing(".", 0.3, 5), timing(" And", 5, 9), timing(" then", 9, 13)]
    shorten_at_sentence_ends(alignment, Pace(0.3, 0.6))
    assert [(t.start, pytest.approx(t.end)) for t in alignment] == [
        (0, 0.3),
        (0.3, 0.9),
        (pytest.approx(8.4), 9),
        (9, 13),
    ]


PACE = Pace(0.3, 0.6)


def place(segments, alignment, pace=PACE, *, offset_s=0.0, last_speech_s=0.0):
    n_tokens = [sum(len(t.tokens) for t in alignment)] if len(segments) == 1 else [1] * len(segments)
    return place_words(segments, n_tokens, alignment, pace, offset_s=offset_s, last_speech_s=last_speech_s)


def times(placed: Segment):
    return [(w.start, w.end) for w in placed.words]


def test_words_are_given_to_segments_by_their_tokens_at_absolute_times():
    alignment = [timing(" a", 0.0, 0.25), timing(" b", 0.25, 0.5), timing("", 0.5, 0.6, 0), timing(" c", 0.6, 0.9)]
    segments = [segment(100, 101), segment(101, 102)]
    placed = place_words(segments, [2, 1], alignment, Pace(0.3, 0.6), offset_s=100, last_speech_s=100)
    assert [[w.word for w in s.words] for s in placed] == [[" a", " b"], [" c"]]
    assert times(placed[0]) == [(100.0, 100.25), (100.25, 100.5)]
    assert (placed[0].start, placed[0].end, placed[1].start) == (100.0, 100.5, 100.6)


def test_a_segment_without_words_has_an_empty_list():
    assert place_words([segment(0, 1)], [0], [], None, offset_s=0, last_speech_s=0)[0].words == ()


def test_a_first_word_stretched_over_a_pause_is_shortened():
    placed = place([segment(0, 5)], [timing(" so", 0.0, 4.0), timing(" it", 4.0, 4.3)])
    assert times(placed[0]) == [(pytest.approx(3.4), 4.0), (4.0, 4.3)]
    assert placed[0].start == pytest.approx(3.4)


def test_without_a_pause_before_it_a_first_word_keeps_its_length():
    placed = place([segment(9, 15)], [timing(" so", 10.0, 11.0), timing(" it", 11.0, 11.3)], last_speech_s=10.0)
    assert times(placed[0])[0] == (10.0, 11.0)


def test_a_second_word_stretched_over_a_pause_gives_way_too():
    placed = place([segment(19, 25)], [timing(" so", 20.0, 20.2), timing(" it", 20.2, 23.0)], last_speech_s=10.0)
    assert times(placed[0]) == [(pytest.approx(21.8), pytest.approx(22.4)), (pytest.approx(22.4), 23.0)]


def test_a_segments_start_is_believed_over_a_word_that_begins_long_before_it():
    placed = place([segment(3.0, 5)], [timing(" so", 1.0, 3.2), timing(" it", 3.2, 3.5)], Pace(0.7, 9.0))
    assert times(placed[0])[0] == (pytest.approx(2.5), 3.2)
    assert placed[0].start == 3.0


def test_a_segments_end_is_believed_over_a_word_that_ends_long_after_it():
    placed = place([segment(0.0, 2.0)], [timing(" so", 0.0, 0.3), timing(" it", 1.5, 3.5)], Pace(0.3, 9.0))
    assert times(placed[0])[1] == (1.5, 2.0)
    assert placed[0].end == 2.0


def test_otherwise_a_segment_takes_the_times_of_its_words():
    placed = place([segment(0.0, 2.0)], [timing(" so", 0.2, 0.4), timing(" it", 1.5, 2.3)], Pace(0.3, 9.0))
    assert (placed[0].start, placed[0].end) == (0.2, 2.3)


# Text over silence


@pytest.mark.parametrize(
    ("odd", "score"),
    [
        (word(0, 0.5), 0.0),
        (word(0, 0.5, probability=0.1), 1.0),
        (word(0, 0.033), 1.5),
        (word(0, 3.5), 1.5),
        (word(0, 3.5, probability=0.1), 2.5),
    ],
)
def test_improbable_short_and_long_words_are_odd(odd, score):
    assert anomaly(odd) == pytest.approx(score)


def test_a_segment_is_anomalous_when_three_of_its_first_words_are_or_all():
    good, odd = word(0, 0.5), word(0, 0.5, probability=0.1)
    assert is_anomalous(segment(0, 1, good, odd, odd, odd))
    assert not is_anomalous(segment(0, 1, good, odd, odd))
    assert is_anomalous(segment(0, 1, odd))
    assert is_anomalous(segment(0, 1, odd, word(0, 0.5, ".")))  # marks do not count
    assert not is_anomalous(segment(0, 1, *[good] * 8, odd, odd, odd))  # only the first eight do
    assert not is_anomalous(segment(0, 1))
    assert not is_anomalous(None)


def test_the_last_word_ends_where_it_ends():
    assert last_word_end([]) is None
    assert last_word_end([segment(0, 5)]) == 5
    assert last_word_end([segment(0, 5, word(1, 2)), segment(5, 9)]) == 2


WINDOW = Window(1000, 3000, ())  # 10 to 40 s
GOOD = word(20, 20.5)


def skip(*segments: Segment, ends_closed: bool = True, last_speech_s: float = 9.0, n_frames: int = 9000):
    found = Split(tuple(segments), 3000, ends_closed)
    found, decided = skip_silence(found, WINDOW, Recording(n_frames, last_speech_s), 2.0)
    return found.segments, found.consumed, decided


def odd(start: float, end: float) -> Segment:
    return segment(start, end, word(start, end, probability=0.05))


def test_sound_text_stays():
    spoken = segment(12, 20.5, GOOD)
    assert skip(spoken) == ((spoken,), 3000, True)


def test_a_silent_rest_of_the_window_is_heard_again_only_if_it_is_long():
    assert skip(segment(12, 20.5, GOOD), ends_closed=False)[1] == 1050
    late = segment(12, 39, word(38, 39))
    assert skip(late, ends_closed=False)[1] == 3000


def test_odd_text_behind_silence_is_heard_again_without_the_silence():
    assert skip(odd(15, 16)) == ((), 500, False)


def test_odd_text_between_silences_is_cut_off_with_what_follows():
    spoken, made_up = segment(10.5, 20.5, GOOD), odd(25, 26)
    segments, consumed, decided = skip(spoken, made_up, segment(35, 36, word(35, 36)))
    assert (segments, consumed, decided) == ((spoken,), 1500, True)


def test_odd_text_close_to_speech_stays():
    spoken, quick = segment(10.5, 20.5, GOOD), odd(21, 22)
    following = segment(22, 24, word(22.5, 23))
    assert skip(spoken, quick, following)[0] == (spoken, quick, following)


def test_odd_text_at_the_end_of_the_recording_ends_it():
    spoken, made_up = segment(10.5, 20.5, GOOD), odd(25, 26)
    segments, consumed, _ = skip(spoken, made_up, n_frames=2700)
    assert (segments, consumed) == ((spoken,), 1700)


def test_words_without_time_at_the_end_are_squeezed():
    def timings(*times: tuple[float, float]) -> list[WordTiming]:
        return [WordTiming(" so", [1], start, end, 0.9) for start, end in times]

    assert is_squeezed(timings((0, 1), (1, 1), (1, 1)))
    assert not is_squeezed(timings((0, 1), (1, 1)))
    assert not is_squeezed(timings((1, 1), (1, 1), (1, 2)))
    assert not is_squeezed(timings((1, 1)))
    assert not is_squeezed([])
