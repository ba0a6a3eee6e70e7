"""Makes the answer of a plain route with any response model and response class, by FastAPI's own function."""

from typing import Any

from fastapi import BackgroundTasks, Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import _is_coroutine_callable
from fastapi.routing import _extract_endpoint_context, serialize_response
from fastapi.utils import is_body_allowed_for_status_code


class Serializer:
    def __init__(self, context: Any) -> None:
        default = isinstance(context.response_class, DefaultPlaceholder)
        self._class = context.response_class.value if default else context.response_class
        self._is_json = default and context.response_field is not None
        self._status = context.status_code
        self._endpoint = context.endpoint
        self._path_format = context.path_format
        self._options: dict[str, Any] = {
            "field": context.response_field,
            "include": context.response_model_include,
            "exclude": context.response_model_exclude,
            "by_alias": context.response_model_by_alias,
            "exclude_unset": context.response_model_exclude_unset,
            "exclude_defaults": context.response_model_exclude_defaults,
            "exclude_none": context.response_model_exclude_none,
            # FastAPI validates what a function without `async` returns in the thread pool, too.
            "is_coroutine": _is_coroutine_callable(context.endpoint),
            "dump_json": self._is_json,
        }

    async def content(self, result: Any, request: Request | None) -> Any:
        """The content for the response class.

        Raises:
            ResponseValidationError: the result is not what the response model says.
        """
        endpoint = _extract_endpoint_context(self._endpoint)
        if request is not None:
            endpoint["path"] = f"{request.method} {self._path_format}"
        return await serialize_response(response_content=result, endpoint_ctx=endpoint, **self._options)

    async def response(
        self, result: Any, request: Request | None, given: Response | None, tasks: BackgroundTasks | None
    ) -> Response:
        """The answer for what the handler returned."""
        return self.answer(await self.content(result, request), given, tasks)

    def answer(self, content: Any, given: Response | None, tasks: BackgroundTasks | None) -> Response:
        """The whole answer, with the headers and the status that the handler has given it."""
        options: dict[str, Any] = {"background": tasks}
        if status := (given.status_code if given else None) or self._status:
            options["status_code"] = status
        if self._is_json:
            response = Response(content, media_type="application/json", **options)
        else:
            response = self._class(content, **options)
        if not is_body_allowed_for_status_code(response.status_code):
            response.body = b""
        if given:
            response.raw_headers.extend(given.raw_headers)
        return response
