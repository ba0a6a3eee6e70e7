"""The service with a route that returns what the service knows of its client."""

from fastapi import Request

from app.core.config import load_settings
from app.main import create_app

app = create_app(load_settings())


@app.get("/echo")
async def echo(request: Request) -> dict[str, str | None]:
    return {"client": request.client and request.client.host, "scheme": request.url.scheme}
