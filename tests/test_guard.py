"""The guard: what it drops, decodes again and finds, judged by evidence alone."""

import threading
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from benchmarks.joined import hear, join, usable
from hypothesis import given
from hypothesis import strategies as st

import viska
from made_up import MULTILINGUAL, made_up_model
from viska.decoding import DecodingResult
from viska.decoding.loops import COPIES, LEAST_TOKENS, ends_in_loop, find_loops
from viska.engine import Heard
from viska.result import Segment, Word
from viska.timing import WordTiming
from viska.tokenizer import get_tokenizer
from viska.transcription.fallback import Thresholds, best_of_failures, decode_with_fallback
from viska.transcription.guard import (
    LEAST_ADVANCE_S,
    Evidence,
    apart,
    at_its_speech,
    is_echo,
    is_speechless,
    is_thin,
    judge,
    leaves_words_out,
    may_hide_speech,
    silent_s,
    uncovered,
)
from viska.transcription.loops import is_looping, without_loops
from viska.transcription.options import transcribe_options
from viska.transcription.passage import Passage
from viska.transcription.planner import PromptHistory, Window
from viska.transcription.speech import SpeechTrack, speech_track
from viska.transcription.stretch import Stretch
from viska.vad import VoiceActivity

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
BEGIN = TOKENIZER.timestamp_begin


def track(*spoken: tuple[float, float], length_s: float = 30.0) -> SpeechTrack:
    """A stretch in which somebody speaks at these times."""
    probabilities = np.full(round(length_s * 100), 0.02, dtype=np.float32)
    for start, end in spoken:
        probabilities[round(start * 100) : round(end * 100)] = 0.99
    return SpeechTrack(probabilities)


def half_speech(start: float, end: float) -> SpeechTrack:
    """A stretch in which voice activity takes a sound for speech, and is not certain of it."""
    probabilities = track().probabilities.copy()
    probabilities[round(start * 100) : round(end * 100)] = 0.9
    return SpeechTrack(probabilities)


def segment(start: float, end: float, text: str = " Good morning.", **known: float) -> Segment:
    facts = {"temperature": 0.0, "avg_logprob": -0.4, "compression_ratio": 1.2, "no_speech_prob": 0.3, **known}
    return Segment(id=0, seek=0, start=start, end=end, text=text, tokens=(), **facts)


def result_of(tokens: list[int], **known: float) -> DecodingResult:
    facts = {"avg_logprob": -0.3, "no_speech_prob": 0.1, "compression_ratio": 1.2, "temperature": 0.0, **known}
    text = TOKENIZER.decode(tokens).strip()
    return DecodingResult(audio_features=torch.empty(0), language="en", tokens=tokens, text=text, **facts)


# Loops


@given(st.lists(st.integers(0, 50), max_size=30), st.lists(st.integers(51, 99), min_size=1, max_size=20, unique=True))
def test_a_run_said_over_and_over_is_found_where_it_is(before, run):
    copies = max(COPIES, -(-LEAST_TOKENS // len(run)))
    text = before + run * copies
    assert ends_in_loop(text)
    (loop,) = [loop for loop in find_loops(text) if loop.start >= len(before)]
    assert (loop.start, loop.end, loop.length) == (len(before), len(text), len(run))
    assert not ends_in_loop([*text, 100])  # left again
    assert find_loops([*text, 100])[-1] == loop


@given(st.lists(st.integers(0, 3), max_size=120))
def test_what_ends_in_a_loop_has_one_at_its_end(text):
    loops = find_loops(text)
    assert all(loop.end <= following.start for loop, following in pairwise(loops))
    if ends_in_loop(text):
        assert loops
    for loop in loops:
        period = text[loop.start : loop.start + loop.length]
        assert text[loop.start : loop.end] == (period * (loop.end - loop.start))[: loop.end - loop.start]


def test_speech_that_repeats_itself_is_no_loop():
    assert not find_loops(TOKENIZER.encode(" No, no, no, no, no."))
    assert not find_loops(TOKENIZER.encode(" It's a hit. It's a hit. It's a hit."))
    assert not find_loops([])


A, B = TOKENIZER.encode(" I'm going to say it again."), TOKENIZER.encode(" And now what?")


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        ([at(0), *A * 4, at(20)], [at(0), *A, at(20)]),
        ([at(0), *A * 5], [at(0), *A]),
        ([at(0), *A, at(4), at(5), *A, at(9), at(9), *A, at(13), at(14), *A, at(18)], [at(0), *A, at(4)]),
        ([at(0), *A, at(4), at(5), *A, at(9), at(9), *A, *A], [at(0), *A, at(4)]),
        ([at(0), *A * 2, at(8), at(8), *A * 2, at(16)], [at(0), *A, at(8)]),
        ([at(0), *A, at(4), at(5), *A * 2, at(9), at(9), *A, *B, at(20)], [at(0), *A, at(4), at(9), *B, at(20)]),
        ([at(0), *A * 2, at(8), at(9), *A * 2, *B, at(20)], [at(0), *A, at(8), at(9), *B, at(20)]),
        ([at(0), *B, *A * 4, *B, at(20)], [at(0), *B, *A, *B, at(20)]),
    ],
)
def test_one_copy_of_a_loop_is_kept_and_claims_no_time_but_its_own(tokens, kept):
    given_result = result_of(tokens)
    assert is_looping(given_result, TOKENIZER)
    cut, surplus = without_loops(given_result, TOKENIZER)
    assert cut.tokens == kept
    assert cut.text == TOKENIZER.decode(kept).strip()
    assert set(surplus.split(" I'm going to say it again.")) == {""}
    assert not is_looping(cut, TOKENIZER)


def test_log_probabilities_follow_the_tokens_that_are_kept():
    phrase = TOKENIZER.encode(" again and again and")[:3]
    tokens = [BEGIN, *phrase * 10, BEGIN + 10]
    logprobs = tuple(float(i) for i in range(len(tokens)))
    given_result = DecodingResult(torch.empty(0), "en", tokens=tokens, token_logprobs=logprobs, compression_ratio=3.0)
    cut, _ = without_loops(given_result, TOKENIZER)
    assert cut.token_logprobs == (0.0, 1.0, 2.0, 3.0, logprobs[-1])
    sound = result_of([BEGIN, *phrase, BEGIN + 10])
    assert without_loops(sound, TOKENIZER) == (sound, "")


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        (" No problem. Okay, no problem, no problem, no problem.", " No problem. Okay, no problem,"),
        (" Hey, we were... We were. We were going, we were.", " Hey, we were... going, we were."),
        (" Été comme hiver. Été comme hiver! Été comme hiver.", " Été comme hiver."),
        ("ご視聴いただきありがとうございました。" * 3, "ご視聴いただきありがとうございました。"),
        (" No, no, no. That was a hit. That was a hit.", None),
        ("", None),
    ],
)
def test_of_repeats_one_copy_is_kept_where_that_is_asked_for(tokens, kept):
    """Whatever their marks, and only then: three times may be meant so."""
    given_result = result_of([at(0), *TOKENIZER.encode(tokens), at(9)])
    assert without_loops(given_result, TOKENIZER) == (given_result, "")
    cut, surplus = without_loops(given_result, TOKENIZER, repeats=True)
    assert cut.text == (tokens if kept is None else kept).strip()
    assert bool(surplus) == (kept is not None)
    assert (cut.tokens[0], cut.tokens[-1]) == (at(0), at(9))


@given(st.lists(st.sampled_from([" go", " Go", ",", ".", " on", "...", " and"]), max_size=60))
def test_no_loop_outlives_the_removal_of_repeats(pieces):
    tokens = [token for piece in pieces for token in TOKENIZER.encode(piece)]
    cut, _ = without_loops(result_of(tokens), TOKENIZER, repeats=True)
    assert not is_looping(cut, TOKENIZER)
    assert len(cut.tokens) <= len(tokens)


# Nothing invented


def test_text_without_speech_is_dropped_and_text_with_speech_kept():
    heard, made_up = segment(2, 5), segment(20, 22, " Thank you.")
    verdict = judge(Evidence((heard, made_up), track((2, 5)), 0, 30))
    assert verdict.kept == (heard,)
    assert verdict.dropped == (made_up,)


def test_times_that_are_a_little_off_are_forgiven():
    assert judge(Evidence((segment(2, 3),), track((3.2, 4)), 0, 30)).dropped == ()
    assert judge(Evidence((segment(2, 3),), track((3.9, 5)), 0, 30)).dropped != ()


def test_a_model_that_is_very_sure_is_believed_where_speech_is_half_heard():
    half_heard = SpeechTrack(np.full(3000, 0.3, dtype=np.float32))
    sure = segment(2, 5, avg_logprob=-0.1, no_speech_prob=0.01)
    assert judge(Evidence((sure,), half_heard, 0, 30)).kept == (sure,)
    assert judge(Evidence((sure,), track(), 0, 30)).dropped == (sure,)  # nothing at all is heard
    for doubt in ({"avg_logprob": -0.5}, {"no_speech_prob": 0.5}):
        unsure = segment(2, 5, **{"avg_logprob": -0.1, "no_speech_prob": 0.01, **doubt})
        assert judge(Evidence((unsure,), half_heard, 0, 30)).dropped == (unsure,)


@pytest.mark.parametrize("text", [" What he said about it was that it was too late.", " यह सब बहुत देर से हुआ।"])
def test_more_text_needs_more_speech(text):
    assert judge(Evidence((segment(2, 9, text),), track((4, 4.3)), 0, 30)).dropped != ()
    assert judge(Evidence((segment(2, 9, text),), track((4, 6)), 0, 30)).dropped == ()
    assert judge(Evidence((segment(2, 9, " Yes."),), track((4, 4.3)), 0, 30)).dropped == ()


def test_doubtful_text_needs_speech_for_most_of_its_time():
    for avg_logprob, dropped in ((-1.4, True), (-0.9, False)):
        verdict = judge(Evidence((segment(0, 6, avg_logprob=avg_logprob),), track((1, 1.5)), 0, 30))
        assert bool(verdict.dropped) == dropped
    assert judge(Evidence((segment(0, 6, avg_logprob=-1.4),), track((1, 5)), 0, 30)).dropped == ()


def test_a_lone_word_is_believed_however_much_silence_it_claims():
    heard = track((15.2, 15.84))
    assert judge(Evidence((segment(0, 15.84, " Stop.", avg_logprob=-1.08),), heard, 0, 30)).dropped == ()
    assert judge(Evidence((segment(0, 15.84, " I'm going to stop.", avg_logprob=-1.08),), heard, 0, 30)).dropped != ()


def test_sounds_here_and_there_do_not_make_a_doubtful_word():
    heard = track((0.5, 0.7), (1.2, 1.4), (4.2, 4.3))
    assert judge(Evidence((segment(0, 6, " Music", avg_logprob=-1.35),), heard, 0, 30)).dropped != ()
    assert judge(Evidence((segment(0, 6, " ."),), heard, 0, 30)).dropped != ()
    assert judge(Evidence((segment(0, 6, " M."),), heard, 0, 30)).dropped == ()


def guess(*words: tuple[str, float]) -> Segment:
    said = tuple(Word(text, 1 + number, 2 + number, 0.1, sure) for number, (text, sure) in enumerate(words))
    return replace(segment(1, 1 + len(words), "".join(word.word for word in said)), words=said)


def test_a_guess_at_a_sound_that_is_half_speech_is_dropped():
    growl, murmur = half_speech(1, 2.5), half_speech(1, 5)
    for made_up in (guess((" Oh", 0.1)), guess((" No,", 0.03), (" no,", 0.8), (" no,", 0.9), (" No!", 0.95))):
        assert judge(Evidence((made_up,), growl, 0, 30)).dropped == (made_up,)
        assert judge(Evidence((made_up,), track((1, 5)), 0, 30)).dropped == ()  # somebody speaks
    mumbled = guess((" Mae", 0.1), (" na", 0.1), (" amdem", 0.1))
    assert judge(Evidence((mumbled,), murmur, 0, 30)).dropped == ()
    for believed in (guess((" Oh", 0.5)), guess((" Oh", 0.1), (" my!", 0.8)), segment(1, 2, " Oh")):
        assert judge(Evidence((believed,), growl, 0, 30)).dropped == ()


def test_speech_before_a_window_stands_under_none_of_its_text():
    rest = segment(16, 26, " I'm going over to the other side.")
    heard = track((14.5, 16.02))
    assert judge(Evidence((rest,), heard, 10, 30)).dropped == ()
    assert judge(Evidence((rest,), heard, 16, 30)).dropped == (rest,)


def test_text_is_thin_where_far_more_is_said():
    heard = track((1, 3), (4, 6), (7, 9), (9.4, 9.7))
    assert is_thin(segment(0, 10, " Tell me about Spain."), heard)
    assert not is_thin(segment(0, 10, " Tell me about Spain, tell me about Spain, tell me about Spain."), heard)
    assert not is_thin(segment(0, 10, " 12, 34, 56, 78, 90, 123, 4"), heard)  # as many words
    assert not is_thin(segment(0, 1.9, " Eh"), heard)
    assert not is_thin(segment(0, 10, " "), heard)
    assert apart(segment(0, 10), heard) == [(0.7, 3.3), (3.7, 6.3), (6.7, pytest.approx(9.2))]
    assert apart(segment(0, 3.4), heard) == []


def test_speech_at_an_edge_may_be_hidden_where_the_rest_is_enough_for_the_text():
    text = " When it is not a lobster at all, but a crayfish."  # 48 bytes, 2.2 s at a brisk pace
    assert may_hide_speech(segment(0, 10, text), track((1, 4), (5, 6)))
    assert may_hide_speech(segment(0, 10, text), track((1, 2), (3, 4), (5, 6.5)))
    assert not may_hide_speech(segment(0, 10, text), track((1, 2.5), (5, 6)))  # both are needed
    assert not may_hide_speech(segment(0, 10, text), track((1, 4), (5, 5.5)))  # too short to be a sentence
    assert not may_hide_speech(segment(0, 10, text), track((1, 6)))  # no pause
    assert not may_hide_speech(segment(0, 10, text), track())
    assert not may_hide_speech(segment(0, 10, " "), track((1, 4), (5, 6)))


def test_a_segment_claims_no_more_than_a_second_of_silence():
    heard = track((10, 12), (13, 14))
    told = at_its_speech(segment(0, 20), heard)
    assert (told.start, told.end) == (9.5, 14.5)
    for near in (segment(8.7, 15.4), segment(10.5, 13.9), segment(20, 28)):
        assert at_its_speech(near, heard) == near


def test_a_moment_before_a_join_is_all_the_silence_that_was_left_out_there():
    heard = track((2, 6.7), (7.4, 13))
    near = segment(7.0, 13.5)
    assert at_its_speech(near, heard) == near
    told = at_its_speech(near, heard, (7.2,))
    assert (told.start, told.end) == (7.2, 13.5)
    told = at_its_speech(segment(1.8, 7.3), heard, (7.2,))
    assert (told.start, told.end) == (1.8, 7.2)
    whole = segment(1.8, 13.5)
    assert at_its_speech(whole, heard, (7.2,)) == whole  # it speaks on both sides
    rest = at_its_speech(segment(6.6, 13.5), heard, (7.2,))  # the last word before it is another's
    assert (rest.start, rest.end) == (7.2, 13.5)
    assert at_its_speech(near, heard, (1.0, 7.0, 14.0)) == near


def test_a_segment_claims_nothing_of_what_is_said_beside_it():
    heard = track((8, 10.4), (15, 17), (22, 24))
    told = at_its_speech(segment(10, 22.5), heard)
    assert (told.start, told.end) == (14.5, 17.5)
    long = segment(10, 22.5, " He said that it was good, and that it was not as late as that.")  # all of it is needed
    assert at_its_speech(long, heard) == long
    alone = at_its_speech(segment(10, 14), heard)
    assert (alone.start, alone.end) == (10, 10.9)  # there is no other speech
    assert at_its_speech(segment(7, 22.5), heard).start == 7


def test_blank_segments_are_no_matter():
    blank = segment(2, 5, "")
    verdict = judge(Evidence((blank,), track(), 0, 30))
    assert verdict.kept == (blank,)
    assert verdict.dropped == ()


def test_in_a_window_without_speech_improbable_text_is_not_decoded_again():
    assert is_speechless(track((5, 6), length_s=90), Window(3000, 3000, ()))
    assert not is_speechless(track((5, 6)), Window(0, 3000, ()))
    doubtful = result_of([], avg_logprob=-3.0)
    attempts = decode_with_fallback(["first", "second"], Thresholds(2.4, -1.0, 0.6, speechless=True))
    assert next(attempts) == "first"
    with pytest.raises(StopIteration) as stop:
        attempts.send(doubtful)
    assert stop.value.value is doubtful


def test_a_loop_is_a_failed_attempt_and_the_last_to_be_chosen():
    phrase = TOKENIZER.encode(" round and round we go")
    loop, plain = result_of(phrase * 6, avg_logprob=-0.1), result_of(phrase, avg_logprob=-0.9)
    thresholds = Thresholds(None, None, None, looping=lambda result: is_looping(result, TOKENIZER))
    assert thresholds.failed(loop)
    assert not thresholds.failed(plain)
    assert best_of_failures([loop, plain], thresholds) is plain


# Nothing taken from the prompt

PROMPT = " And so, my fellow Americans, ask not what your country can do for you."


def test_text_of_the_prompt_is_known_whatever_its_marks():
    assert is_echo(" my fellow americans ask not what your country can do", PROMPT)
    assert is_echo(PROMPT.upper(), PROMPT)
    assert is_echo(" And my fellow Americans ask what your country can do", PROMPT)  # a copy with faults
    assert not is_echo(" ask what you can do for your country, my fellow Americans", PROMPT)
    assert not is_echo(" ask not", PROMPT)  # too short to be more than chance
    assert not is_echo(PROMPT, "")


def test_a_window_that_says_its_prompt_is_to_be_decoded_again():
    said = segment(0, 5, PROMPT)
    assert judge(Evidence((said,), track((0, 5)), 0, 30, PROMPT)).echo
    assert judge(Evidence((said, segment(5, 9, " But this is new.")), track((0, 9)), 0, 30, PROMPT)).echo
    assert not judge(Evidence((said,), track((0, 5)), 0, 30, " Something else.")).echo


# Nothing lost


def test_speech_that_no_segment_covers_is_found():
    speech = track((0, 5), (10, 14), (20, 20.7), (25, 25.5), (26, 28))
    assert list(uncovered([segment(0, 5)], speech, 0, 30)) == [
        (pytest.approx(9.7), pytest.approx(14.3)),
        (
            pytest.approx(24.7),
            pytest.approx(28.3),
        ),  # a short pause does not part it; two thirds of a second are too little
    ]


def test_a_short_sentence_is_missed_where_pauses_part_it_from_the_text_beside():
    beside = (segment(0, 10), segment(14, 20))
    for spoken, missed in (((11, 12.2), 1), ((10.1, 11.3), 0), ((12.7, 13.9), 0), ((11, 11.7), 0), ((10.1, 12.3), 1)):
        speech = track((0, 9.5), spoken, (14.2, 20))
        assert len(list(uncovered(beside, speech, 0, 20))) == missed, spoken
    sounds = track((0, 9.5), (11, 12.2), (13.9, 20))  # the text behind it begins early
    assert list(uncovered(beside, sounds, 0, 20)) == [(pytest.approx(10.7), pytest.approx(12.5))]


def test_a_segment_that_was_dropped_covers_nothing():
    made_up = segment(9, 9.4, " Thank you.")
    verdict = judge(Evidence((made_up,), track((10, 14)), 0, 20))
    assert verdict.dropped == (made_up,)
    assert verdict.missed == ((pytest.approx(9.7), pytest.approx(14.3)),)


def test_speech_at_the_end_of_a_window_moves_the_next_one():
    verdict = judge(Evidence((segment(0, 18),), track((0, 18), (21, 35), length_s=60), 0, 30))
    assert verdict.missed == ()
    assert verdict.settled_s == pytest.approx(20.7)
    early = judge(Evidence((segment(0, 4),), track((0, 4), (LEAST_ADVANCE_S - 1, 35), length_s=60), 0, 30))
    assert early.settled_s == 30  # a window that hardly moves would be decoded for ever
    assert len(early.missed) == 1


def test_a_word_that_the_end_of_a_window_cuts_is_left_to_the_next():
    goes_on = track((28.8, 34), length_s=60)
    assert judge(Evidence((), goes_on, 0, 30)).settled_s == pytest.approx(28.5)
    assert judge(Evidence((segment(0, 28.4),), goes_on, 0, 30)).settled_s == pytest.approx(28.5)
    for said, heard in (((0, 29), goes_on), ((0, 12), track((28.8, 29.9), length_s=60)), ((0, 29.6), goes_on)):
        assert judge(Evidence((segment(*said),), heard, 0, 30)).settled_s == 30
    assert judge(Evidence((), track((LEAST_ADVANCE_S, 11), length_s=60), 0, 10.5)).settled_s == 10.5


def in_words(*words: tuple[str, float, float], **known: float) -> Segment:
    said = tuple(Word(text, start, end, 0.9) for text, start, end in words)
    text = "".join(word.word for word in said)
    return replace(segment(said[0].start, said[-1].end, text, **known), words=said)


def test_speech_under_the_words_beside_it_is_not_a_segments_own():
    made_up, spoken = in_words((" MUZIEK", 45.9, 46.3)), in_words((" Wat", 46.5, 47), (" nu?", 47, 48))
    heard = track((46.5, 48), length_s=60)
    verdict = judge(Evidence((made_up, spoken), heard, 30, 60))
    assert (verdict.dropped, verdict.kept) == ((made_up,), (spoken,))
    assert judge(Evidence((spoken, replace(made_up, start=48.1, end=48.4)), heard, 30, 60)).dropped != ()
    stamped = replace(made_up, words=None), replace(spoken, words=None)  # whose times are less sure
    assert judge(Evidence(stamped, heard, 30, 60)).dropped == ()


def test_the_length_of_a_text_does_not_depend_on_its_alphabet():
    heard = track((1, 4), (5, 6))
    for text in (
        " When it is not a lobster at all, but a crayfish.",
        " Введите личный номер и нажмите на решетку дважды.",
    ):
        assert may_hide_speech(segment(0, 10, text), heard)
        assert is_thin(segment(0, 10, text[:20]), heard)
    assert not may_hide_speech(segment(0, 10, " 当它根本不是龙虾,而是小龙虾的时候它们都在河里游泳。"), heard)


def test_behind_a_word_with_seconds_of_speech_too_many_words_were_left_out():
    before = in_words((" Good", 2, 3), (" morning.", 3, 4))
    cut = in_words((" Deep", 12, 12.5), (" sighs", 12.5, 20), (" of", 20, 20.1))
    behind = in_words((" Who", 21, 21.5), (" knows?", 21.5, 22))
    speech = track((2, 4), (12, 22))
    verdict = judge(Evidence((before, cut, behind), speech, 0, 30))
    assert verdict.kept == (before,)
    assert verdict.again == (cut, behind)
    assert (verdict.dropped, verdict.missed) == ((), ())
    assert verdict.settled_s == 12  # the next window hears them
    kept = judge(Evidence((before, cut, behind), speech, 3, 30))
    assert (kept.again, kept.kept) == ((), (before, cut, behind))  # which must move
    assert judge(Evidence((before, cut, behind), track((2, 4), (12, 14), (20, 22)), 0, 30)).again == ()  # a pause


def test_where_no_window_follows_all_is_judged():
    cut = in_words((" Deep", 12, 12.5), (" sighs", 12.5, 20))
    invented = segment(25, 28, " Thank you.")
    verdict = judge(Evidence((cut, invented), track((12, 20)), 0, 30, goes_on=False))
    assert (verdict.kept, verdict.dropped, verdict.again) == ((cut,), (invented,), ())


def test_words_that_take_long_to_say_leave_nothing_out():
    for word in (" Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz", " 17.021.785"):
        long = in_words((" Das", 12, 12.5), (word, 12.5, 17.5))
        assert not leaves_words_out(long, track((12, 17.5)))
    assert not leaves_words_out(segment(12, 30), track((12, 30)))


spans = st.lists(st.tuples(st.floats(0, 29), st.floats(0.1, 8)), max_size=8)


@given(spans, spans)
def test_what_is_missed_lies_between_the_segments(said, spoken):
    segments = [segment(start, start + length) for start, length in said]
    speech = track(*((start, start + length) for start, length in spoken))
    missed = list(uncovered(segments, speech, 0, 30))
    for start, end in missed:
        assert 0 <= start < end <= 30
        assert speech.spoken_s(start, end) >= 0.79
        assert all(one.end <= start + 1e-9 or one.start >= end - 1e-9 for one in segments)
    assert all(before[1] <= after[0] for before, after in pairwise(missed))


# Speech along a stretch


def test_voice_activity_is_laid_out_in_frames():
    activity = VoiceActivity(torch.tensor([0.0, 1.0, 0.25]), 3 * 512)
    frames = speech_track(activity, 20).probabilities
    assert frames.dtype == np.float32
    assert frames.tolist() == [0.0] * 4 + [1.0] * 3 + [0.25] * 3 + [0.0] * 10  # 32 ms are 3.2 frames


def test_pieces_are_joined_as_the_log_mel_is():
    speech = track((1, 2))
    joined = speech.joined([(0, 50), (100, 150), (190, 260)])
    assert len(joined.probabilities) == 170
    assert joined.spoken_s(0, 1.7) == pytest.approx(0.6)
    assert list(joined.runs(0, 1.7, pause_s=0.2)) == [(pytest.approx(0.5), pytest.approx(1.1))]


# In a passage: the decoder is scripted


class Deaf:
    """A backend that encodes nothing: what is decoded comes from the test."""

    any_length = False

    def encode(self, _mel):
        return Heard(torch.empty(0))

    def read(self, *_):
        raise AssertionError("there is nothing to read")


@dataclass(frozen=True)
class Blank:
    """The log-mel of a recording in which nothing is to be seen."""

    n_frames: int

    def frames(self, first, last):
        return torch.zeros(80, last - first)


def said(start: float, end: float, text: str) -> list[int]:
    return [BEGIN + round(start * 50), *TOKENIZER.encode(text), BEGIN + round(end * 50)]


@pytest.fixture(scope="module")
def model():
    return made_up_model(MULTILINGUAL)


DOUBT = Passage._is_doubtful


@pytest.fixture
def passage(model, monkeypatch):
    """Makes a passage whose texts, which are short, have no words that could be looked at."""
    monkeypatch.setattr(Passage, "_is_doubtful", lambda *_: False)

    def make(speech: SpeechTrack | None, n_frames: int = 3000, initial: str = "", **options) -> Passage:
        stretch = Stretch(Blank(n_frames), ((0, n_frames),), ((0, n_frames),), speech=speech)
        history = PromptHistory(TOKENIZER.encode(initial) if initial else (), room=223)
        options = transcribe_options({"temperature": 0.0, **options})
        made = Passage(model, Deaf(), options, stretch, history, threading.Event())
        made.speak("en")
        return made

    return make


def work(passage: Passage, *results: DecodingResult) -> list[str]:
    """Answer what the passage asks for; the prompts that it gave."""
    steps = passage.steps()
    attempt, prompts = next(steps), []
    for i, result in enumerate(results):
        prompts.append(TOKENIZER.decode(attempt.options.prompt or []))
        assert attempt.stop_loops == (passage.stretch.speech is not None)
        try:
            attempt = steps.send(result)
        except StopIteration:
            assert i == len(results) - 1, "the passage asked for less"
            return prompts
    raise AssertionError("the passage asks for more")


def events(passage: Passage) -> list[tuple]:
    return [(event.start, event.end, event.action, event.reason, event.text) for event in passage.events]


def test_a_window_in_which_nothing_is_heard_is_not_decoded(passage):
    job = passage(track((61, 64), length_s=90), 9000)
    steps = job.steps()
    next(steps)
    assert job.position_s == 60
    with pytest.raises(StopIteration):
        steps.send(result_of(said(1, 4, " Hello there.")))
    assert [one.text for one in job.decided] == [" Hello there."]


def test_a_window_begins_behind_silence(passage):
    job = passage(track((20, 23), (24, 31), length_s=90), 9000)
    steps = job.steps()
    next(steps)
    assert job.position_s == 19.7
    with pytest.raises(StopIteration):
        steps.send(result_of([*said(0.3, 3.4, " Hello there."), *said(4.4, 11.4, " Come in, and sit down.")]))
    assert [(round(one.start, 2), round(one.end, 2)) for one in job.decided] == [(20.0, 23.1), (24.1, 31.1)]


@pytest.mark.parametrize(
    ("begins", "quiet_s"), [(0.0, 0.0), (2.2, 0.0), (2.3, 2.0), (12.34, 12.04), (29.9, 29.6), (30.0, 30.0), (41, 30.0)]
)
def test_silence_at_the_beginning_of_a_window_is_left_out_where_it_is_long(begins, quiet_s):
    heard = track((10 + begins, 10 + begins + 5), length_s=60)
    assert silent_s(heard, Window(1000, 3000, ())) == pytest.approx(quiet_s)


def test_silence_is_where_no_text_could_be_believed():
    faint = SpeechTrack(np.full(3000, 0.2, dtype=np.float32))
    assert silent_s(faint, Window(0, 3000, ())) == 0


def test_made_up_text_is_neither_kept_nor_built_upon(passage):
    job = passage(track((1, 4), (31, 31.05), length_s=60), 6000)
    first = result_of([*said(0, 5, " Hello there."), *said(20, 30, " Thank you.")], avg_logprob=-0.6)
    prompts = work(job, first, result_of(said(0, 30, " Bye."), avg_logprob=-0.6))
    assert [one.text for one in job.decided] == [" Hello there."]
    assert events(job) == [
        (20.0, 30.0, "dropped", "no speech", "Thank you."),
        (30.0, 60.0, "dropped", "no speech", "Bye."),
    ]
    assert prompts == ["", " Hello there."]


def test_what_happens_behind_the_end_of_a_recording_is_told_at_its_end(passage):
    job = passage(track((0, 5), length_s=20), 2000)
    work(job, result_of([*said(0, 5, " One."), *said(24, 28, " Thank you.")], avg_logprob=-0.6))
    assert events(job) == [(20.0, 20.0, "dropped", "no speech", "Thank you.")]


def test_words_that_were_left_out_are_heard_in_the_next_window(passage, monkeypatch):
    def one_word(_self, found, _window):
        segments = [replace(one, words=(Word(one.text, one.start, one.end, 0.9, 0.9),)) for one in found.segments]
        return replace(found, segments=tuple(segments)), True

    monkeypatch.setattr(Passage, "_with_words", one_word)
    job = passage(track((0, 5), (12, 30)), word_timestamps=True)
    whole = " Deep sighs, and lamentations without a voice, were what he heard there, and none of them knew why."
    before = " One two three four five six seven eight nine ten."
    prompts = work(job, result_of([*said(0, 5, before), *said(12, 30, " Deep")]), result_of(said(0, 18, whole)))
    assert [(one.start, one.text) for one in job.decided] == [(0.0, before), (12.0, whole)]
    assert prompts == ["", before]
    assert events(job) == [(12.0, 30.0, "decoded again", "speech without text", "Deep")]


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_words_tell_of_a_sound_that_is_half_speech(passage, monkeypatch, task):
    def hardly(_self, found, _window):
        rated = [replace(one, words=(Word(one.text, one.start, one.end, 0.02, 0.1),)) for one in found.segments]
        return replace(found, segments=tuple(rated)), True

    monkeypatch.setattr(Passage, "_with_words", hardly)
    job = passage(half_speech(1, 1.5), task=task)
    monkeypatch.setattr(Passage, "_is_doubtful", DOUBT)
    work(job, result_of(said(0, 2, " Oh")))
    if task == "translate":
        assert [one.text for one in job.decided] == [" Oh"]
        return
    assert [one.text for one in job.decided] == []
    assert events(job) == [(0.0, 2.0, "dropped", "no speech", "Oh")]


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_speech_that_a_segment_hides_is_found_by_the_times_of_its_words(passage, monkeypatch, task):
    def until_three(_self, found, _window):
        words = [(Word(one.text, one.start, min(one.end, one.start + 3), 0.9, 0.9),) for one in found.segments]
        timed = [replace(one, end=own[0].end, words=own) for one, own in zip(found.segments, words, strict=True)]
        return replace(found, segments=tuple(timed)), True

    monkeypatch.setattr(Passage, "_with_words", until_three)
    hiding, plain = " When it is not a lobster at all, but a crayfish.", " They are under review, all of them."
    hidden = " Turn off the light."
    window = result_of([*said(0, 7, hiding), *said(10, 13, plain)])
    job = passage(track((0, 3), (4.5, 6), (10, 12)), task=task)
    monkeypatch.setattr(Passage, "_is_doubtful", DOUBT)
    if task == "translate":  # whose words have no time of their own
        work(job, window)
        assert [(one.text, one.words) for one in job.decided] == [(hiding, None), (plain, None)]
        return
    work(job, window, result_of(said(0.2, 1.8, hidden), avg_logprob=-0.3))
    assert [one.text for one in job.decided] == [hiding, hidden, plain]
    assert [one.words for one in job.decided] == [None] * 3
    assert job.decided[0].end <= 3.5
    assert [event[2:] for event in events(job)] == [("recovered", "speech without text", hidden.strip())]


A_SOUND = (1.0, 1.05)  # for which the window begins where it does


def test_words_said_behind_the_time_of_their_segment_are_looked_for_there(passage, monkeypatch):
    text = " Turn off the light in the hall."
    words = [" Turn", " off", " the", " light", " in", " the", " hall."]
    reached = []

    def aligned(_read, _tokenizer, _text, n_frames, **_):
        reached.append(n_frames)
        ends = [min(3.5 + 0.5 * number, n_frames / 100) for number in range(1, 8)]
        times = zip([3.5, *ends], ends, strict=False)
        return [WordTiming(word, [7], *time, 0.9, (0.9,)) for word, time in zip(words, times, strict=True)]

    monkeypatch.setattr("viska.transcription.passage.align", aligned)
    monkeypatch.setattr("viska.transcription.passage.text_tokens", lambda tokens, _: [7] * (7 if tokens else 0))
    job = passage(track(A_SOUND, (3.5, 7), (9, 10)), n_frames=6000, word_timestamps=True)
    steps = job.steps()
    next(steps)
    window = result_of([*said(3, 5, text), BEGIN + 250, *TOKENIZER.encode(" Then")])
    steps.send(window)
    assert reached == [500, 800]
    (segment,) = job.decided
    assert [word.end for word in segment.words[-2:]] == [6.5, 7]
    assert job.planner.seek == 700  # the next window does not hear them again

    reached.clear()
    paused = passage(track(A_SOUND, (3.5, 4.8), (5.4, 7)), n_frames=6000, word_timestamps=True)
    steps = paused.steps()
    next(steps)
    steps.send(window)
    assert reached == [500]


def test_lost_speech_is_decoded_again_and_takes_its_place(passage):
    job = passage(track((0, 5), (10, 14), (20, 25)))
    window = result_of([*said(0, 5, " One."), *said(20, 25, " Three.")])
    gap = result_of(said(0.2, 4.2, " Two."))
    assert work(job, window, gap) == ["", ""]
    assert [(one.start, one.end, one.text) for one in job.decided] == [
        (0.0, 5.0, " One."),
        (9.7, pytest.approx(13.9), " Two."),
        (20.0, 25.0, " Three."),
    ]
    assert events(job) == [(9.7, 14.3, "recovered", "speech without text", "Two.")]


def test_lost_speech_that_is_found_ends_where_it_was_looked_for(passage):
    job = passage(track((0, 5), (10, 14), (15, 25)))
    work(job, result_of([*said(0, 5, " One."), *said(15, 25, " Three.")]), result_of(said(0.2, 29, " Two.")))
    assert [(one.start, one.end) for one in job.decided] == [(0, 5), (9.7, pytest.approx(14.3)), (15, 25)]


@pytest.mark.parametrize(
    "found",
    [
        result_of(said(0, 4, " Nonsense."), avg_logprob=-1.5),
        result_of([], avg_logprob=-0.2),
        result_of(said(0, 4, " One, that is a sentence.")),  # what stands beside it already
        result_of(TOKENIZER.encode(" round and round we go") * 8, compression_ratio=5.0),
    ],
)
def test_lost_speech_without_sound_text_is_told_and_left(passage, found):
    job = passage(track((0, 5), (10, 14)))
    work(job, result_of(said(0, 5, " One, that is a sentence.")), found)
    assert [one.text for one in job.decided] == [" One, that is a sentence."]
    assert [event.action for event in job.events][-1] == "left"


def test_what_is_said_again_and_again_is_heard_one_by_one(passage):
    heard = track((1, 3), (4, 6), (7, 9), (20, 25))
    other = said(20, 25, " A long sentence that stands behind it all.")
    window = result_of([*said(0, 10, " Wait here."), *other])
    once = result_of(said(0.2, 2.2, " Wait here."), avg_logprob=-0.2)
    job = passage(heard)
    assert work(job, window, once, result_of([], avg_logprob=-1.5), once) == [""] * 4
    assert [(one.start, one.text) for one in job.decided] == [
        (pytest.approx(0.7), " Wait here."),
        (pytest.approx(6.7), " Wait here."),
        (20, " A long sentence that stands behind it all."),
    ]
    reason = "too little text for its speech"
    assert [event[2:4] for event in events(job)] == [("recovered", reason), ("left", reason), ("recovered", reason)]
    less = result_of(said(0.2, 2.2, " Wait."), avg_logprob=-0.2)
    job = passage(heard)
    assert len(work(job, window, *[result_of([], avg_logprob=-1.5)] * 2, less)) == 4
    assert [one.text for one in job.decided] == [" Wait here.", " A long sentence that stands behind it all."]


def test_a_window_that_says_its_prompt_is_decoded_without_it(passage):
    job = passage(track((0, 30)), initial=PROMPT)
    prompts = work(job, result_of(said(0, 29, PROMPT)), result_of(said(0, 29, " What was said.")))
    assert prompts == [PROMPT, ""]
    assert [one.text for one in job.decided] == [" What was said."]
    assert events(job) == [(0.0, 30.0, "decoded again", "text of the prompt", PROMPT.strip())]


def test_of_a_loop_one_copy_is_kept_and_the_speech_under_it_heard_again(passage):
    job = passage(track((0, 30)))
    phrase = " I will say it again."
    loop = [token for i in range(6) for token in said(i * 5, i * 5 + 4, phrase)]
    work(job, result_of(loop), result_of(said(0, 25, " It was quite another thing.")))
    assert [one.text for one in job.decided] == [phrase, " It was quite another thing."]
    assert [event.reason for event in job.events] == ["loop", "speech without text"]


def test_a_repetition_is_believed_of_the_first_temperature_alone(passage):
    """A decoder that said it at once may have heard it so; one that had failed before is still in its loop."""
    phrase = " What a spiteful thing I am."
    tokens = said(0, 29, phrase * 3)
    at_once = passage(track((0, 30)), temperature=(0.0, 0.4))
    work(at_once, result_of(tokens))
    assert [one.text for one in at_once.decided] == [phrase * 3]
    assert at_once.events == []
    later = passage(track((0, 30)), temperature=(0.0, 0.4))
    work(later, result_of(tokens * 2), result_of(tokens, temperature=0.4))
    assert [one.text for one in later.decided] == [phrase]
    assert events(later) == [(0.0, 30.0, "dropped", "loop", (phrase * 2).strip())]
    for avg_logprob in (-1.2, -0.6):
        doubtful = passage(track((0, 30)))
        work(doubtful, result_of(tokens, avg_logprob=avg_logprob))
        assert [one.text for one in doubtful.decided] == [phrase]


def test_without_a_track_nothing_is_judged(passage):
    job = passage(None)
    assert work(job, result_of(said(0, 30, " Thank you."))) == [""]
    assert [one.text for one in job.decided] == [" Thank you."]
    assert job.events == []


def test_a_window_that_was_skipped_though_somebody_speaks_is_heard_again(passage):
    job = passage(track((3, 9)))
    silent = result_of(said(0, 30, " Hm."), avg_logprob=-1.4, no_speech_prob=0.9)
    work(job, silent, result_of(said(0, 6, " There is somebody.")))
    assert [one.text for one in job.decided] == [" There is somebody."]


# As a whole


@pytest.mark.guarded
def test_the_guard_is_on_but_with_compat(model):
    noise = np.random.default_rng(0).standard_normal(16000 * 3).astype(np.float32) * 0.01
    options = {"language": "en", "sample_len": 8, "temperature": 0.0}
    guarded = viska.transcribe(model, noise, **options)
    assert guarded.text == ""
    assert guarded.to_dict()["record"] == []
    off = viska.transcribe(model, noise, guard=False, **options)
    assert off.text
    assert "record" not in off.to_dict()
    compat, compat_off = (
        viska.transcribe(model, noise, compat="openai", guard=guard, **options) for guard in (True, False)
    )
    assert compat == compat_off
    assert compat.record is None
    assert set(compat.to_dict()) == {"text", "segments", "language"}


@pytest.mark.guarded
def test_windows_that_are_decoded_together_are_guarded_too(model):
    noise = np.random.default_rng(0).standard_normal(16000 * 40).astype(np.float32) * 0.01
    options = {"language": "en", "sample_len": 8, "temperature": 0.0, "batch_size": 4}
    assert viska.transcribe(model, noise, **options).text == ""
    assert viska.transcribe(model, noise, guard=False, **options).text


@pytest.mark.slow
def test_short_sentences_far_apart_are_not_passed_over(base, corpus):
    clip, samples = join(usable(corpus / "manifest.jsonl", "en"), 7)  # with "4 queen of clubs" that was lost
    assert hear(base, clip, samples, {}).lost == ()
