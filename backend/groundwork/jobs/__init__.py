"""Background work: jobs in a table of the service's database, and the worker that does them. See docs/jobs.md."""
