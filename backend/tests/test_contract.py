"""What every resource of the table promises; groundwork/testing/contract has the tests."""

from groundwork.testing.contract import *  # noqa: F403
from tests.resources import DIFFERS, RESOURCES

__all__ = ["DIFFERS", "RESOURCES"]
