"""Windows made of regions of speech, and the way back from their times."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from viska.audio import N_SAMPLES
from viska.transcription.packing import JOIN_SLACK_S, SHORT_GAP_S, PackedWindow, TimeMap, group_regions, pack_regions
from viska.vad import Region

S = 16000


def seconds(*times):
    return tuple(Region(round(start * S), round(end * S)) for start, end in times)


def pieces(windows):
    return [[(piece.start_s, piece.end_s) for piece in window.pieces] for window in windows]


def test_neighbours_become_one_stretch_of_the_recording():
    regions = seconds((1, 10), (10.5, 20), (20.8, 30.5), (31, 40), (50, 52))
    assert pieces(group_regions(regions)) == [[(1, 30.5)], [(31, 40)], [(50, 52)]]
    assert pieces(group_regions(regions, max_gap_s=20)) == [[(1, 30.5)], [(31, 52)]]
    assert pieces(group_regions(regions, max_gap_s=0)) == [[(r.start_s, r.end_s)] for r in regions]


def test_a_window_may_be_full_to_the_sample():
    assert len(group_regions(seconds((0, 10), (11, 30)))) == 1
    assert len(group_regions([Region(0, 10), Region(20, N_SAMPLES + 1)])) == 2
    assert len(pack_regions(seconds((0, 10), (20, 30), (40, 50)))) == 1
    assert len(pack_regions([Region(0, 10 * S), Region(20 * S, 40 * S + 1)])) == 2


def test_long_gaps_are_dropped_and_short_ones_kept():
    regions = seconds((1, 10), (10.5, 12), (60, 70), (71, 72), (200, 212))
    assert pieces(pack_regions(regions)) == [[(1, 12), (60, 72)], [(200, 212)]]


def test_nothing_to_pack():
    assert pack_regions([]) == group_regions([]) == ()
    assert pack_regions([Region(5, 5)]) == group_regions([Region(5, 5)]) == ()


def test_a_region_that_is_too_long_is_cut_where_speech_is_least_probable():
    probabilities = torch.full((1600,), 0.9)
    probabilities[[300, 700, 1200]] = torch.tensor([0.1, 0.3, 0.2])
    region = Region(0, 1600 * 512)
    for pack in (group_regions, pack_regions):
        found = [piece for window in pack([region], probabilities, max_gap_s=0) for piece in window.pieces]
        assert [piece.start / 512 for piece in found[:2]] == [0, 700]
        assert found[-1].end == region.end


@pytest.mark.parametrize("pack", [group_regions, pack_regions])
@pytest.mark.parametrize(
    ("pauses", "cut"),
    [
        ([(650, 651), (700, 720)], 710),  # a breath is no pause
        ([(500, 550), (700, 720)], 710),  # rather in the last third
        ([(500, 550), (560, 570), (1100, 1200)], 525),
    ],
)
def test_it_is_cut_at_the_longest_pause(pack, pauses, cut):
    """A sentence that is broken off loses its end: the decoder does not begin what it cannot end."""
    probabilities = torch.full((1600,), 0.9)
    probabilities[800] = 0.6
    for start, end in pauses:
        probabilities[start:end] = 0.3 if end - start > 1 else 0.01
    first, second, *_ = pack([Region(0, 1600 * 512)], probabilities)
    assert first.end == second.start == cut * 512


def test_without_probabilities_it_is_cut_into_equal_parts():
    assert pieces(group_regions(seconds((10, 80)))) == [
        [(10, pytest.approx(10 + 70 / 3, abs=1e-4))],
        [(pytest.approx(10 + 70 / 3, abs=1e-4), pytest.approx(10 + 140 / 3, abs=1e-4))],
        [(pytest.approx(10 + 140 / 3, abs=1e-4), 80)],
    ]


def test_a_region_behind_the_known_frames_is_cut_all_the_same():
    found = group_regions(seconds((0, 100)), torch.full((3,), 0.5))
    assert [window.n_samples for window in found[:3]] == [N_SAMPLES] * 3


def test_the_samples_of_a_window():
    samples = np.arange(100, dtype=np.float32)
    window = PackedWindow((Region(10, 13), Region(50, 52)))
    assert window.gather(samples).tolist() == [10, 11, 12, 50, 51]
    assert (window.start, window.end, window.n_samples) == (10, 52, 5)
    one = PackedWindow((Region(10, 13),)).gather(samples)
    assert one.tolist() == [10, 11, 12]
    assert np.shares_memory(one, samples)


def test_times_of_a_packed_window():
    times = PackedWindow(seconds((10, 12), (100, 105), (300, 301))).time_map
    assert times.span(0.5, 1.5) == (10.5, 11.5)
    assert times.span(0, 2) == (10, 12)  # an end at a join belongs to the piece before it
    assert times.span(2, 3) == (100, 101)  # a start at a join to the piece behind it
    assert times.span(1, 2.05) == (11, 12)  # so little behind a join that nothing can have been said there
    assert times.span(1.95, 3) == (100, 101)
    assert times.span(1, 2.5) == (11, 100.5)  # a segment may reach over a gap
    assert times.span(7.5, 30) == (300.5, 301)  # behind the last piece there is padding only
    assert times.span(29, 30) == (301, 301)
    assert times.span(2, 2) == (100, 100)


def test_a_word_is_in_one_piece():
    times = TimeMap(seconds((10, 12), (100, 105)))
    assert times.word_span(1.5, 2.2) == (11.5, 12)
    assert times.word_span(1.8, 2.5) == (100, 100.5)
    assert times.word_span(0.25, 0.5) == (10.25, 10.5)
    assert times.word_span(9, 10) == (105, 105)


@st.composite
def region_lists(draw, longest=40.0):
    regions, at = [], 0
    for gap, length in draw(st.lists(st.tuples(st.floats(0, 12), st.floats(0.001, longest)), max_size=25)):
        start = at + round(gap * S)
        at = start + max(1, round(length * S))
        regions.append(Region(start, at))
    return regions


def probabilities_for(regions):
    n_frames = regions[-1].end // 512 + 1 if regions else 0
    return torch.rand(n_frames, generator=torch.Generator().manual_seed(n_frames))


@given(region_lists(), st.floats(0, 5), st.booleans())
def test_windows_hold_all_speech_once_in_order_and_are_not_too_long(regions, max_gap_s, known):
    probabilities = probabilities_for(regions) if known else None
    for pack in (group_regions, pack_regions):
        windows = pack(regions, probabilities, max_gap_s=max_gap_s)
        found = [piece for window in windows for piece in window.pieces]
        assert all(0 < window.n_samples <= N_SAMPLES for window in windows)
        assert all(before.end <= after.start for before, after in pairwise(found))
        for region in regions:
            held = sum(max(0, min(p.end, region.end) - max(p.start, region.start)) for p in found)
            assert held == region.n_samples
        # Nothing is in a window but speech and short gaps.
        gaps = [(before.end, after.start) for before, after in pairwise(regions)]
        for start, end in gaps:
            held = sum(max(0, min(p.end, end) - max(p.start, start)) for p in found)
            assert held == 0 or (held == end - start <= max_gap_s * S)
        outside = sum(p.n_samples for p in found) - sum(r.n_samples for r in regions)
        assert outside <= sum(end - start for start, end in gaps)


@given(region_lists())
def test_no_region_is_cut_that_fits_a_window(regions):
    for pack in (group_regions, pack_regions):
        found = [piece for window in pack(regions, probabilities_for(regions)) for piece in window.pieces]
        for region in regions:
            holders = [p for p in found if p.start < region.end and region.start < p.end]
            assert len(holders) == 1 or region.n_samples > N_SAMPLES


maps = region_lists(longest=8.0).filter(bool)


@given(maps)
def test_windows_are_as_few_as_can_be(regions):
    groups, packed = group_regions(regions), pack_regions(regions)
    assert all(len(window.pieces) == 1 for window in groups)
    assert len(packed) <= len(groups)
    for window, following in pairwise(packed):
        # The region that begins the next window would not have fitted into this one.
        gap = following.start - window.end
        kept = gap if gap <= SHORT_GAP_S * S else 0
        (first,) = (region for region in regions if region.start == following.start)
        assert window.n_samples + kept + first.n_samples > N_SAMPLES


window_times = st.lists(st.floats(0, 60), min_size=2, max_size=20).map(sorted)


@given(maps, window_times)
def test_mapped_times_never_go_back_and_are_never_in_a_gap(regions, times):
    mapped = TimeMap(regions)
    starts, ends = [mapped.original_start(t) for t in times], [mapped.original_end(t) for t in times]
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    for time in starts + ends:
        assert any(region.start_s <= time <= region.end_s for region in regions)
    for start, end in pairwise(times):
        span = mapped.span(start, end)
        assert span[0] <= span[1]
        assert span[1] - span[0] >= 0
        word = mapped.word_span(start, end)
        assert any(region.start_s <= word[0] <= word[1] <= region.end_s for region in regions)
        assert word[1] - word[0] <= end - start + 1e-6


@given(maps, st.data())
def test_a_time_within_a_piece_comes_back_to_its_place(regions, data):
    index = data.draw(st.integers(0, len(regions) - 1))
    region = regions[index]
    join = sum(r.n_samples for r in regions[:index]) / S
    inside = data.draw(st.floats(0, region.n_samples / S))
    mapped = TimeMap(regions)
    slack = min(JOIN_SLACK_S, region.n_samples / S / 2)
    if inside < region.n_samples / S - slack or index == len(regions) - 1:
        assert mapped.original_start(join + inside) == pytest.approx(region.start_s + inside, abs=1e-6)
    if inside > slack + 1e-9 or index == 0:
        assert mapped.original_end(join + inside) == pytest.approx(region.start_s + inside, abs=1e-6)


@given(maps)
def test_every_piece_comes_back_whole(regions):
    mapped, at = TimeMap(regions), 0
    for region in regions:
        start, at = at, at + region.n_samples
        assert mapped.span(start / S, at / S) == pytest.approx((region.start_s, region.end_s), abs=1e-6)
