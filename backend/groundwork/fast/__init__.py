"""Fast routes and bounded connections: the only folder that uses private names of FastAPI, Starlette and uvicorn.

`create_app(fast=False)` serves without this folder, and imports nothing from it.

- `fast_routes` answers plain requests to plain routes without FastAPI's own routing. `known_routes` and
  `plain_conditions` decide which routes are plain, `route_table` finds the route of a request, `plain_route` runs it
  with its `plain_parameters`, and `answers` has the kinds of answers. `known_routes` also removes FastAPI's outer
  layers.
- `connection` is uvicorn's protocol with bounds. It extends `watching`, which limits the time that a client may take.
  `watching` extends `refusing`, which refuses requests. `request_head` checks heads, `send_buffer` measures how much a
  client has read, `cycle` writes an answer at once, and `worker_protocol` ends connections when a worker ends.
"""
