"""Responses that are sent part by part, without a length, and how they end early.

A stream ends early when its worker stops, when the caller's token expires, or when the request is a HEAD.
"""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from starlette.types import Message, Scope, Send

from groundwork.auth.owner import VALID_UNTIL
from groundwork.observe.current_request import CurrentRequest, Stream, current_request

logger = logging.getLogger(__name__)

COMPLETE, BROKEN_OFF = "complete", "broken off"
STOPPED, EXPIRED, HEAD = "worker stopped", "token expired", "head"
"""How a stream ended, for the log. The second line has the ends that this module causes."""
_EVENTS = b"text/event-stream"
_WITHOUT_BODY = (204, 304)
# How long the end of a stopped stream may wait for its client.
_LAST_SECONDS = 1.0


_open_events: set[Stream] = set()
"""The event streams of this process that are being sent."""
_is_stopping = False
_note_generator: Callable[[AsyncGenerator[Any]], object] | None = None


async def begin(message: Message, send: Send, scope: Scope, server_scope: Scope, request: CurrentRequest) -> None:
    """Send the head of a response without a length, and note the stream if it has a body.

    Args:
        message: the head.
    """
    await send(message)
    if message["status"] in _WITHOUT_BODY:
        return
    request.stream = stream = Stream(request.task, time.perf_counter())
    if server_scope["method"] == "HEAD":
        _stop(stream, HEAD)
    elif any(name == b"content-type" and value.startswith(_EVENTS) for name, value in message["headers"]):
        _open_events.add(stream)
        if _is_stopping:
            _stop(stream, STOPPED)
        else:
            end_with_token(stream, scope)


def end_with_token(stream: Stream, scope: Scope) -> None:
    """Stop the stream when the caller's token expires, if there is one."""
    if VALID_UNTIL in scope:
        seconds = scope[VALID_UNTIL] - time.time()
        stream.timer = asyncio.get_running_loop().call_later(seconds, _stop, stream, EXPIRED)


def watch_generators() -> None:
    """Note the generators of each request that runs on this event loop. Call it when the application starts.

    If a client leaves while the last part of a stream is being sent, nothing closes the handler's generator. Python
    closes it when nothing refers to it any more, which may be much later.
    """
    global _note_generator  # noqa: PLW0603 - a thread has one hook
    note_for_loop = sys.get_asyncgen_hooks().firstiter
    if note_for_loop is None or note_for_loop is _note_generator:
        return

    def note(generator: AsyncGenerator[Any]) -> None:
        request = current_request.get()
        if request is not None:
            if request.generators is None:
                request.generators = WeakKeyDictionary()
            request.generators[generator] = None
        note_for_loop(generator)

    _note_generator = note
    sys.set_asyncgen_hooks(firstiter=note)


async def close_generators(request: CurrentRequest) -> None:
    """Close the request's open generators, the oldest first, so that they free what they hold."""
    for generator in [*(request.generators or ())]:
        if not generator.ag_running:
            try:
                async with asyncio.timeout(_LAST_SECONDS):
                    await generator.aclose()
            except Exception:
                logger.exception("a stream has ended, and its generator failed while it was closed")


async def finish(stream: Stream, send: Send) -> bool:
    """End the response of a stream whose task was cancelled. Returns False if this module did not cancel it."""
    if stream.end not in (STOPPED, EXPIRED, HEAD):
        return False
    end = stream.end
    stream.task.uncancel()
    # A client that does not read makes send() wait. The server then closes the connection.
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_SECONDS):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    stream.end = end
    return True


def forget(stream: Stream, started: float) -> float:
    """Forget the stream of a request that has ended.

    Args:
        started: when the request began, by `time.perf_counter`.

    Returns:
        The time from then to the response's head.
    """
    _open_events.discard(stream)
    stream.end = stream.end or BROKEN_OFF
    if stream.timer:
        stream.timer.cancel()
    stream.head_seconds = stream.head_at - started
    stream.task = None  # see `RequestMiddleware._end`
    return stream.head_seconds


def stop_event_streams() -> None:
    """End the event streams of this process, because it stops. Their clients connect again, to another worker.

    Other streams go on. If a download ended now, its client would take it for complete.
    """
    global _is_stopping  # noqa: PLW0603 - the process stops once
    _is_stopping = True
    for stream in [*_open_events]:
        _stop(stream, STOPPED)


def _stop(stream: Stream, end: str) -> None:
    """Cancel the handler, as when the client leaves. `finish` then ends the response."""
    if not stream.end:
        stream.end = end
        stream.task.cancel()
