"""The service with a resource that has a member of each type, as a process."""

from app.core.config import load_settings
from app.main import create_app
from groundwork.tests.http import all_types

app = create_app(load_settings())
app.include_router(all_types.router)
