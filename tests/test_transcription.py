"""Long recordings: planner, fallback, splitter, assembler, and all of them together."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import viska
from made_up import ENGLISH, answered, made_up_model
from viska.audio import N_FRAMES, SAMPLE_RATE
from viska.decoding import DecodingResult
from viska.errors import AudioError, OptionError
from viska.result import Segment
from viska.tokenizer import get_tokenizer
from viska.transcription import Transcription, transcribe, transcribe_options
from viska.transcription.assembler import Assembler
from viska.transcription.backend import EngineBackend, ReferenceBackend
from viska.transcription.fallback import Thresholds, decode_with_fallback
from viska.transcription.hearing import Hearing
from viska.transcription.planner import PromptHistory, SequentialPlanner, Window, clips_in_frames
from viska.transcription.splitter import blanked, split

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
BEGIN = TOKENIZER.timestamp_begin
HELLO, WORLD = TOKENIZER.encode(" Hello"), TOKENIZER.encode(" world.")
DEFAULTS = Thresholds(2.4, -1.0, 0.6)


def stamp(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def hypothesis_of(tokens=(), **known) -> DecodingResult:
    facts = {"avg_logprob": -0.3, "no_speech_prob": 0.1, "compression_ratio": 1.2, "temperature": 0.0}
    return DecodingResult(audio_features=torch.empty(0), language="en", tokens=list(tokens), **{**facts, **known})


# Splitter


def cut(tokens, window=None):
    found = split(hypothesis_of(tokens), window or Window(1000, N_FRAMES, ()), TOKENIZER)
    return [(s.start, s.end, s.text) for s in map(blanked, found.segments)], found.consumed


def test_pairs_of_timestamps_cut_and_the_unfinished_tail_is_heard_again():
    tokens = [stamp(0), *HELLO, stamp(4), stamp(4), *WORLD, stamp(8), stamp(8.5), *HELLO]
    segments, consumed = cut(tokens)
    assert segments == [(10.0, 14.0, " Hello"), (14.0, 18.0, " world.")]
    assert consumed == 800  # up to where the last whole segment ended


def test_a_window_that_ends_with_a_closed_segment_is_consumed_whole():
    tokens = [stamp(0), *HELLO, stamp(4), stamp(4), *WORLD, stamp(8)]
    segments, consumed = cut(tokens)
    assert segments == [(10.0, 14.0, " Hello"), (14.0, 18.0, " world.")]
    assert consumed == N_FRAMES


def test_without_a_cut_the_window_is_one_segment():
    assert cut([stamp(0), *HELLO, stamp(4)]) == ([(10.0, 14.0, " Hello")], N_FRAMES)
    assert cut([stamp(0), *HELLO]) == ([(10.0, 40.0, " Hello")], N_FRAMES)  # no end said: the window's
    assert cut([*HELLO]) == ([(10.0, 40.0, " Hello")], N_FRAMES)
    assert cut([stamp(0), *HELLO], Window(1000, 500, ())) == ([(10.0, 15.0, " Hello")], 500)


def test_a_pair_at_the_very_end_leaves_nothing_behind_it():
    segments, consumed = cut([stamp(0), *HELLO, stamp(4), stamp(4)])
    assert segments == [(10.0, 14.0, " Hello")]
    assert consumed == 400


def test_the_rest_of_a_packed_window_is_heard_again_where_it_is_long_enough():
    tokens = [stamp(0), *HELLO, stamp(4), stamp(4), *WORLD]
    short = Window(1000, 450, ())
    found = split(hypothesis_of(tokens), short, TOKENIZER, least_rest=100)
    assert [(s.start, s.end, s.text) for s in found.segments] == [(10.0, 14.0, " Hello"), (14.0, 14.5, " world.")]
    assert (found.consumed, found.ends_closed) == (450, True)
    found = split(hypothesis_of(tokens), Window(1000, 500, ()), TOKENIZER, least_rest=100)
    assert [(s.start, s.end, s.text) for s in found.segments] == [(10.0, 14.0, " Hello")]
    assert (found.consumed, found.ends_closed) == (400, False)


def test_segments_without_time_or_text_are_emptied():
    found = split(hypothesis_of([stamp(0), stamp(0), *HELLO, stamp(3), stamp(3)]), Window(0, N_FRAMES, ()), TOKENIZER)
    kept = [(segment.text, segment.tokens) for segment in map(blanked, found.segments)]
    assert kept == [("", ()), (" Hello", (stamp(0), *HELLO, stamp(3)))]


def test_a_window_without_tokens_is_one_blank_segment():
    assert cut([]) == ([(10.0, 40.0, "")], N_FRAMES)


def test_segments_carry_the_facts_of_their_window():
    result = hypothesis_of([stamp(0), *HELLO, stamp(4)], temperature=0.4, no_speech_prob=0.5, avg_logprob=-0.7)
    segment = split(result, Window(1234, N_FRAMES, ()), TOKENIZER).segments[0]
    assert (segment.seek, segment.temperature, segment.no_speech_prob, segment.avg_logprob) == (1234, 0.4, 0.5, -0.7)


stamps_and_text = st.lists(st.tuples(st.integers(0, 700), st.integers(1, 300), st.booleans()), min_size=1, max_size=6)


@given(stamps_and_text, st.integers(0, 10**6))
def test_split_keeps_every_token_before_the_tail_in_order(parts, start):
    tokens, position = [], 0
    for gap, length, _ in parts:
        begin = min(position + gap, 1499) if position < 1499 else position
        position = min(begin + length, 1500)
        tokens += [BEGIN + begin, *HELLO, BEGIN + position]
    found = split(hypothesis_of(tokens), Window(start, N_FRAMES, ()), TOKENIZER)
    assert 0 < found.consumed <= N_FRAMES
    assert [token for segment in found.segments for token in segment.tokens if token < BEGIN] == HELLO * sum(
        1 for segment in found.segments if segment.tokens
    )
    times = [time for segment in found.segments for time in (segment.start, segment.end)]
    assert times == pytest.approx(sorted(times))


# Planner


def history(*initial: int, **settings) -> PromptHistory:
    return PromptHistory(initial, room=223, **settings)


def test_windows_follow_one_another_to_the_end():
    planner = SequentialPlanner([(0, 7000)], history())
    first = planner.next()
    assert (first.start, first.size) == (0, N_FRAMES)
    assert planner.next() == first  # nothing was decided yet
    planner.advance(first, 2500, [5], 0.0)
    second = planner.next()
    assert (second.start, second.size, second.prompt) == (2500, N_FRAMES, (5,))
    planner.skip(second)
    third = planner.next()
    assert (third.start, third.size) == (5500, 1500)
    planner.advance(third, 1500, [], 0.0)
    assert planner.next() is None


def test_nothing_consumed_is_everything_consumed():
    planner = SequentialPlanner([(0, 5000)], history())
    planner.advance(planner.next(), 0, [], 0.0)
    assert planner.next().start == N_FRAMES


def test_an_empty_recording_has_no_window():
    assert SequentialPlanner([(0, 0)], history()).next() is None
    assert SequentialPlanner([], history()).next() is None


def test_clips_are_visited_in_turn_and_windows_stay_within_them():
    planner = SequentialPlanner([(100, 600), (4000, 9000)], history())
    starts = []
    while window := planner.next():
        starts.append((window.start, window.size))
        planner.advance(window, window.size, [], 0.0)
    assert starts == [(100, 500), (4000, 3000), (7000, 2000)]


@pytest.mark.parametrize(
    ("seconds", "clips"),
    [
        ((0.0,), [(0, 6000)]),
        ((10.0,), [(1000, 6000)]),
        ((10.0, 20.0), [(1000, 2000)]),
        ((10.0, 20.0, 30.0), [(1000, 2000), (3000, 6000)]),
        ((10.0, 90.0), [(1000, 6000)]),  # an end behind the end of the recording (openai/whisper loops for ever)
        ((90.0,), [(6000, 6000)]),
        ((), [(0, 6000)]),
    ],
)
def test_clips_from_seconds(seconds, clips):
    assert clips_in_frames(seconds, 6000) == clips


@given(
    st.lists(st.tuples(st.integers(0, 20000), st.integers(0, 20000)), max_size=4),
    st.lists(st.integers(-10, 3000), min_size=1, max_size=8),
)
def test_any_clips_and_any_progress_come_to_an_end(clips, progress):
    planner = SequentialPlanner(clips, history())
    for step in range(200_000):
        window = planner.next()
        if window is None:
            return
        assert 0 < window.size <= N_FRAMES
        assert any(start <= window.start and window.start + window.size <= end for start, end in clips)
        planner.advance(window, progress[step % len(progress)], [], 0.0)
    pytest.fail("the planner goes on for ever")


def test_the_prompt_is_what_was_said_so_far():
    past = history(1, 2)
    assert past.prompt() == (1, 2)
    past.add([3, 4], 0.0)
    past.add([5], 0.5)
    assert past.prompt() == (1, 2, 3, 4, 5)


@pytest.mark.parametrize(("settings", "temperature"), [({"condition": False}, 0.0), ({}, 0.6)])
def test_the_prompt_is_forgotten_where_it_is_not_to_be_built_upon(settings, temperature):
    past = history(1, 2, **settings)
    past.add([3, 4], temperature)
    assert past.prompt() == ()
    past.add([5], 0.0)
    assert past.prompt() == ((5,) if not settings else ())


def test_a_carried_initial_prompt_stands_before_every_window():
    past = PromptHistory([1, 2], room=5, carry_initial=True)
    assert past.prompt() == (1, 2)
    past.add([3, 4, 5, 6], 0.0)
    assert past.prompt() == (1, 2, 4, 5, 6)
    past.add([7], 0.8)
    assert past.prompt() == (1, 2)
    past.add([8], 0.0)
    assert past.prompt() == (1, 2, 8)


def test_a_carried_initial_prompt_that_fills_the_room_is_kept():
    # openai/whisper turns its slice around and drops the initial prompt (pull request 2823).
    past = PromptHistory(range(10), room=5, carry_initial=True)
    past.add([100], 0.0)
    assert past.prompt() == (5, 6, 7, 8, 9)
    exact = PromptHistory(range(5), room=5, carry_initial=True)
    exact.add([100], 0.0)
    assert exact.prompt() == (0, 1, 2, 3, 4)
    upstream = PromptHistory(range(10), room=5, carry_initial=True, compat=True)
    upstream.add([100, 101, 102, 103, 104, 105, 106], 0.0)
    assert upstream.prompt() == (*range(10), 105, 106)  # what upstream makes of [-(5 - 10):]


# Fallback


def ladder(*results: DecodingResult, **settings):
    """Decode with fallback where each temperature gives the next of these results; returns it and what was tried."""
    temperatures = [round(0.2 * i, 1) for i in range(len(results))]
    return answered(decode_with_fallback(temperatures, DEFAULTS, **settings), results)


GOOD = hypothesis_of()
LOOP = hypothesis_of(compression_ratio=3.0, avg_logprob=-0.1)
DOUBTFUL = hypothesis_of(avg_logprob=-1.5)
WORSE = hypothesis_of(avg_logprob=-2.5)


def test_the_first_sound_result_is_taken():
    assert ladder(GOOD, LOOP) == (GOOD, [0.0])
    assert ladder(LOOP, DOUBTFUL, GOOD, WORSE) == (GOOD, [0.0, 0.2, 0.4])


def test_where_all_fail_the_best_is_kept_or_the_last_as_upstream_does():
    assert ladder(LOOP, DOUBTFUL, WORSE)[0] is DOUBTFUL  # a loop is worse than doubt
    assert ladder(LOOP, DOUBTFUL, WORSE, keep_last=True)[0] is WORSE
    also = hypothesis_of(compression_ratio=2.5, avg_logprob=-0.2)
    assert ladder(also, LOOP)[0] is LOOP  # all of them loops: the likelier


def test_improbable_text_of_a_silent_window_is_not_tried_again():
    silent = hypothesis_of(avg_logprob=-1.5, no_speech_prob=0.7)
    assert ladder(silent, GOOD) == (silent, [0.0])


def test_thresholds_are_exclusive_and_none_switches_them_off():
    assert not DEFAULTS.failed(hypothesis_of(compression_ratio=2.4, avg_logprob=-1.0))
    assert DEFAULTS.failed(hypothesis_of(compression_ratio=2.41))
    assert DEFAULTS.failed(hypothesis_of(avg_logprob=-1.01))
    off = Thresholds(None, None, None)
    assert not off.failed(hypothesis_of(compression_ratio=99, avg_logprob=-99))
    assert not off.silent(hypothesis_of(no_speech_prob=1.0, avg_logprob=-99))


def test_a_window_is_silent_unless_its_text_is_probable():
    assert DEFAULTS.silent(hypothesis_of(no_speech_prob=0.61, avg_logprob=-1.0))
    assert not DEFAULTS.silent(hypothesis_of(no_speech_prob=0.61, avg_logprob=-0.99))
    assert not DEFAULTS.silent(hypothesis_of(no_speech_prob=0.6, avg_logprob=-9))
    assert Thresholds(None, None, 0.6).silent(hypothesis_of(no_speech_prob=0.61, avg_logprob=-0.1))


# Assembler


def a_segment(start, end, text=" Hello", tokens=None) -> Segment:
    return Segment(0, 0, start, end, text, tuple(HELLO if tokens is None else tokens), 0.0, -0.3, 1.0, 0.0)


def test_segments_are_counted_fitted_into_the_recording_and_blank_ones_left_out():
    assembler = Assembler(TOKENIZER, duration_s=5.0)
    list(assembler.add([a_segment(0.0, 2.0), a_segment(2.0, 3.0, "", ())]))
    list(assembler.add([a_segment(3.0, 30.0)]))
    transcript = assembler.transcript("en")
    assert [(s.id, s.start, s.end) for s in transcript.segments] == [(0, 0.0, 2.0), (1, 3.0, 5.0)]
    assert transcript.text == " Hello Hello"
    assert transcript.language == "en"


def test_a_segment_behind_the_end_of_the_recording_is_moved_to_it():
    (segment,) = Assembler(TOKENIZER, duration_s=5.0).add([a_segment(6.0, 7.0)])
    assert (segment.start, segment.end) == (5.0, 5.0)


def test_compat_keeps_blank_segments_and_late_ends():
    assembler = Assembler(TOKENIZER, duration_s=5.0, compat=True)
    list(assembler.add([a_segment(0.0, 2.0, "", ()), a_segment(3.0, 30.0)]))
    assert [(s.id, s.end) for s in assembler.transcript("en").segments] == [(0, 2.0), (1, 30.0)]


def test_a_character_cut_in_two_between_segments_is_whole_in_the_text():
    tokens = TOKENIZER.encode(" 𓀀")
    assembler = Assembler(TOKENIZER, duration_s=9.0)
    halves = tokens[:2], tokens[2:]
    list(assembler.add([a_segment(i, i + 1, "\ufffd", half) for i, half in enumerate(halves)]))
    assert assembler.transcript("en").text == " 𓀀"


# Options


def test_options_from_keywords():
    options = transcribe_options({"temperature": 0.3, "clip_timestamps": "1,2.5", "beam_size": 5, "language": "de"})
    assert options.temperature == (0.3,)
    assert options.clip_timestamps == (1.0, 2.5)
    assert options.decoding.beam_size == 5
    assert transcribe_options({"clip_timestamps": [3, 4]}).clip_timestamps == (3.0, 4.0)
    assert transcribe_options({"clip_timestamps": ""}).clip_timestamps == (0.0,)
    assert transcribe_options({"clip_timestamps": "0,3,3,3,1,2,9"}).clip_timestamps == (0, 3, 3, 3, 1, 2, 9)


def test_beams_belong_to_temperature_0_and_samples_to_the_others():
    options = transcribe_options({"beam_size": 5, "patience": 2.0, "best_of": 3})
    cold, hot = options.decoding_at(0.0, [7]), options.decoding_at(0.4, [])
    assert (cold.beam_size, cold.patience, cold.best_of, cold.prompt) == (5, 2.0, None, [7])
    assert (hot.beam_size, hot.patience, hot.best_of, hot.prompt) == (None, None, 3, None)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"colour": 1}, "unknown option colour; accepted are .*beam_size.*"),
        ({"compat": "faster"}, "compat is 'faster'; accepted are None and 'openai'"),
        ({"temperature": ()}, "temperature is empty"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"temperature": (0, -1)}, "temperature is -1"),
        ({"clip_timestamps": "a,b"}, "clip_timestamps is 'a,b'"),
        ({"batch_size": 2.5}, "batch_size is 2.5; accepted is a whole number"),
        ({"beam_size": 2.5}, "beam_size is 2.5; accepted is a whole number or None"),
        ({"beam_size": True}, "beam_size is True; accepted is a whole number or None"),
        ({"language": 3}, "language is 3; accepted is a text or None"),
        ({"initial_prompt": [1, 2]}, r"initial_prompt is \[1, 2\]; accepted is a text or None"),
        ({"logprob_threshold": float("nan")}, "logprob_threshold is nan; accepted is a number or None"),
        ({"compression_ratio_threshold": "x"}, "compression_ratio_threshold is 'x'; accepted is a number or None"),
        ({"prepend_punctuations": None, "word_timestamps": True}, "prepend_punctuations is None; accepted is a text"),
        ({"vad_filter": "yes"}, "vad_filter is 'yes'; accepted is True or False"),
        ({"seed": 1.5}, "seed is 1.5; accepted is a whole number"),
        ({"bias": 5}, "bias is 5; accepted are words and phrases"),
        ({"clip_timestamps": "-1,3"}, "every time must be from 0 to"),
        ({"clip_timestamps": "0,1,5,3"}, r"the clip from 5.0 to 3.0 s has its end before its start"),
        ({"clip_timestamps": [5, 3, 7]}, r"the clip from 5.0 to 3.0 s has its end before its start"),
        ({"task": "lang_id"}, "use detect_language"),
        ({"beam_size": 0}, "beam_size is 0"),
        ({"batch_size": 0}, "batch_size is 0; it must be from 1 to 1024"),
        ({"batch_size": 2**63}, "it must be from 1 to 1024"),
        ({"clip_timestamps": "0,1e307"}, "every time must be from 0 to 1000000000 seconds"),
        ({"seed": 2**63}, "seed is 9223372036854775808; it must be from 0 to"),  # though nothing is drawn at first
        ({"beam_size": 5, "patience": 1e308}, "asks for no sequence, or for more than 1000"),
        ({"temperature": 0.4, "best_of": 100_000}, "best_of is 100000; it must be from 1 to 1000"),
        ({"repetition_penalty": 1e-38}, "it must be from 0.01 to 100"),
        ({"bias": "foo", "bias_strength": 1e38}, "at most 100"),
        ({"vad_parameters": {"threshold": 0.4}}, "give vad_filter too"),
        ({"vad_filter": True, "vad_parameters": {"treshold": 0.4}}, "unknown voice activity option treshold"),
        ({"vad_filter": True, "vad_parameters": {"threshold": 2}}, "threshold is 2; accepted are numbers from 0 to 1"),
        ({"compat": "openai", "batch_size": 2}, "leave out batch_size and vad_filter"),
        ({"compat": "openai", "vad_filter": True}, "leave out batch_size and vad_filter"),
    ],
)
def test_options_that_are_not_accepted(keywords, message):
    with pytest.raises(OptionError, match=message):
        transcribe_options(keywords)


def test_windows_stand_behind_one_another_unless_a_batch_or_the_user_says_otherwise():
    def conditions(**options):
        asked = transcribe_options(options)
        return asked.conditions, asked.independent

    assert conditions() == (True, False)
    assert conditions(condition_on_previous_text=False) == (False, False)
    assert conditions(batch_size=4) == (False, True)
    assert conditions(batch_size=4, condition_on_previous_text=False) == (False, True)
    assert conditions(batch_size=4, condition_on_previous_text=True) == (True, False)


# All together


@pytest.fixture(scope="module")
def model():
    return made_up_model()


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


# Noise is no speech: what the guard makes of it is for other tests.
FAST = {"temperature": 0.0, "sample_len": 8, "language": "en", "no_speech_threshold": None, "guard": False}


def test_a_recording_is_covered_from_start_to_end(model):
    transcript = transcribe(model, noise(70), **FAST)
    seeks = sorted({segment.seek for segment in transcript.segments})
    assert transcript["language"] == "en"
    assert [segment["id"] for segment in transcript["segments"]] == list(range(len(transcript.segments)))
    assert seeks == sorted(seeks)
    assert len(seeks) > 2
    assert all(segment.start <= segment.end <= 70 for segment in transcript.segments)


def test_the_same_recording_gives_the_same_transcript_twice_with_sampling_too(model):
    sampled = {**FAST, "temperature": (0.9,), "best_of": 2}
    assert transcribe(model, noise(3), **sampled) == transcribe(model, noise(3), **sampled)


def test_segments_come_as_they_are_decided(model):
    job = Transcription(model, noise(65), transcribe_options(FAST))
    positions, seen = [], []
    for segment in job:
        positions.append(job.position_s)
        seen.append(segment)
    assert positions == sorted(positions)
    assert job.position_s == job.duration_s == 65
    assert job.transcript().segments == tuple(seen)


def test_a_callback_and_printed_lines(model, capsys):
    seen = []
    transcript = transcribe(model, noise(3), verbose=True, on_segment=seen.append, **FAST)
    assert tuple(seen) == transcript.segments
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= len(seen) > 0
    assert lines[0].startswith("[00:00.")


def test_verbose_tells_a_detected_language(model, capsys):
    transcribe(model, noise(1), verbose=False, **{**FAST, "language": None})
    assert capsys.readouterr().out.startswith("Detected language: ")


def test_no_audio_is_an_empty_transcript(model):
    transcript = transcribe(model, np.zeros(0, np.float32), **FAST)
    assert (transcript.text, transcript.segments) == ("", ())


def test_an_english_only_model_takes_another_language_as_english(caplog):
    transcript = transcribe(made_up_model(ENGLISH), noise(1), **{**FAST, "language": "de"})
    assert transcript.language == "en"
    assert "knows English alone" in caplog.text


def test_bad_input_is_an_audio_error(model, tmp_path):
    with pytest.raises(AudioError):
        transcribe(model, tmp_path / "missing.wav")


@pytest.mark.parametrize("compat", [None, "openai"])
def test_encoding_happens_once_a_window_whatever_the_ladder(model, monkeypatch, compat):
    calls, decoded = [], []
    for backend in (EngineBackend, ReferenceBackend):
        encode = backend.encode
        monkeypatch.setattr(
            backend, "encode", lambda self, mel, encode=encode: calls.append(mel.shape) or encode(self, mel)
        )
    options = {**FAST, "temperature": (0.0, 0.5, 1.0), "logprob_threshold": 0.0, "without_timestamps": True}
    monkeypatch.setattr(Thresholds, "failed", lambda _, result: decoded.append(result) or True)
    transcribe(model, noise(59), compat=compat, **options)
    assert [tuple(shape) for shape in calls] == [(80, 3000), (80, 3000)]
    assert [result.temperature for result in decoded] == [0.0, 0.5, 1.0] * 2


def test_the_language_is_heard_as_by_the_reference_where_no_context_is_short(model, monkeypatch):
    heard = {}
    for name, backend in (("engine", EngineBackend), ("reference", ReferenceBackend)):
        encode = backend.encode
        monkeypatch.setattr(
            backend, "encode", lambda self, mel, n=name, f=encode: heard.setdefault(n, []).append(mel) or f(self, mel)
        )
    options = {**FAST, "language": None, "short_context": False}
    for compat in (None, "openai"):
        transcribe(model, noise(3), compat=compat, **options)
    assert torch.equal(heard["engine"][0], heard["reference"][0])
    heard.clear()
    transcribe(model, noise(3), **{**options, "short_context": True})
    assert heard["engine"][0].shape[-1] == 800  # once for language and text


@pytest.mark.parametrize(
    ("compute_type", "asked", "heard"),
    [("float32", None, 3000), ("float32", True, 800), ("auto", None, 800), ("auto", False, 3000)],
)
def test_in_float32_short_windows_are_heard_as_by_the_reference(model, monkeypatch, compute_type, asked, heard):
    frames = []
    encode = EngineBackend.encode
    monkeypatch.setattr(EngineBackend, "encode", lambda self, mel: frames.append(mel.shape[-1]) or encode(self, mel))
    monkeypatch.setattr(model, "compute_type", compute_type)
    sound = {"logprob_threshold": None, "compression_ratio_threshold": None}
    transcribe(model, noise(3), **{**FAST, **sound, "language": None, "short_context": asked})
    assert set(frames) == {heard}


def test_a_short_window_is_heard_in_full_where_its_text_is_doubtful(model, monkeypatch):
    heard = []
    encode = EngineBackend.encode
    monkeypatch.setattr(EngineBackend, "encode", lambda self, mel: heard.append(mel.shape[-1]) or encode(self, mel))
    options = {**FAST, "without_timestamps": True, "temperature": (0.0, 0.4)}
    transcribe(model, noise(3), logprob_threshold=None, compression_ratio_threshold=None, **options)
    assert heard == [800]  # 3 s and 4 s of silence, but 8 s at least
    transcribe(model, noise(12.03), logprob_threshold=0.0, **options)
    assert heard == [800, 1616, 3000]  # whole multiples of 16 frames; in full once for both temperatures
    transcribe(model, noise(3), short_context=False, **options)
    assert len(heard) > 3
    assert set(heard[3:]) == {3000}
    heard.clear()
    sound = {"logprob_threshold": None, "compression_ratio_threshold": None}
    transcribe(model, noise(3), word_timestamps=True, **sound, **options)
    assert set(heard) == {800}  # text and times from the same


@pytest.mark.parametrize("more", [{}, {"batch_size": 4}, {"temperature": (0.0, 0.6)}])
def test_word_times_do_not_change_which_windows_are_heard(model, monkeypatch, more):
    heard = []
    hear = Hearing.hear
    monkeypatch.setattr(Hearing, "hear", lambda self, window, *rest: heard.append(window) or hear(self, window, *rest))
    options = {**FAST, "short_context": False, "condition_on_previous_text": False, **more}
    transcribe(model, noise(150), **options)
    plain, heard[:] = [*heard], []
    transcribe(model, noise(150), word_timestamps=True, **options)
    assert heard == plain
    assert len(heard) > 4


def test_help_spells_out_every_option():
    from inspect import signature

    parameters = signature(viska.transcribe).parameters
    assert {"audio", "verbose", "temperature", "compat", "beam_size", "initial_prompt", "seed"} <= set(parameters)
    assert parameters["compression_ratio_threshold"].default == 2.4
