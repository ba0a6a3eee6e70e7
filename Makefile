# Every command is one line that calls what CI calls. `make` alone lists them.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
DEV = cd backend && "$(BIN)/python" -m dev

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

run: .venv ## the API on 127.0.0.1:8000 (PORT=… changes it), on a PostgreSQL of its own unless DATABASE_URL is set
	@$(DEV) run

test: .venv ## every test, on Testcontainers' PostgreSQL if a container engine answers, else on the embedded one (ARGS="-k paging")
	@cd backend && "$(BIN)/python" -m pytest $(ARGS)

check: .venv ## what CI checks besides the tests: lint, format, types, layers, shell scripts
	@PATH="$(BIN):$$PATH" bash .ci/check

format: .venv ## format the code and mend what the linter can
	@cd backend && "$(BIN)/ruff" check --fix . && "$(BIN)/ruff" format .

migrate: .venv ## run the migrations
	@$(DEV) alembic upgrade head

migration: .venv ## write a migration from the models (NAME="add projects")
	@test -n "$(NAME)" || { echo 'Give it a name: make migration NAME="add projects"' >&2; exit 2; }
	@$(DEV) alembic upgrade head && $(DEV) alembic revision --autogenerate -m "$(NAME)"

lock: .venv ## compile the requirements again from backend/pyproject.toml (ARGS=--upgrade for newer versions)
	@PATH="$(BIN):$$PATH" bash .ci/lock $(ARGS)

clean: ## remove the virtual environment and caches; the database in .data stays
	@rm -rf .venv backend/.mypy_cache backend/.ruff_cache backend/.pytest_cache backend/.hypothesis

# The environment is whole when the copy of the list that it was installed from is there.
.venv: .venv/requirements-dev.txt
.venv/requirements-dev.txt: backend/requirements-dev.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$("$(PYTHON)" -V 2>&1 || true). Try: make PYTHON=python3.13 …" >&2; exit 1; }
	@echo "Installing the packages of backend/requirements-dev.txt into .venv (a minute or so) …"
	@"$(PYTHON)" -m venv .venv || { echo "Python's venv module is needed; on Debian: apt install python3-venv" >&2; exit 1; }
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r backend/requirements-dev.txt || { \
		echo "The packages could not be installed: is there a network? Nothing is half done; run the command again." >&2; exit 1; }
	@cp backend/requirements-dev.txt .venv/

.PHONY: help run test check format migrate migration lock clean .venv
