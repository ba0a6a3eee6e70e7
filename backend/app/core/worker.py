"""The gunicorn worker that runs uvicorn."""

import os
import signal
from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker

# gunicorn kills a worker after its own timeout; by then the worker's end, closing its connections included, is over.
_MARGIN_SECONDS = 1


class Worker(UvicornWorker):  # type: ignore[misc]
    """uvicorn's worker, with what it does not take from gunicorn's configuration.

    The stock class drops gunicorn's graceful timeout: requests in flight would be cut at the kill instead of being
    cancelled in order, and after a reload an old worker could stay for ever.
    """

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": "httptools",
        "access_log": False,
        "server_header": False,
        "lifespan": "on",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config.timeout_graceful_shutdown = max(1, self.cfg.graceful_timeout - _MARGIN_SECONDS)

    async def callback_notify(self) -> None:
        """Tell gunicorn that this worker lives, every half of its `timeout`; end when gunicorn itself was killed."""
        await super().callback_notify()
        if os.getppid() != self.ppid:
            signal.raise_signal(signal.SIGTERM)
