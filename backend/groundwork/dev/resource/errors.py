"""Why a resource cannot be written."""


class ResourceError(Exception):
    """The command cannot be carried out, and nothing was changed. The message is a sentence that says what to write."""


class LineError(Exception):
    """A file has not the line that a change needs. The message goes on after the file's name."""
