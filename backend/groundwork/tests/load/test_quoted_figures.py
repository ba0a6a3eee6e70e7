"""The figures that pages quote are those of the one place where they stand, which a command writes.

If a page does not hold a whole sentence, the test fails and says which sentence it should hold.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Sequence

import pytest

from groundwork.tests.load import quotes_of_code, quotes_of_pages, quotes_of_results
from groundwork.tests.load.quotes import ROOT, Quote, page_text
from loadtests.benchmark import drawings
from loadtests.benchmark.results import Results, results
from loadtests.model.__main__ import predict
from loadtests.model.service import Deployment

# A number with one of the units of this project's figures.
_FIGURE = re.compile(r"\d[\d,.]* ?(?:ms|µs|s|MiB|MB|kB|\N{MULTIPLICATION SIGN}|times|requests/s|%)(?!\w)")

GROUPS = [*quotes_of_results.GROUPS, *quotes_of_pages.GROUPS, *quotes_of_code.GROUPS]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group.__module__.rpartition('.')[2]}.{group.__name__}")
def test_pages_quote_their_sources(group: Callable[[], Iterable[Quote]]) -> None:
    missing = [quote for quote in group() if quote.expected not in page_text(quote.page)]
    assert not missing, "\n".join(f"{quote.page} should say: {quote.expected}" for quote in missing)


def test_the_readme_has_no_figure_of_its_own() -> None:
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text)
    for quote in itertools.chain.from_iterable(group() for group in GROUPS):
        text = text.replace(quote.expected, "")
    assert _FIGURE.findall(text) == []


@pytest.mark.parametrize(
    ("row", "deployment"),
    [
        ("| 10, the default | {} |", Deployment(rate=5000, workers=2, pool_size=10)),
        ("| 3 workers | 330 ms | {} | 1.6 ms |", Deployment(users=2000, workers=3, pool_size=2)),
    ],
)
def test_the_page_on_connections_has_what_the_model_predicts(row: str, deployment: Deployment) -> None:
    """Two cells of its tables: all of them take a minute."""
    assert row.format(f"{predict(deployment).p95_seconds * 1000:.1f} ms") in page_text(quotes_of_pages.CONNECTIONS)


def _mix(costs: Sequence[int]) -> int:
    """Of get, list, create and toggle, in the shares of the load test `crud`."""
    return round(sum(share * cost for share, cost in zip((0.34, 0.35, 0.10, 0.21), costs[:4], strict=True)))


@pytest.mark.parametrize(
    "page", ["docs/capacity.md", "docs/scaling.md", "backend/groundwork/docs/beyond-one-database.md"]
)
def test_plans_follow_from_the_costs_of_a_request(page: str) -> None:
    """docs/capacity.md has the costs. What a core bears is computed from them, and rounded to hundreds."""
    service, database = [
        [int(value) for value in re.findall(r"\d+(?= µs|,)", line.split("|")[2])]
        for line in (ROOT / "docs/capacity.md").read_text().splitlines()
        if re.match(r"\| (service's|PostgreSQL's) CPU per request", line)
    ]
    assert [_mix(service), _mix(database)] == [service[-1], database[-1]]
    full, busy = (f"{round(seconds * 1e6 / service[-1], -2):,.0f}" for seconds in (1, 0.6))
    core = f"{round(0.6e6 / database[-1], -2):,.0f}"
    expected = {
        "docs/capacity.md": f"2 / {service[-1]} µs = {round(2e6 / service[-1], -2):,.0f} requests/s",
        "docs/scaling.md": f"{busy} requests/s for each worker at 60 %, {full} at most",
        "backend/groundwork/docs/beyond-one-database.md": f"database core bears {core} requests/s",
    }
    assert expected[page] in page_text(page)
    assert f"{core} requests/s for each core at 60 %" in page_text("docs/scaling.md")


@pytest.mark.parametrize(("name", "draw"), [("cpu.svg", drawings.cpu), ("tail.svg", drawings.tail)])
def test_the_plots_show_the_last_results(name: str, draw: type[str]) -> None:
    assert (ROOT / "docs" / "pictures" / name).read_text() == draw(results()), "make pictures draws them again"


def test_pictures_stay_small() -> None:
    assert sum(file.stat().st_size for file in (ROOT / "docs" / "pictures").iterdir()) < 300_000


def test_figures_are_read_as_they_are_written() -> None:
    text = (
        "Written by `make benchmark` (5 rounds of 1 s, 10,000 rows) on 8 May 2026. 2 cores.\n\n## Some\n\nNotes.\n\n"
        "| a | get |\n| --- | ---: |\n| floor | 1,054 = 1.19 |\n| this service | 2.4 ms, 55.7 ms, 22.56 |\n"
    )
    read = Results(text)
    assert read.date == "8 May 2026"
    assert read.cell("Some", "floor", "get") == ["1,054", "1.19"]
    assert read.number("Some", "floor", "get") == 1054
    assert read.cell("Some", "this service", "get") == ["2.4 ms", "55.7 ms", "22.56"]
    with pytest.raises(KeyError, match="list"):
        read.cell("Some", "floor", "list")
