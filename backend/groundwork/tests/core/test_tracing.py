"""Which requests are sampled. `tests/process/test_traces.py` tests the spans that are sent."""

import os

import pytest
from opentelemetry.sdk.trace.sampling import Decision

from groundwork.observe.tracing import Tracing


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio", "always_off", "parentbased_always_on"])
@pytest.mark.parametrize("share", ["0", "0.3", "1"])
def test_a_root_is_sampled_as_the_sdk_would_decide(monkeypatch: pytest.MonkeyPatch, name: str, share: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
    tracing = Tracing(dict(os.environ))

    for _ in range(300):
        sampled = tracing._sampled_parent({}, "GET") is not None
        # The next span has the id that was drawn.
        trace_id = tracing._ids.generate_trace_id()
        decision = tracing._sampler.should_sample(None, trace_id, "GET").decision
        assert sampled is (decision is Decision.RECORD_AND_SAMPLE)


def test_the_share_of_a_usual_sampler_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is a private attribute of the SDK. Without it everything works, but each request costs more."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.01")
    assert Tracing(dict(os.environ))._trace_id_bound == round(0.01 * 2**64)
