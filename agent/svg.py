"""Pieces of a chart as SVG: a plot with its two scales, grid lines, escaped words, lines, bars and areas.

Everything is a string, and nothing is fetched: a picture stands alone in a file or inline in a page. In a page the ink
is `currentColor`, so that it is readable on a light and on a dark ground.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

HUES = ("#1b6ca8", "#2a9d5c", "#e08e0b", "#c8372d", "#7b3fa0", "#5b6770", "#0fa3b1", "#9c6644")
INK, GRID = "#222", "#ddd"
PAGE_INK, PAGE_GRID = "currentColor", "#8886"


@dataclass(frozen=True, slots=True)
class Plot:
    """A rectangle of the picture, and the values at its edges."""

    left: float
    right: float
    top: float
    bottom: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return self.left + (value - self.x_low) / ((self.x_high - self.x_low) or 1.0) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.y_low) / ((self.y_high - self.y_low) or 1.0) * (self.bottom - self.top)


def words(x: float, y: float, text: str, anchor: str, size: int = 12, hue: str = INK) -> str:
    """A text at a place; `anchor` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{hue}">{escape(text)}</text>'


def grid_lines(
    plot: Plot, values: Iterable[float], told: Callable[[float], str], ink: str = INK, grid: str = GRID
) -> Iterator[str]:
    """Horizontal lines at values, which stand on the left."""
    for value in values:
        at = plot.y(value)
        yield f'<path d="M{plot.left:g} {at:.1f}H{plot.right:g}" stroke="{grid}"/>'
        yield words(plot.left - 6, at + 4, told(value), "end", hue=ink)


def round_values(low: float, high: float, about: int = 4) -> list[float]:
    """Some values between two others that are easily read: multiples of 1, 2 or 5 and a power of ten."""
    rough = (high - low) / about
    if not rough > 0.0:
        return [low]
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= rough * (1.0 - 1e-9))
    return [step * n for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def stroke(plot: Plot, points: Iterable[tuple[float, float]], hue: str) -> str:
    """One line through points in values."""
    drawn = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in points)
    return f'<polyline points="{drawn}" fill="none" stroke="{hue}" stroke-width="2"/>'


def bar(plot: Plot, x_from: float, x_until: float, value: float, hue: str, told: str) -> str:
    """A bar from zero to `value`, with words that a pointer shows."""
    left, right = plot.x(x_from), plot.x(x_until)
    top, bottom = sorted((plot.y(0.0), plot.y(value)))
    return (
        f'<rect x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(right - left - 1.0, 0.5):.1f}" '
        f'height="{bottom - top:.1f}" fill="{hue}"><title>{escape(told)}</title></rect>'
    )


def area(plot: Plot, points: Sequence[tuple[float, float]], hue: str) -> str:
    """What lies between points in values and zero."""
    if not points:
        return ""
    zero = f"{plot.y(0.0):.1f}"
    drawn = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in points)
    first, last = plot.x(points[0][0]), plot.x(points[-1][0])
    return f'<polygon points="{first:.1f},{zero} {drawn} {last:.1f},{zero}" fill="{hue}"/>'
