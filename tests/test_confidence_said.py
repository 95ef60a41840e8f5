"""Whether a word that was heard was said, for the fit of its confidence."""

from pathlib import Path

import pytest
from benchmarks.confidence.said import judged
from hypothesis import given
from hypothesis import strategies as st

from viska.evaluation.manifest import Clip


def verdicts(reference: str, heard: str, language: str | None = "en") -> list[bool | None]:
    """Of each word heard; None where it cannot be told."""
    words = [f" {word}" for word in heard.split()]
    found = judged(Clip("a.wav", Path("a.wav"), language=language, text=reference), " " + heard, words)
    return [found.get(number) for number in range(len(words))]


def test_words_are_right_or_wrong():
    assert verdicts("Good morning, all.", "good evening all") == [True, False, True]
    assert verdicts("good all", "good morning all") == [True, False, True]
    assert verdicts("good morning all", "good all") == [True, True]


def test_together_or_apart_is_the_same():
    assert verdicts("the woodcutters of the north", "the wood cutters of the north") == [True] * 6
    assert verdicts("chefs of world wide fame", "chefs of worldwide fame") == [True] * 4
    assert verdicts("the woodcutters", "the wood cutter") == [True, False, False]


def test_accents_of_latin_letters_are_no_errors():
    assert verdicts("les Etats membres", "Les États membres", "fr") == [True] * 3
    assert verdicts("la única persona", "la unico persona", "es") == [True, False, True]


def test_marks_that_make_other_letters_are():
    assert verdicts("\N{HIRAGANA LETTER KA}", "\N{HIRAGANA LETTER GA}", "ja") == [False]


def test_numbers_that_one_side_spells_cannot_be_judged_but_in_english():
    assert verdicts("heurté dix sept personnes", "heurté 17 personnes", "fr") == [True, None, True]
    assert verdicts("casa dos 20 anos", "casa dos vinte anos", "pt") == [True, True, None, True]
    assert verdicts("casa dos anos", "casa dos 20 anos", "pt") == [True, True, False, True]
    assert verdicts("about seventeen men", "about 17 men") == [True] * 3
    assert verdicts("about some men", "about 17 men") == [True, False, True]


def test_digits_are_compared_one_by_one():
    assert verdicts("one zero two one", "1 0 2 1") == [True] * 4
    assert verdicts("call 10214 now", "call 10 2 7 4 now") == [True, True, True, False, True, True]
    assert verdicts("3061", "601") == [False]


def test_what_stands_in_brackets_is_said():
    assert (
        verdicts("seguridad (fueron tus palabras) de que", "seguridad fueron tus palabras de que", "es") == [True] * 6
    )


def test_nothing_is_right_where_nothing_is_said():
    silent = Clip("a.wav", Path("a.wav"), text="", kind="silence")
    assert judged(silent, " Thank you. —", [" Thank", " you.", " —"]) == {0: False, 1: False}


def test_words_behind_a_free_end_and_words_without_letters_do_not_count():
    clip = Clip("a.wav", Path("a.wav"), language="en", partial_text="good morning")
    assert judged(clip, " so good — morning all", [" so", " good", " —", " morning", " all"]) == {1: True, 3: True}


words = st.lists(st.text("abé1 3", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=12)


@given(words, st.sampled_from(["en", "fr", None]))
def test_what_is_heard_as_it_is_written_is_right(said, language):
    text = " ".join(said)
    assert set(verdicts(text, text, language)) <= {True}


@given(words, words, st.sampled_from(["en", "fr"]))
def test_any_two_texts_can_be_compared(said, heard, language):
    assert set(verdicts(" ".join(said), " ".join(heard), language)) <= {True, False, None}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_errors_do_not_spread_to_their_neighbours(language):
    assert verdicts("a b c d e", "a x c y e", language) == [True, False, True, False, True]
