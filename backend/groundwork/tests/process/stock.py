"""The service with `fast=False`, in a process that cannot import `groundwork.fast`."""

from app.core.config import load_settings
from groundwork.tests.stock import create_stock_app, forbid_fast

forbid_fast()
app = create_stock_app(load_settings())
