"""Finds gunicorn options that change what the settings decide."""

import os
from collections.abc import Mapping
from typing import Any

# The service relies on these options. It reads the settings, and would not notice a change by gunicorn's command line.
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
    """A line for each option that was changed outside the configuration file.

    Args:
        meant: the configuration file's values.
        config: gunicorn's configuration, its command line included.
    """
    source = "GUNICORN_CMD_ARGS" if os.environ.get("GUNICORN_CMD_ARGS") else "gunicorn's command line"
    return [
        f"{source}: must not change {name}; " + (f"set {setting} instead" if setting else "it stays as it is")
        for name, setting in _SETTING.items()
        if config.settings[name].get() != meant[name]
    ]
