"""The service's settings: the foundation's, and below them its own."""

from groundwork.serve import settings


class Settings(settings.Settings):
    """One field is one environment variable, its name in upper case. `.env.example` lists them all."""


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SystemExit: one is wrong or missing; a line on standard error names it.
    """
    return settings.load(Settings)
