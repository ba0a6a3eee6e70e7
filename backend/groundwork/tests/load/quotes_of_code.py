"""Limits and defaults that pages name in numbers. The code has them."""

import re
from collections.abc import Iterator
from inspect import signature

from groundwork.auth import issuer, tokens
from groundwork.data import connection_limits, idempotency_records, pool, reconnection
from groundwork.fast import connection
from groundwork.http import byte_budget, overload, rate_limit
from groundwork.jobs import handlers, webhooks
from groundwork.observe import access_log
from groundwork.serve.backfill import Backfill
from groundwork.serve.settings import Settings
from groundwork.tests import BACKEND
from groundwork.tests.load.quotes import ROOT, Quote
from groundwork.tests.process.test_memory import LIMIT_MB

KIB = 1024
MIB = 1024 * KIB
_BUCKET_BYTES = 8


def of_http() -> Iterator[Quote]:
    page = "SECURITY.md"
    yield Quote(
        page,
        "{} KiB and {} fields of head, `CLIENT_WAIT_SECONDS`, {} requests waiting",
        [f"{connection.HEAD_LIMIT_BYTES // KIB}", f"{connection.FIELD_LIMIT}", f"{connection.PIPELINE_LIMIT}"],
    )
    small = f"{byte_budget.SMALL_BYTES // KIB}"
    yield Quote(
        page,
        "`MEMORY_BUDGET_BYTES`, {} MiB in each worker, for all requests and answers in flight. When it is used up, a"
        " request that would add more than {} KiB gets 503",
        [f"{byte_budget.DEFAULT_BYTES // MIB}", small],
    )
    yield Quote(page, "The budget does not count {} KiB each way", [small])
    yield Quote(page, "stays below {} MB", [f"{LIMIT_MB}"])
    hours = f"{idempotency_records.KEPT_FOR.total_seconds() / 3600:.0f}"
    yield Quote("README.md", "for {} hours each retry gets the first answer.", [hours])
    yield Quote("backend/groundwork/http/openapi_guide.md", "within {} hours.", [hours])
    buckets = rate_limit._BUCKETS
    yield Quote(
        "backend/groundwork/docs/limits.md",
        "A container takes {} MiB for its {} buckets",
        [f"{buckets * _BUCKET_BYTES // MIB}", f"{buckets:,}"],
    )
    refusals = f"{1 / overload._PAUSE_SECONDS:,.0f}"
    yield Quote("docs/capacity.md", "as long as a worker has no more than {} of them a second.", [refusals])
    faults = "backend/groundwork/tests/faults/README.md"
    yield Quote(faults, "Up to {} times a second in each worker, a refusal leaves at once", [refusals])
    yield Quote(
        faults,
        "one attempt to connect follows another, {} to {} s after a failure and {} s after",
        [
            f"{reconnection._SHORTEST_PAUSE_SECONDS}",
            f"{reconnection._LONGEST_PAUSE_SECONDS}",
            f"{reconnection._HANGING_SECONDS}",
        ],
    )
    words = {5: "five"}
    yield Quote(faults, "idle for more than {} seconds is checked", [words[round(pool._TRUSTED_SECONDS)]])


def of_sign_in() -> Iterator[Quote]:
    page = "docs/sign-in.md"
    yield Quote(page, "The clocks may differ by {} seconds.", [f"{tokens.CLOCK_SKEW_SECONDS}"])
    yield Quote(page, "A token above {} KiB is refused", [f"{tokens.TOKEN_LIMIT_BYTES // KIB}"])
    yield Quote(page, "A document has {} KiB at most", [f"{issuer.DOCUMENT_LIMIT_BYTES // KIB}"])
    yield Quote(page, "until they expire: {} in each worker", [f"{tokens.CACHE_LIMIT:,}"])


def of_jobs() -> Iterator[Quote]:
    page = "backend/groundwork/docs/jobs.md"
    # Read, not imported: with the worker comes the jobs' table, which the databases of other tests lack.
    worker = (BACKEND / "groundwork/jobs/worker.py").read_text()
    grace, blocked = (re.findall(rf"^{name}_SECONDS = (\d+)$", worker, re.MULTILINE) for name in ("GRACE", "BLOCKED"))
    first, second, third, last = handlers.RETRY_AFTER
    yield Quote(page, "`timeout_seconds` + {} s after they began", grace)
    yield Quote(
        page,
        "tried again after {} s, {} s, {} min and {} h (`retry_after=`)",
        [f"{first}", f"{second}", f"{third // 60}", f"{last // 3600}"],
    )
    yield Quote(page, "blocks the event loop for {} s ends the process", blocked)
    timeout = signature(handlers.Jobs.job).parameters["timeout_seconds"].default
    yield Quote(page, "`timeout_seconds` ({}) cancels it.", [f"{timeout}"])
    words = {8: "eight"}
    yield Quote(
        page,
        "tried {} times in {} hours",
        [words[len(webhooks.RETRY_AFTER) + 1], f"{sum(webhooks.RETRY_AFTER) / 3600:.0f}"],
    )


def of_the_rest() -> Iterator[Quote]:
    yield Quote("backend/groundwork/docs/logs.md", "is cut after {} bytes.", [f"{access_log._AGENT_BYTES}"])
    defaults = Backfill._field_defaults
    page = "backend/groundwork/docs/migrations.md"
    yield Quote(page, "Each batch reads the next {} rows", [f"{defaults['batch']:,}"])
    yield Quote(page, "the run pauses for {} ms.", [f"{defaults['pause_seconds'] * 1000:.0f}"])
    yield Quote(
        "docs/capacity.md",
        "(`max_connections` 100, of which {} are reserved)",
        [f"{connection_limits.RESERVE}"],
    )


def of_deployments() -> Iterator[Quote]:
    page = "deploy/kubernetes/README.md"
    deployment = (ROOT / "deploy/kubernetes/base/deployment.yaml").read_text()
    [memory] = re.findall(r"limits: \{memory: (\d+)Mi\}", deployment)
    yield Quote("SECURITY.md", "(two in the {} MiB of `deploy/kubernetes`)", [memory])
    yield Quote(".env.example", "two workers fit in {} MiB;", [memory])
    [ending] = re.findall(r"terminationGracePeriodSeconds: (\d+)", deployment)
    graceful = Settings.model_fields["graceful_shutdown_seconds"].default
    yield Quote(
        page,
        "Then it finishes the requests in flight, for {} s at most. It is allowed {} s in all.",
        [f"{graceful}", ending],
    )
    autoscaler = (ROOT / "deploy/kubernetes/base/autoscaler.yaml").read_text()
    use = re.findall(r"averageUtilization: (\d+)", autoscaler)
    yield Quote(page, "The autoscaler adds pods at {} % of the requested CPU.", use)
    yield Quote("docs/scaling.md", "adds pods when their CPU is above {} % of the requested core", use)
    limits = re.findall(r"memory: (\d+)m\}", (ROOT / "deploy/observability/compose.yaml").read_text())
    total = f"{sum(map(int, limits))}"
    yield Quote("deploy/observability/README.md", "It takes {} MB of memory at most, by its limits.", [total])


GROUPS = (of_http, of_sign_in, of_jobs, of_the_rest, of_deployments)
