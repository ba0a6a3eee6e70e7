"""What gunicorn's own options must leave as the settings have it."""

import os
from collections.abc import Mapping
from typing import Any

# The service reckons with these, and does not see what gunicorn makes of its command line.
_SETTING = {
    "workers": "WEB_CONCURRENCY",
    "bind": "HOST, PORT and METRICS_PORT",
    "reload": "RELOAD",
    "graceful_timeout": "GRACEFUL_SHUTDOWN_SECONDS",
    "keepalive": "KEEP_ALIVE_SECONDS",
    "preload_app": "RELOAD=false",
    "worker_class": None,
    "logconfig_dict": "LOG_LEVEL and LOG_FORMAT",
}


def changed_options(meant: Mapping[str, Any], config: Any) -> list[str]:
    """A line for each option that gunicorn was given beside its configuration file.

    Args:
        meant: what that file says.
        config: gunicorn's, with everything that it was given.
    """
    source = "GUNICORN_CMD_ARGS" if os.environ.get("GUNICORN_CMD_ARGS") else "gunicorn's command line"
    return [
        f"{source}: must not change {name}; " + (f"set {setting} instead" if setting else "it stays as it is")
        for name, setting in _SETTING.items()
        if config.settings[name].get() != meant[name]
    ]
