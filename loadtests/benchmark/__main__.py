"""Runs the measurements and prints their tables. If all of them ran, it writes the tables to RESULTS.md."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from groundwork.dev.postgres import EmbeddedPostgresError
from loadtests.benchmark import cost, crowd, growth, headers, instructions, limit, sign_in, start
from loadtests.benchmark.database import MANY, SMALL_ROWS, running_server
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, render, replace
from loadtests.benchmark.results import RESULTS

# The parts that leave the disk busy come last.
PARTS = ("limit", "cpu", "instructions", "sign-in", "headers", "crowd", "start", "memory", "growth")
_TEMPLATE = "template"


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        sections, version = measure(options)
    except (EmbeddedPostgresError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return os.EX_UNAVAILABLE
    described = f"{options.rounds} round{'s' * (options.rounds > 1)} of {options.seconds:g} s, {options.rows:,} rows"
    text = render(sections, postgres=version, options=described)
    sys.stdout.write(text)
    if set(options.only) == set(PARTS):
        write(text)
    elif options.write:
        command = f'make benchmark ARGS="{" ".join(arguments)}"'
        write(replace(RESULTS.read_text(), sections, command))
    return os.EX_OK


def write(text: str) -> None:
    RESULTS.write_text(text)
    say(f"written to {RESULTS.relative_to(Path.cwd())}; next: make pictures, and the pages that quote it")


def measure(options: argparse.Namespace) -> tuple[list[Section], str]:
    """The tables, and PostgreSQL's version."""
    say("preparing the database")
    rounds: int = options.rounds
    seconds: float = options.seconds
    with running_server() as server:
        with server.database(_TEMPLATE) as template:
            template.migrate()
            template.fill(SMALL_ROWS)
            parts: dict[str, Callable[[], list[Section]]] = {
                "limit": limit.measure,
                "cpu": lambda: cost.measure(server, _TEMPLATE, rounds=rounds, seconds=seconds),
                "instructions": lambda: instructions.measure(server, _TEMPLATE),
                "sign-in": lambda: sign_in.measure(server, _TEMPLATE, rounds=rounds, seconds=seconds),
                "headers": lambda: headers.measure(server, _TEMPLATE, rounds=rounds, seconds=seconds),
                "crowd": lambda: crowd.measure(server, _TEMPLATE, rounds=rounds, seconds=seconds),
                "start": lambda: start.measure_start(server, _TEMPLATE),
                "memory": lambda: start.measure_memory(server, _TEMPLATE),
                "growth": lambda: growth.measure(server, _TEMPLATE, rows=options.rows),
            }
            sections = [section for name in PARTS if name in options.only for section in parts[name]()]
        return sections, server.version


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "make benchmark",
        description="Measure the service beside the floor and a tutorial's service; options go into ARGS.",
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure only these; see --write")
    parser.add_argument("--write", action="store_true", help="write what --only measured to RESULTS.md")
    parser.add_argument("--rounds", type=_at_least(1), default=3, help="number of rounds; the medians count (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load (3)")
    parser.add_argument(
        "--rows",
        type=_at_least(2 * MANY),
        default=1_000_000,
        help="rows of the large table (1,000,000; the target has 10000000)",
    )
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"at least {least}")
        return number

    return convert


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
