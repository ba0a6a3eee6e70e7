"""The fast way of a request: the only folder that uses private names of FastAPI, Starlette and uvicorn.

`create_app(fast=False)` serves without it, and imports nothing of it.

- `fast_routes` answers plain requests to plain routes without FastAPI's own routing. `known_routes` and
  `plain_conditions` say which routes those are, `route_table` finds the route of a request, `plain_route` runs it, and
  `answers` holds what it answers with.
- `layers` takes away the layers that FastAPI puts around all others.
- `connection` is uvicorn's protocol with bounds. It stands on `watching`, the time that a client may take, and on
  `refusing`, the refusal of a request. `request_head` checks heads, `send_buffer` tells how far a client is, `cycle`
  writes an answer at once, and `worker_protocol` ends connections when a worker ends.
"""
