"""The pool with fake connections, in virtual time: the order of events is the same on a machine however busy."""
