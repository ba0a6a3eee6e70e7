"""The service's settings: the library's, and your own below them."""

from groundwork.serve import settings


class Settings(settings.Settings):
    """Each field is an environment variable of the same name in upper case. `.env.example` lists them all.

    Add a field with its type, its default, and a line that says what it does and in which unit.
    """


def load_settings() -> Settings:
    """The settings of this process, from its environment and from `.env` in the repository's root.

    Raises:
        SystemExit: a setting is wrong or missing. Standard error has a line for each.
    """
    return settings.load(Settings)
