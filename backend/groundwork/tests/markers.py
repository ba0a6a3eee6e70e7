"""The tests that `make test` leaves out, because they take minutes or need a tool. Each kind has its own command."""

import pytest

MARKERS = {
    "containers": "builds the image and starts the stack; needs a container engine (make test-containers)",
    "faults": "breaks the database, the network and the service under load (make test-faults)",
    "clients": "lints the OpenAPI document and generates a TypeScript client; needs npm (make test-clients)",
    "attack": "attacks the running service for minutes (make test-attack)",
    "template": "copies the repository, renames it and runs its commands (make test-template)",
    "guide": "follows docs/add-a-resource.md and replace-a-part.md in copies of the repository (make test-guide)",
}

# The tests that another option leaves out.
FAST = "fast: is about groundwork.fast alone; left out by --stock (make test-stock)"


def pytest_configure(config: pytest.Config) -> None:
    for name, about in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {about}")
    config.addinivalue_line("markers", FAST)
    # `-m` on the command line replaces this.
    config.option.markexpr = config.option.markexpr or " and ".join(f"not {name}" for name in MARKERS)
