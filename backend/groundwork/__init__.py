"""The foundation of a service over HTTP on PostgreSQL. README.md beside this file lists what is public."""

__version__ = "0.1.0"
