"""Fields of a form, in every way that clients send them, to what is wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viska.server.errors import ApiError
from viska.server.fields import EXTENSIONS, Wanted, parse

MODEL = ("model", "whisper-1")


def wanted(*fields: tuple[str, str], task: str = "transcribe") -> Wanted:
    return parse([MODEL, *fields], task)


def refused(*fields: tuple[str, str], task: str = "transcribe") -> ApiError:
    with pytest.raises(ApiError) as caught:
        wanted(*fields, task=task)
    assert caught.value.status == 400
    assert caught.value.kind == "invalid_request_error"
    return caught.value


def test_a_model_alone_is_enough():
    assert wanted() == Wanted("transcribe", "whisper-1", options={"task": "transcribe"}, granularities={"segment"})
    with pytest.raises(ApiError, match="there is no model") as caught:
        parse([], "transcribe")
    assert (caught.value.param, caught.value.code) == ("model", "missing_required_parameter")


@pytest.mark.parametrize(
    "fields",
    [
        [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")],
        [("timestamp_granularities", "word"), ("timestamp_granularities", "segment")],
        [("timestamp_granularities", "word,segment")],
        [("timestamp_granularities[]", "word, segment")],
    ],
)
def test_lists_come_with_brackets_repeated_or_with_commas(fields):
    asked = wanted(("response_format", "verbose_json"), *fields)
    assert asked.granularities == {"word", "segment"}
    assert asked.options["word_timestamps"] is True
    assert asked.unused == ()


def test_options_reach_the_recogniser_under_its_names():
    options = wanted(
        ("prompt", "Dashwood, Ferrars"),
        ("language", "English"),
        ("temperature", "0.7"),
        ("keywords[]", "Barton"),
        ("keywords[]", "Norland"),
        ("hotwords", "Marianne,Elinor"),
        ("beam_size", "5"),
        ("condition_on_previous_text", "false"),
        ("seed", "7"),
    ).options
    assert options == {
        "task": "transcribe",
        "initial_prompt": "Dashwood, Ferrars",
        "language": "English",
        "temperature": (0.7,),
        "bias": ["Barton", "Norland", "Marianne", "Elinor"],
        "beam_size": 5,
        "condition_on_previous_text": False,
        "seed": 7,
    }


@pytest.mark.parametrize("temperature", ["0", "0.0"])
def test_temperature_0_goes_up_by_itself(temperature):
    assert "temperature" not in wanted(("temperature", temperature)).options


def test_languages_to_choose_among():
    assert wanted(("languages[]", "de"), ("languages[]", "fr")).options["languages"] == ["de", "fr"]
    assert refused(("languages", "de,klingon")).param == "languages"


def test_a_translation_has_no_language():
    asked = wanted(("language", "de"), task="translate")
    assert asked.options == {"task": "translate"}
    assert asked.unused == ("language",)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("temperature", "3", "invalid_value"),
        ("temperature", "-0.1", "invalid_value"),
        ("temperature", "nan", "invalid_value"),
        ("temperature", "warm", "invalid_value"),
        ("response_format", "xml", "unsupported_value"),
        ("response_format", "diarized_json", "unsupported_value"),
        ("stream", "maybe", "invalid_value"),
        ("language", "xx", "unsupported_value"),
        ("timestamp_granularities[]", "letter", "unsupported_value"),
        ("include[]", "everything", "unsupported_value"),
        ("chunking_strategy", "sometimes", "invalid_value"),
        ("chunking_strategy", "{broken", "invalid_value"),
        ("beam_size", "1000", "invalid_value"),
        ("beam_size", "2.5", "invalid_value"),
        ("best_of", "0", "invalid_value"),
    ],
)
def test_what_is_not_accepted_names_its_field(name, value, code):
    error = refused((name, value))
    assert (error.param, error.code) == (name.removesuffix("[]"), code)


def test_contradictions_name_a_field():
    assert refused(("language", "de"), ("language", "fr")).param == "language"
    assert refused(("patience", "2")).param == "patience"
    assert refused(("multilingual", "true"), ("language", "de")).param == "multilingual"


def test_logprobs_go_with_json_alone():
    assert wanted(("include[]", "logprobs")).options["token_logprobs"] is True
    assert wanted(("include", "logprobs")).logprobs
    assert refused(("include[]", "logprobs"), ("response_format", "srt")).param == "include"


@pytest.mark.parametrize("response_format", ["srt", "vtt"])
def test_what_cannot_be_streamed_is_refused_and_not_ignored(response_format):
    assert refused(("stream", "true"), ("response_format", response_format)).param == "stream"
    assert wanted(("stream", "true"), ("response_format", "text")).stream


@pytest.mark.parametrize(
    "fields",
    [
        [("chunking_strategy", "auto")],
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "0.5")],
        [("chunking_strategy", '{"type": "server_vad", "silence_duration_ms": 200}')],
    ],
)
def test_chunking_is_understood_and_said_to_have_no_effect(fields):
    assert wanted(*fields).unused == ("chunking_strategy",)


def test_fields_without_effect_are_named():
    asked = wanted(("vad_filter", "true"), ("known_speaker_names[]", "A"), ("timestamp_granularities[]", "word"))
    assert asked.unused == ("known_speaker_names", "timestamp_granularities", "vad_filter")
    assert wanted(("bad name\r\n", "x"), ("é", "y")).unused == ()


def test_at_most_four_speakers():
    assert refused(*[("known_speaker_names[]", str(i)) for i in range(5)]).param == "known_speaker_names"


def test_empty_fields_count_as_left_out():
    asked = wanted(("language", ""), ("prompt", ""), ("temperature", ""), ("response_format", ""))
    assert asked.options == {"task": "transcribe"}


NAMES = [*EXTENSIONS, "language", "prompt", "temperature", "stream", "include[]", "chunking_strategy", "languages"]
FIELD = st.tuples(st.sampled_from(NAMES) | st.text(max_size=9), st.text(max_size=20) | st.integers().map(str))


@given(st.lists(FIELD, max_size=6), st.sampled_from(["transcribe", "translate"]))
def test_any_fields_are_understood_or_refused_by_an_error_of_the_api(fields, task):
    try:
        asked = parse([MODEL, *fields], task)
    except ApiError as error:
        status = error.status
    else:
        status = 400

        ", ".join(asked.unused).encode("ascii")
        assert asked.options["task"] == task
    assert status == 400
