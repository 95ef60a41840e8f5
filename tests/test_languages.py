"""Codes and names of languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viska.errors import LanguageError, OptionError
from viska.languages import LANGUAGES, TO_LANGUAGE_CODE, language_code


def test_the_order_is_that_of_the_vocabulary():
    codes = list(LANGUAGES)
    assert len(codes) == 100
    assert codes[:10] == ["en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt", "tr"]
    assert codes[50:53] == ["br", "eu", "is"]
    assert codes[-3:] == ["jw", "su", "yue"]


def test_codes_and_names_are_distinct_and_lower_case():
    assert len(set(LANGUAGES.values())) == 100
    for text in [*LANGUAGES, *TO_LANGUAGE_CODE]:
        assert text == text.lower()
    assert not set(LANGUAGES) & set(TO_LANGUAGE_CODE)


def test_every_name_leads_back_to_its_code():
    for code, name in LANGUAGES.items():
        assert TO_LANGUAGE_CODE[name] == code
        assert language_code(code) == language_code(name) == code


def test_there_are_twelve_aliases():
    aliases = {name: code for name, code in TO_LANGUAGE_CODE.items() if LANGUAGES[code] != name}
    assert len(aliases) == 12
    assert aliases["castilian"] == "es"
    assert aliases["mandarin"] == "zh"
    assert aliases["flemish"] == "nl"
    assert aliases["moldavian"] == aliases["moldovan"] == "ro"
    assert set(aliases.values()) <= set(LANGUAGES)


@pytest.mark.parametrize(
    ("given_name", "code"),
    [("EN", "en"), ("German", "de"), ("Haitian Creole", "ht"), ("YUE", "yue"), ("Burmese", "my")],
)
def test_case_does_not_matter(given_name, code):
    assert language_code(given_name) == code


@pytest.mark.parametrize(
    ("given_name", "offered"),
    [("germn", "german"), ("pt-BR", "pt"), ("zh_Hans", "zh"), ("swiss german", "german"), ("Portugese", "portuguese")],
)
def test_an_unknown_language_gets_an_offer(given_name, offered):
    with pytest.raises(LanguageError, match=f"{given_name}.*did you mean .*{offered}"):
        language_code(given_name)


@pytest.mark.parametrize("given_name", ["", "xx", "qqqqqq", " en"])
def test_an_unknown_language_without_a_like_says_what_is_accepted(given_name):
    with pytest.raises(LanguageError, match=f"{given_name!r}.*: give one of Whisper's 100 languages as a code"):
        language_code(given_name)


def test_language_error_is_the_error_that_users_of_whisper_catch():
    assert issubclass(LanguageError, OptionError)
    assert issubclass(LanguageError, ValueError)


@given(st.text().filter(lambda text: text.lower() not in {**LANGUAGES, **TO_LANGUAGE_CODE}))
def test_any_other_text_is_an_error_that_quotes_it(text):
    with pytest.raises(LanguageError) as caught:
        language_code(text)
    assert repr(text) in str(caught.value)
