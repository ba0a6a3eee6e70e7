# Every command is one line that calls what CI calls. `make` alone lists them.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
# Without exec, a SIGTERM to make would end the shell between, and leave the service running.
DEV = cd backend && exec "$(BIN)/python" -m groundwork.dev
COMPOSE = docker compose
# What a client is answered. Left out is what takes long, and what FastAPI answers in either case, as to bad input.
STOCK = $(addprefix http/test_,conditional.py encodings.py errors.py head.py headers.py idempotency.py paging.py tasks.py) isolation/test_isolation.py process/test_server.py

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

init: ## make this copy a project of your own, before anything else (NAME="Acme Orders" OWNER="Acme Ltd", EXAMPLE=remove)
	$(need_python)
	@cd backend && "$(PYTHON)" -m groundwork.dev.init

update: ## merge what the template has changed since (TEMPLATE=its address, the first time)
	$(need_python)
	@cd backend && "$(PYTHON)" -m groundwork.dev.update

run: .venv ## serve on 127.0.0.1:8000 (PORT=8001), with a PostgreSQL of its own unless DATABASE_URL is set
	@$(DEV) run

test: .venv ## the tests, on a real PostgreSQL (ARGS="-k paging")
	@cd backend && "$(BIN)/python" -m pytest $(ARGS)

loadtest: .venv .venv-load ## Locust and its gates, against a server of its own (HOST=, SCENARIO=, USERS=, DURATION=20s)
	@PYTHONPATH=backend "$(BIN)/python" -m loadtests.run

benchmark: .venv ## what a request costs beside the least that it could cost (ARGS="--only cpu --rounds 5")
	@PYTHONPATH=backend "$(BIN)/python" -m loadtests.benchmark $(ARGS)

check: .venv ## what CI checks besides the tests: lint, format, types, layers, containers, workflows
	@PATH="$(BIN):$$PATH" bash .ci/check

format: .venv ## format the code and mend what the linter can
	@cd backend && "$(BIN)/ruff" check --fix . ../loadtests && "$(BIN)/ruff" format . ../loadtests
	@echo "Next: make check"

hooks: ## run make check before every commit of this clone
	@hooks=$$(git rev-parse --git-path hooks) && mkdir -p "$$hooks" && \
		if [ -e "$$hooks/pre-commit" ]; then echo "$$hooks/pre-commit is there already: add 'make check' to it." >&2; exit 1; fi && \
		printf '#!/bin/sh\nexec make check\n' > "$$hooks/pre-commit" && chmod +x "$$hooks/pre-commit" && \
		echo "Every commit runs make check now; git commit --no-verify leaves it out once."

migrate: .venv ## run the migrations
	@$(DEV) alembic upgrade head
	@echo "The schema is what the migrations say. Next: make run"

migration: .venv ## write a migration from the models (NAME="add projects")
	@test -n "$(NAME)" || { echo 'Give it a name: make migration NAME="add projects"' >&2; exit 2; }
	@$(DEV) alembic upgrade head
	@$(DEV) alembic revision --autogenerate -m "$(NAME)"
	@echo "Next: read it, in backend/migrations/versions, then make migrate and make test"

lock: .venv ## compile the requirements from backend/pyproject.toml again (ARGS=--upgrade for newer ones)
	@echo "Looking for versions that fit together (half a minute) …"
	@PATH="$(BIN):$$PATH" bash .ci/lock $(ARGS)
	@echo "Compiled. Next: git diff shows what has moved, make test installs and tries it"

up: .engine ## the whole stack in containers, migrated, in the background (PORT=8001)
	@$(COMPOSE) up --build --detach --wait || { \
		echo "The stack did not start. Its log, by make logs, tells why; if a port is taken, .env.example names the variables." >&2; exit 1; }
	@address="http://$$($(COMPOSE) port backend 8000)" && echo && \
		echo "  The API is at $$address, its documentation at $$address/docs." && \
		echo "  make logs follows the log, make psql opens the database, make down stops the stack and keeps the data."

watch: .engine ## rebuild and restart the API in its container whenever the code changes
	@$(COMPOSE) watch

down: .engine ## stop the stack; its data stays
	@$(COMPOSE) --profile '*' down --remove-orphans
	@echo "Stopped. make up starts it again, with its data."

logs: .engine ## follow the stack's log (ARGS="--tail 50 backend")
	@$(COMPOSE) --profile '*' logs --follow $(ARGS)

psql: .engine ## a SQL prompt in the stack's database (ARGS="-c 'select count(*) from tasks'")
	@$(COMPOSE) exec $$(test -t 0 || echo --no-TTY) db sh -c 'psql --username="$$POSTGRES_USER" --dbname="$$POSTGRES_DB" "$$@"' psql $(ARGS)

reset: .engine ## delete the stack and everything in its database
	@echo "Deleting the stack's containers and every row of its database (the volume \"database\"). make run's data in .data stays."
	@$(COMPOSE) --profile '*' down --volumes --remove-orphans
	@echo "Deleted. make up begins anew."

test-containers: .venv .engine ## the image and the stack, built and started for real (ARGS="-k pooler")
	@cd backend && "$(BIN)/python" -m pytest -m containers $(ARGS)

test-pooler: .venv ## the tests of the service again, through PgBouncer in transaction mode (ARGS="-k paging")
	@cd backend && "$(BIN)/python" -m pytest --pooler groundwork/tests/http groundwork/tests/services groundwork/tests/isolation groundwork/tests/process $(ARGS)

test-stock: .venv ## the tests of the service again, with fast=False (ARGS="-k paging")
	@cd backend && "$(BIN)/python" -m pytest --stock $(addprefix groundwork/tests/,$(STOCK)) --deselect groundwork/tests/http/test_errors.py::TestDatabaseAway $(ARGS)

test-faults: .venv ## break the database, the network and the service under load, for minutes (ARGS="-k restart")
	@cd backend && "$(BIN)/python" -m pytest -m faults groundwork/tests/faults $(ARGS)

test-attack: .venv ## attack the running service: fuzzers, slow clients, disconnects (ARGS="-k fuzz", ATTACK_SCALE=0.1, ATTACK_SEED=7)
	@cd backend && "$(BIN)/python" -m pytest -m attack $(ARGS)

test-clients: .venv ## lint the OpenAPI document, generate a TypeScript client and call the service with it; needs npm
	@cd backend && "$(BIN)/python" -m pytest -m clients groundwork/tests/clients $(ARGS)

test-template: .venv ## copy the repository, make it a project of another name, run its commands, merge a change (ARGS="-k update")
	@cd backend && "$(BIN)/python" -m pytest -m template groundwork/tests/template $(ARGS)

test-guide: .venv ## follow docs/add-a-resource.md and replace-a-part.md in a copy of the repository, its checks and tests included
	@cd backend && "$(BIN)/python" -m pytest -m guide groundwork/tests/guide $(ARGS)

# What needs a container engine says so when there is none.
.engine:
	@docker compose version >/dev/null 2>&1 || { \
		echo "Docker with its Compose plugin is needed here, version 2.24 or newer: install Docker Desktop or docker-ce. Without it: make run." >&2; exit 1; }
	@docker version >/dev/null 2>&1 || { \
		echo "No container engine answers: start Docker (Docker Desktop, or: sudo systemctl start docker) and run the command again. Without it: make run." >&2; exit 1; }

clean: ## remove the virtual environment and caches; the database in .data stays
	@rm -rf .venv .venv-load backend/.mypy_cache backend/.ruff_cache backend/.pytest_cache backend/.hypothesis
	@echo "Removed. The next command installs the packages again."

# An environment is whole when the copy of the list that it was installed from is there.
.venv: .venv/requirements-dev.txt
.venv/requirements-dev.txt: backend/requirements-dev.txt
	$(call install,.venv,$<)
.venv-load: .venv-load/requirements.txt
.venv-load/requirements.txt: loadtests/requirements.txt
	$(call install,.venv-load,$<)

# $(call install,FOLDER,LIST)
define install
	$(need_python)
	@cd backend && "$(PYTHON)" -m groundwork.dev.install "$(CURDIR)/$(1)" "$(CURDIR)/$(2)"
endef

define need_python
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		version=$$("$(PYTHON)" -V 2>/dev/null) || version="not there"; \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$version. Try: make PYTHON=python3.13 …" >&2; exit 1; }
endef

.PHONY: help hooks run test check format migrate migration lock up watch down logs psql reset test-containers test-pooler test-stock test-faults test-attack test-clients test-template test-guide clean loadtest benchmark .venv .venv-load .engine init update
