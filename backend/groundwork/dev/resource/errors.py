"""Why a resource cannot be written."""


class ResourceError(Exception):
    """The command cannot be carried out, and nothing was changed. The message is a sentence that says what to write."""
