"""The service with the metrics of docs/observability.md, and routes that count."""

import re

from app.core.config import load_settings
from app.main import create_app
from groundwork.observe.custom_metrics import counter
from groundwork.tests.process.server import BACKEND

_PAGE = (BACKEND.parent / "docs" / "observability.md").read_text()
_EXAMPLE = re.findall(r"```python\n(.+?)```", _PAGE, re.DOTALL)
_example: dict[str, object] = {}
exec("".join(_EXAMPLE), _example)
COUNTRIES = counter("visits_total", "Visits.", labels=("country",), limit=3)

app = create_app(load_settings())


@app.post("/orders/{kind}")
async def order(kind: str, seconds: float) -> None:
    _example["order_placed"](kind, seconds)  # type: ignore[operator]


@app.post("/visits/{country}")
def visit(country: str) -> None:
    """FastAPI runs this in a thread, because it is not a coroutine."""
    COUNTRIES.inc(country=country)
