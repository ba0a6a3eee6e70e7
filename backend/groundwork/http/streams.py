"""Responses that are sent part by part, without a length: how they end before their handler ends them."""

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
from groundwork.observe.metrics import IN_FLIGHT, STREAMS, counts

logger = logging.getLogger(__name__)

COMPLETE, STOPPED, EXPIRED, HEAD = "complete", "worker stopped", "token expired", "head"
"""How a stream ended, for the log. It was stopped here in all cases but the first."""
_EVENTS = b"text/event-stream"
_WITHOUT_BODY = (204, 304)
# How long the end of a stopped stream may wait for its client.
_LAST_SECONDS = 1.0


class _OpenStreams:
    """The streams of this process, each with the task of its request."""

    def __init__(self) -> None:
        self.tasks: dict[Stream, Any] = {}
        self.events: set[Stream] = set()
        self.are_stopping = False


_open = _OpenStreams()
_note_generator: Callable[[AsyncGenerator[Any]], object] | None = None


async def begin(message: Message, send: Send, scope: Scope, server_scope: Scope, request: CurrentRequest) -> None:
    """Send the head of a response without a length, and note the stream if it has a body.

    Args:
        message: the head.
    """
    if message["status"] not in _WITHOUT_BODY:
        request.stream = stream = Stream(time.perf_counter())
        _open.tasks[stream] = request.task
        if any(name == b"content-type" and value.startswith(_EVENTS) for name, value in message["headers"]):
            _open.events.add(stream)
        counts.values[IN_FLIGHT] -= 1
        counts.values[STREAMS] += 1
        await send(message)
        if server_scope["method"] == "HEAD":
            _stop(stream, HEAD)
        elif stream in _open.events:
            _limit(stream, scope)
    else:
        await send(message)


def _limit(stream: Stream, scope: Scope) -> None:
    """End an event stream with its caller's token, and at once if the process ends."""
    if _open.are_stopping:
        _stop(stream, STOPPED)
    elif VALID_UNTIL in scope:
        seconds = scope[VALID_UNTIL] - time.time()
        stream.timer = asyncio.get_running_loop().call_later(seconds, _stop, stream, EXPIRED)


def watch_generators() -> None:
    """Note the generators of each request that runs on this event loop. Call it when the application starts.

    A handler's generator is not closed when its client leaves while it waits for its last part to be sent. Python
    closes it when it finds that nobody refers to it any more, which may be much later.
    """
    global _note_generator  # noqa: PLW0603 - the hook of this thread is one
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
    """Close what the request has left open, so that it frees what it holds. Those that began first are closed first."""
    for generator in [*(request.generators or ())]:
        if not generator.ag_running:
            try:
                async with asyncio.timeout(_LAST_SECONDS):
                    await generator.aclose()
            except Exception:
                logger.exception("a generator of a stream cannot be closed")


def note_part(stream: Stream, message: Message) -> None:
    """Count a part of the body that is about to be sent."""
    stream.sent_bytes += len(message.get("body", b""))
    if not message.get("more_body"):
        stream.end = COMPLETE


async def finish(stream: Stream, send: Send) -> bool:
    """End the response of a stream whose task was cancelled. Returns False if something else has cancelled it."""
    if stream.end not in (STOPPED, EXPIRED, HEAD):
        return False
    _open.tasks[stream].uncancel()
    end = stream.end
    # A client that does not read makes send() wait. The server then closes the connection.
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_SECONDS):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    stream.end = end
    return True


def forget(stream: Stream, started: float) -> float:
    """Called when the request has ended.

    Args:
        started: when the request began, by `time.perf_counter`.

    Returns:
        The time from then to the response's head.
    """
    del _open.tasks[stream]
    _open.events.discard(stream)
    if stream.timer:
        stream.timer.cancel()
    counts.values[IN_FLIGHT] += 1
    counts.values[STREAMS] -= 1
    stream.head_seconds = stream.head_at - started
    return stream.head_seconds


def stop_event_streams() -> None:
    """End the event streams of this process, because it ends. Their clients connect again, to another worker.

    Other streams go on. A download that ended now would be taken for a whole one.
    """
    _open.are_stopping = True
    for stream in [*_open.events]:
        _stop(stream, STOPPED)


def _stop(stream: Stream, end: str) -> None:
    """Cancel the handler, as when the client leaves. `finish` then ends the response."""
    if not stream.end and stream in _open.tasks:
        stream.end = end
        _open.tasks[stream].cancel()
