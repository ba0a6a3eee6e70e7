"""What a `conftest.py` tells the plugin about the service."""

from collections.abc import Callable
from typing import Any, NamedTuple

from groundwork.serve.application import Application
from groundwork.serve.settings import Settings


class Service(NamedTuple):
    """The service under test: the function that makes its application, and the class of its settings."""

    create_app: Callable[[Any], Application]
    settings: Callable[..., Settings]
