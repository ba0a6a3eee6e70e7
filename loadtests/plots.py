"""A line chart as SVG. It is enough for a report and needs no plotting library."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 900, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 130, 34, 30
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f")


def chart(
    title: str,
    seconds: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    log: bool = False,
    limit: float = math.inf,
) -> str:
    """Each line over the same seconds. `log` suits latencies: 5 ms and 500 ms can both be read. A finite `limit` is
    drawn too."""
    limits = [limit] if limit < math.inf else []
    most = max([0, *limits, *(value for line in lines.values() for value in line)])
    ticks = _log_ticks(most) if log else _ticks(most)
    end = max(seconds, default=0) or 1

    def x(second: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * second / end

    def y(value: float) -> float:
        share = math.log10(max(value, 1)) / math.log10(ticks[-1]) if log else value / ticks[-1]
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for tick in ticks:
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    parts += [
        f'<text x="{x(second):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{second:,g} s</text>'
        for second in _ticks(end, steps=8)
        if second <= end
    ]
    for value in limits:
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#000" stroke-dasharray="6 4"/>')
        parts.append(f'<text x="{WIDTH - RIGHT - 4}" y="{y(value) - 4:.1f}" text-anchor="end">gate: {value:,g}</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(second):.1f},{y(value):.1f}" for second, value in zip(seconds, line, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 12}" y="{TOP + 12 + 18 * number}" fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _ticks(most: float, steps: int = 5) -> list[float]:
    """Ticks at round numbers, up to or beyond `most`."""
    rough = max(most, 1) / steps
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return [step * number for number in range(steps + 1)]


def _log_ticks(most: float) -> list[float]:
    return [10.0**power for power in range(max(1, math.ceil(math.log10(max(most, 10)))) + 1)]
