"""The benchmark's plots as SVG. Their colours follow the reader's light or dark theme."""

import math
from collections.abc import Iterator
from html import escape

from loadtests.benchmark.results import Results

OPERATIONS = ("get", "list of 20", "create", "toggle")
# The rows of RESULTS.md, their names in the plots, and the CSS class of their colour.
SERVERS = (
    ("floor", "bare ASGI and asyncpg", "floor"),
    ("this service", "this service", "own"),
    ("fastify", "Fastify in Node", "peer"),
    ("tutorial", "tutorial's FastAPI and SQLModel", "other"),
)
WIDTH = 820
LEFT, RIGHT, TOP = 230, 90, 64
ROW, GAP = 17, 30
_STYLE = """\
text { fill: #1f2328; font: 13px sans-serif } .title { font-size: 16px; font-weight: bold } .note { fill: #59636e }
.paper { fill: #ffffff } .grid { stroke: #d1d9e0 }
.floor { fill: #818b98; stroke: #818b98 } .own { fill: #0969da; stroke: #0969da }
.peer { fill: #1a7f37; stroke: #1a7f37 } .other { fill: #bc4c00; stroke: #bc4c00 } .bold { font-weight: bold }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .note { fill: #9198a1 } .paper { fill: #0d1117 } .grid { stroke: #3d444d }
.floor { fill: #9198a1; stroke: #9198a1 } .own { fill: #4493f8; stroke: #4493f8 }
.peer { fill: #3fb950; stroke: #3fb950 } .other { fill: #db6d28; stroke: #db6d28 } }"""


def cpu(results: Results) -> str:
    """Bars of the CPU per request, as a multiple of the floor's."""
    section = "CPU per request"
    values = {
        (row, operation): results.number(section, row, operation, part=1)
        for row, _, _ in SERVERS
        for operation in OPERATIONS
    }
    scale = (WIDTH - LEFT - RIGHT) / max(values.values())
    parts = []
    for operation, row, label, kind, y in _rows():
        width = values[row, operation] * scale
        parts.append(f'<rect class="{kind}" x="{LEFT}" y="{y - 11}" width="{width:.1f}" height="{ROW - 5}"/>')
        parts.append(_text(LEFT + width + 8, y, f"{values[row, operation]:.2f}", _bold(kind)))
        parts.append(_text(LEFT - 8, y, label, _bold(kind), anchor="end"))
    return _picture(
        "Server CPU per request, bare ASGI with asyncpg = 1",
        f"one worker, 100 connections; make benchmark, {results.date}",
        parts,
    )


def tail(results: Results) -> str:
    """A line from p50 to p99 for each server, on a logarithmic scale."""
    section = "The tail at 100 connections"
    ends = 1.0, 2000.0

    def x(value: float) -> float:
        share = math.log(value / ends[0]) / math.log(ends[1] / ends[0])
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    bottom = _height() - 26
    parts = []
    for tick in (1, 10, 100, 1000):
        parts.append(f'<path class="grid" d="M{x(tick):.1f} {TOP - 8}V{bottom}"/>')
        parts.append(_text(x(tick), bottom + 16, f"{tick:,} ms", "note", anchor="middle"))
    for operation, row, label, kind, y in _rows():
        half, last = (results.number(section, row, operation, part) for part in (0, 1))
        parts.append(f'<path class="{kind}" d="M{x(half):.1f} {y - 5}H{x(last):.1f}" stroke-width="3"/>')
        parts += [f'<circle class="{kind}" cx="{x(value):.1f}" cy="{y - 5}" r="4"/>' for value in (half, last)]
        parts.append(_text(x(last) + 10, y, f"{half:g} to {last:g} ms", _bold(kind)))
        parts.append(_text(LEFT - 8, y, label, _bold(kind), anchor="end"))
    return _picture(
        "Latency from p50 to p99, at 100 connections that never pause",
        f"one worker on one core; make benchmark, {results.date}",
        parts,
    )


def _rows() -> Iterator[tuple[str, str, str, str, int]]:
    """The operation, row, label, class and baseline of each line of a plot."""
    for group, operation in enumerate(OPERATIONS):
        for number, (row, label, kind) in enumerate(SERVERS):
            yield operation, row, label, kind, TOP + GAP + group * (GAP + ROW * len(SERVERS)) + number * ROW


def _height() -> int:
    return TOP + len(OPERATIONS) * (GAP + ROW * len(SERVERS)) + 30


def _bold(kind: str) -> str:
    return "bold" if kind == "own" else ""


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(title: str, note: str, parts: list[str]) -> str:
    headings = [
        _text(16, TOP + GAP + group * (GAP + ROW * len(SERVERS)) - 16, operation, "bold")
        for group, operation in enumerate(OPERATIONS)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {_height()}" role="img">'
    return "\n".join(
        [
            head,
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{_height()}" rx="6"/>',
            _text(16, 26, title, "title"),
            _text(16, 46, note, "note"),
            *headings,
            *parts,
            "</svg>\n",
        ]
    )
