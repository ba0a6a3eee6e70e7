"""Parses URLs with libpq itself, as the reference for `groundwork.data.dsn`."""

import ctypes
import ctypes.util


class _Option(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")
    ] + [("dispsize", ctypes.c_int)]  # fmt: skip


def _library() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("pq")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    library.PQconninfoParse.restype = ctypes.POINTER(_Option)
    library.PQconninfoParse.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)]
    return library


LIBRARY = _library()
"""The library, or None if it is not installed."""


def parse(url: str) -> dict[str, str] | None:
    """The parameters that the URL sets; None if libpq refuses it."""
    assert LIBRARY
    error = ctypes.c_char_p()
    options = LIBRARY.PQconninfoParse(url.encode(), ctypes.byref(error))
    if not options:
        return None
    found: dict[str, str] = {}
    for option in options:
        if option.keyword is None:
            return found
        if option.val is not None:
            found[option.keyword.decode()] = option.val.decode()
    return None
