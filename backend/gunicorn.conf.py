"""`gunicorn -c gunicorn.conf.py app.main:app`: the foundation's configuration. `python serve.py` is the same."""

from groundwork.serve.gunicorn_conf import *  # noqa: F403
