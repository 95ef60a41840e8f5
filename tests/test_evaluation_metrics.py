"""Alignment, loops, intervals and calibration: what they give where the answer is known."""

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viska.evaluation import bootstrap
from viska.evaluation.alignment import align, best_fit, gaps
from viska.evaluation.calibration import calibration
from viska.evaluation.loops import Loop, find_loops, loops_made_up
from viska.evaluation.score import Judged
from viska.evaluation.units import invented_words, owners, unit_of, units, units_of_any_script

texts = st.lists(st.sampled_from("abcde"), max_size=12)


def kinds(reference, hypothesis, **how):
    return [pair.kind for pair in align(reference.split(), hypothesis.split(), **how)]


def distance(reference, hypothesis):
    """Levenshtein's, straight from its definition."""
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, start=1):
        before, row = row, [i]
        for j, heard in enumerate(hypothesis, start=1):
            row.append(min(row[-1] + 1, before[j] + 1, before[j - 1] + (said != heard)))
    return row[-1]


def n_edits(pairs):
    return sum(pair.kind not in ("hit", "free") for pair in pairs)


def test_kinds():
    assert kinds("a b c", "a x c d") == ["hit", "substitution", "hit", "insertion"]
    assert kinds("a b c", "") == ["deletion"] * 3
    assert kinds("", "a b") == ["insertion"] * 2


@given(texts, texts, st.booleans())
def test_an_alignment_has_every_unit_once_and_in_order(reference, hypothesis, free_ends):
    pairs = align(reference, hypothesis, free_ends=free_ends)
    assert [pair.reference for pair in pairs if pair.reference is not None] == list(range(len(reference)))
    assert [pair.hypothesis for pair in pairs if pair.hypothesis is not None] == list(range(len(hypothesis)))
    for pair in pairs:
        both = pair.reference is not None and pair.hypothesis is not None
        assert both == (pair.kind in ("hit", "substitution"))
        if both:
            assert (reference[pair.reference] == hypothesis[pair.hypothesis]) == (pair.kind == "hit")


@given(texts, texts)
def test_the_fewest_edits(reference, hypothesis):
    assert n_edits(align(reference, hypothesis)) == distance(reference, hypothesis)


@given(texts.filter(bool), texts.filter(bool))
def test_the_counts_of_jiwer(reference, hypothesis):
    found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    pairs = [pair.kind for pair in align(reference, hypothesis)]
    assert len(pairs) - pairs.count("hit") == found.substitutions + found.deletions + found.insertions


@given(texts, texts)
def test_free_ends_fit_as_well_as_can_be(reference, hypothesis):
    start, end = best_fit(reference, hypothesis)
    assert 0 <= start <= end <= len(hypothesis)
    every = [distance(reference, hypothesis[i:j]) for j in range(len(hypothesis) + 1) for i in range(j + 1)]
    assert distance(reference, hypothesis[start:end]) == min(every)


def test_what_stands_before_and_behind_a_part_is_free():
    found = kinds("b c d", "x y b c d z", free_ends=True)
    assert found == ["free", "free", "hit", "hit", "hit", "free"]
    assert kinds("b c d", "x b d z", free_ends=True) == ["free", "hit", "deletion", "hit", "free"]
    assert "deletion" in kinds("b c d", "", free_ends=True)


def test_a_gap_is_as_long_however_its_substitutions_lie():
    (gap,) = gaps(align(["a", "b", "c", "d", "e", "f", "g"], ["a", "x", "y", "g"]))
    assert (gap.reference, gap.surplus) == ((1, 2, 3, 4, 5), 3)
    first, last = gaps(align(["a", "b", "c"], ["x", "b", "c", "d", "e"]))
    assert (first.surplus, last.surplus, last.hypothesis) == (0, -2, (3, 4))
    assert list(gaps(align(["b"], ["a", "b", "c"], free_ends=True))) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no no no he said", []),
        ("no no no no no no", [Loop(0, 6, 1)]),
        ("thank you thank you thank you", [Loop(0, 6, 2)]),
        ("a b c a b c a b", []),
        ("x a b c a b c a b c y", [Loop(1, 10, 3)]),
        ("a b c a b c a b c a b", [Loop(0, 11, 3)]),
        ("a a a a a a z b c b c b c", [Loop(0, 6, 1), Loop(7, 13, 2)]),
        ("", []),
    ],
)
def test_loops(text, expected):
    assert find_loops(text.split()) == expected


def test_loops_of_characters_are_longer():
    assert not find_loops("はははははは")
    (loop,) = find_loops("ご視聴ありがとう" * 4)
    assert (loop.copies, loop.length) == (4, 8)


@pytest.mark.parametrize(
    ("said", "heard", "n"),
    [
        ("please stay " * 3, "please stay " * 30, 1),
        ("please stay " * 3, "please stay " * 3, 0),
        ("please stay " * 3, "please stay " * 4, 1),
        ("please stay " * 30, "please stay " * 9 + "please " + "stay please " * 9, 0),
        ("please stay " * 3, "thank you so much " * 20, 1),
        ("please stay " * 3, "stay " + "please stay " * 3, 0),
        ("please stay " * 3, "please stay " * 3 + "x " + "please stay " * 3, 1),
        ("la " * 8 + "x " + "la " * 8, "la " * 8 + "x " + "la " * 8, 0),
        ("la " * 8, "la " * 30 + "x " + "la " * 8, 1),
        ("", "la " * 8, 1),
    ],
)
def test_loops_are_made_up_where_they_were_not_said_as_often(said, heard, n):
    assert len(loops_made_up(said.split(), heard.split())) == n


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8), st.integers(6, 9), texts, texts)
def test_a_planted_loop_is_found(phrase, copies, before, behind):
    found = find_loops([*before, *phrase * copies, *behind])
    covered = {i for loop in found for i in range(loop.start, loop.end)}
    planted = range(len(before), len(before) + copies * len(phrase))
    assert len(covered.intersection(planted)) > len(planted) / 2


@given(texts)
def test_every_loop_repeats_its_phrase(text):
    for loop in find_loops(text):
        assert all(text[i] == text[i - loop.length] for i in range(loop.start + loop.length, loop.end))
        assert loop.copies >= 3


def test_units():
    assert units("Mr. Smith's colour—twenty-five!", "en") == ["mister", "smith", "is", "color", "25"]
    assert units("Ça alors, c'est l'été.", "fr") == ["ça", "alors", "c", "est", "l", "été"]
    assert units("你好,世界 ABC", "zh") == ["你", "好", "世", "界", "a", "b", "c"]
    assert (unit_of("ja"), unit_of("de"), unit_of("mul"), unit_of(None)) == ("character", "word", "word", "word")
    assert units("the world’s week", "en") == units("the world's week", "en")  # noqa: RUF001  # a curly apostrophe


def test_invented_words_in_whatever_script():
    assert invented_words(" Thank you.") == 2
    assert invented_words("♪ ... [Music]") == 0
    assert invented_words("ご視聴") == 3
    assert invented_words("") == 0


def test_units_of_any_script():
    assert units_of_any_script("Thank you, 谢谢观看 TV局!") == ["thank", "you", "谢", "谢", "观", "看", "tv", "局"]
    assert units_of_any_script("we can't", "en") == units("we can't", "en")
    assert units_of_any_script("ABC", "zh") == ["abc"]


def test_owners_through_numbers_and_brackets():
    words = [" There", " are", " twenty", "-five", " [laughs", " loudly]", " of", " us."]
    whole = units("".join(words), "en")
    assert whole == ["there", "are", "25", "of", "us"]
    found = owners(words, whole, "en")
    assert [found[0], found[1], found[3], found[4]] == [0, 1, 6, 7]
    assert found[2] in (2, 3)
    assert owners([], ["a"], "en") == [None]
    assert owners(["!"], ["a"], "en") == [None]


@given(st.lists(st.sampled_from(["We", "can't", "25", "...", "naïve", "Mr.", "of"]), max_size=8))
def test_owners_of_whole_texts_are_in_order(words):
    found = owners(words, units(" ".join(words), "en"), "en")
    known = [place for place in found if place is not None]
    assert known == sorted(known)


def test_rates_by_hand():
    assert bootstrap.micro([1, 3], [10, 10]).value == pytest.approx(0.2)
    assert bootstrap.macro([1, 3], [10, 5]).value == pytest.approx(0.35)
    assert bootstrap.micro([1], [10]) == bootstrap.Estimate(0.1)
    assert bootstrap.micro_difference([(1, 10), (3, 10)], [(2, 10), (4, 10)]).value == pytest.approx(0.1)
    assert bootstrap.mean_difference([0.1, 0.3], [0.2, 0.2]).value == pytest.approx(0)


def test_intervals_are_the_same_each_time_and_hold_the_value():
    errors, totals = list(range(40)), [50 + i % 7 for i in range(40)]
    found = bootstrap.micro(errors, totals)
    assert found == bootstrap.micro(errors, totals)
    assert found != bootstrap.micro(errors, totals, seed=1)
    assert found.low < found.value < found.high


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        estimate = bootstrap.micro(rng.binomial(20, 0.2, size=60), [20] * 60)
        covered += estimate.low <= 0.2 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_pairs_show_a_small_difference_that_single_runs_hide():
    rng = np.random.default_rng(3)
    hard = rng.uniform(0, 0.6, size=80)
    first = [(int(100 * share), 100) for share in hard]
    second = [(errors + 1, total) for errors, total in first]
    difference = bootstrap.micro_difference(first, second)
    assert difference.low > 0
    assert difference.value == pytest.approx(0.01)
    alone = bootstrap.micro([errors for errors, _ in first], [100] * 80)
    assert alone.high - alone.low > 0.05


def judged(*pairs):
    return [Judged(correct, sure) for sure, correct in pairs]


def test_calibration_by_hand():
    found = calibration(judged((0.9, True), (0.9, True), (0.9, False), (0.2, False)), "probability")
    assert found.expected_error == pytest.approx((3 * abs(0.9 - 2 / 3) + 0.2) / 4)
    assert found.brier == pytest.approx((0.01 + 0.01 + 0.81 + 0.04) / 4)
    assert found.area == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
    assert [one.n for one in found.bins] == [1, 3]


def test_calibration_at_its_ends():
    assert calibration(judged((1.0, True), (0.0, False)), "probability").expected_error == 0
    assert calibration(judged((1.0, True)), "probability").area is None
    assert calibration([Judged(True)], "probability") is None
    assert calibration([Judged(True, 0.5, 1.0)], "confidence").brier == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_the_chance_of_a_right_order(pairs):
    found = calibration(judged(*pairs), "probability").area
    right, wrong = ([sure for sure, correct in pairs if correct is which] for which in (True, False))
    if not right or not wrong:
        assert found is None
    else:
        chances = [(a > b) + (a == b) / 2 for a in right for b in wrong]
        assert found == pytest.approx(sum(chances) / len(chances))


def test_honest_confidences_have_little_error():
    rng = np.random.default_rng(0)
    sure = rng.uniform(size=20000)
    words = judged(*zip(sure.tolist(), (rng.uniform(size=20000) < sure).tolist(), strict=True))
    assert calibration(words, "probability").expected_error < 0.02
