"""Plots as inline SVG; their colours are the page's."""

from collections.abc import Sequence
from html import escape

from viska.evaluation.calibration import Calibration

WIDTH, HEIGHT, MARGIN = 640, 240, 34


def bars(values: Sequence[tuple[str, float, str]], label: str, top: float | None = None) -> str:
    """Bars of (name, value, class), highest first; higher ones than `top` are cut, and say so in their name."""
    ordered = sorted(values, key=lambda one: -one[1])
    top = top or max((value for _, value, _ in ordered), default=0) or 1
    step = (WIDTH - 2 * MARGIN) / max(len(ordered), 1)
    shapes = []
    for i, (name, value, style) in enumerate(ordered):
        height = max(1.0, min(value / top, 1) * (HEIGHT - 2 * MARGIN))
        x, y = MARGIN + i * step, HEIGHT - MARGIN - height
        shapes.append(
            f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{max(step * 0.85, 0.6):.1f}" height="{height:.1f}">'
            f"<title>{escape(name)}</title></rect>"
        )
    return _svg(label, _axes(f"{top:g}", ""), "".join(shapes))


def calibration_curve(curves: Sequence[tuple[str, Calibration]], label: str) -> str:
    """How often each confidence was right, bin by bin; the diagonal is what it claims. Circles grow with words."""
    shapes = [f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>']
    for i, (name, curve) in enumerate(curves):
        points = " ".join(f"{_x(one.confidence)},{_y(one.correct)}" for one in curve.bins)
        shapes.append(f'<polyline class="curve curve{i}" points="{points}"/>')
        for one in curve.bins:
            title = f"{name} {one.confidence:.2f}: {100 * one.correct:.0f} % of {one.n} words right"
            radius = 2 + 8 * (one.n / curve.n) ** 0.5
            shapes.append(
                f'<circle class="dot curve{i}" cx="{_x(one.confidence)}" cy="{_y(one.correct)}" r="{radius:.1f}">'
                f"<title>{escape(title)}</title></circle>"
            )
        shapes.append(f'<text class="curve{i}" x="{MARGIN + 10}" y="{MARGIN + 16 * (i + 1)}">{escape(name)}</text>')
    return _svg(label, _axes("1", "1"), "".join(shapes))


def _x(share: float) -> str:
    return f"{MARGIN + share * (WIDTH - 2 * MARGIN):.1f}"


def _y(share: float) -> str:
    return f"{HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN):.1f}"


def _axes(top: str, right: str) -> str:
    return (
        f'<path class="axis" d="M{MARGIN},{MARGIN} V{HEIGHT - MARGIN} H{WIDTH - MARGIN}"/>'
        f'<text class="tick" x="{MARGIN - 6}" y="{MARGIN + 5}" text-anchor="end">{escape(top)}</text>'
        f'<text class="tick" x="{MARGIN - 6}" y="{HEIGHT - MARGIN + 5}" text-anchor="end">0</text>'
        f'<text class="tick" x="{WIDTH - MARGIN}" y="{HEIGHT - MARGIN + 18}" text-anchor="end">{escape(right)}</text>'
    )


def _svg(label: str, *parts: str) -> str:
    return (
        f'<figure><figcaption>{escape(label)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg></figure>'
    )
