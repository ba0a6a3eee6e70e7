"""Checks the variables that OpenTelemetry's SDK reads itself.

For many wrong values the SDK logs a warning and uses its default; for others it ends in a traceback. It ignores the
variables of protocols and formats that are not installed here. https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

_SAMPLERS = tuple(
    prefix + name for prefix in ("", "parentbased_") for name in ("always_on", "always_off", "traceidratio")
)
_whole = re.compile(r"[0-9]+").fullmatch
_whole_and_positive = re.compile(r"0*[1-9][0-9]*").fullmatch
_header = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+[ \t]*=[ \t!#-+\--:<-\[\]-~]*").fullmatch


def collector(url: str) -> str:
    """The URL of a collector.

    Raises:
        ValueError: it is not one.
    """
    try:
        parts = urlsplit(url)
        readable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        readable = False
    if not readable or re.search(r"\s", url):
        raise ValueError("must be the URL of a collector that speaks OTLP over HTTP, such as http://collector:4318")
    return url


def trace_problems(variables: Mapping[str, str]) -> list[str]:
    """A line for each variable that the SDK would not accept. No line contains a value, because headers are secret."""
    problems = [
        f"{name}: {expected}"
        for name, value in sorted(variables.items())
        for pattern, is_right, expected in _EXPECTED
        if re.fullmatch(pattern, name) and not is_right(value)
    ]
    return problems or _batch_problems(variables)


def _batch_problems(variables: Mapping[str, str]) -> list[str]:
    queue = int(variables.get("OTEL_BSP_MAX_QUEUE_SIZE", 2048))
    batch = int(variables.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512))
    if batch <= queue:
        return []
    return [
        f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE: is {batch}, but OTEL_BSP_MAX_QUEUE_SIZE allows {queue};"
        " lower the one, or raise the other"
    ]


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in values


def _each(is_right: Callable[[str], object]) -> Callable[[str], bool]:
    return lambda value: all(is_right(part.strip()) for part in value.split(",") if part.strip())


def _ratio(value: str) -> bool:
    return 0 <= _number(value) <= 1


def _positive(value: str) -> bool:
    return 0 < _number(value) < math.inf


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _readable(file: str) -> bool:
    return Path(file).is_file() and os.access(file, os.R_OK)


_OTLP = "OTEL_EXPORTER_OTLP_(TRACES_)?"

# A pattern of names, whether a value is right, and what to say of one that is not.
_EXPECTED: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("OTEL_TRACES_SAMPLER", _one_of(*_SAMPLERS), f"must be one of {', '.join(_SAMPLERS)}"),
    ("OTEL_TRACES_SAMPLER_ARG", _ratio, "must be the share of requests that are traced, from 0 to 1"),
    ("OTEL_TRACES_EXPORTER", _one_of("otlp"), "must be otlp; OTEL_SDK_DISABLED=true turns traces off"),
    (
        "OTEL_PROPAGATORS",
        lambda value: {"tracecontext"} <= {*value.replace(" ", "").split(",")} <= {"tracecontext", "baggage"},
        "must be tracecontext, with or without baggage: only W3C's traceparent is read from callers",
    ),
    (_OTLP + "PROTOCOL", _one_of("http/protobuf"), "must be http/protobuf, on the collector's port 4318"),
    (_OTLP + "HEADERS", _each(_header), "must be name=value, comma-separated, with other characters percent-encoded"),
    (_OTLP + "TIMEOUT", _positive, "must be a number of seconds above 0"),
    (_OTLP + "COMPRESSION", _one_of("none", "gzip", "deflate"), "must be none, gzip or deflate"),
    (_OTLP + "((CLIENT_)?CERTIFICATE|CLIENT_KEY)", _readable, "must be a file that the service can read"),
    ("OTEL_RESOURCE_ATTRIBUTES", _each(lambda pair: "=" in pair), "must be name=value, comma-separated"),
    ("OTEL_BSP_.*", _whole_and_positive, "must be a whole number above 0"),
    ("OTEL_.*_LIMIT", _whole, "must be a whole number, 0 or more"),
)
