# Every command is one line that calls what CI calls. `make` alone lists them.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
# Without exec, a SIGTERM to make would end the shell between, and leave the service running.
DEV = cd backend && exec "$(BIN)/python" -m groundwork.dev
COMPOSE = docker compose

# Windows' own make has this variable; a make in WSL has not.
ifeq ($(OS),Windows_NT)
$(error Windows is supported through WSL 2: run the command in a Linux distribution there)
endif

##@ The first hour

# `##@ Title` begins a group, and `## text` describes a command; the examples in its last brackets are of its variables.
help: ## list the commands
	@if [ -t 1 ] && [ -z "$$NO_COLOR" ]; then bold=$$(printf '\033[1m') plain=$$(printf '\033[0m'); fi; \
	awk -v bold="$$bold" -v plain="$$plain" ' \
		BEGIN { FS = ":.*## "; print "make COMMAND [VARIABLE=value]" } \
		/^##@ / { printf "\n%s%s%s\n", bold, substr($$0, 5), plain } \
		/^[a-z][a-z-]*:.*## / { \
			line = sprintf("  %-22s", $$1); words = split($$2, word, " "); \
			for (i = 1; i <= words; i++) { \
				if (length(line) + length(word[i]) >= 80) { print line; line = sprintf("%24s", "") } \
				line = line " " word[i] } \
			print line }' $(MAKEFILE_LIST)

init: ## make this copy a project of your own, first of all (NAME="Acme Orders" OWNER="Acme Ltd" EXAMPLE=remove DEPLOY="vm fly")
	$(need_python)
	@cd backend && "$(PYTHON)" -m groundwork.dev.init

run: .venv ## serve on 127.0.0.1:8000, on a PostgreSQL of its own unless DATABASE_URL is set (PORT=8001)
	@$(DEV) run

test: .venv ## the tests, on a real PostgreSQL (ARGS="-k paging")
	@cd backend && "$(BIN)/python" -m pytest $(ARGS)

##@ The code

check: .venv ## what CI checks besides the tests: lint, types, layers
	@PATH="$(BIN):$$PATH" bash .ci/check

format: .venv ## format the code and mend what the linter can
	@cd backend && "$(BIN)/ruff" check --fix-only . ../loadtests && "$(BIN)/ruff" format . ../loadtests
	@echo "Next: make check"

hooks: ## run make check before every commit of this clone
	@hooks=$$(git rev-parse --git-path hooks) && mkdir -p "$$hooks" && \
		if [ -e "$$hooks/pre-commit" ]; then echo "$$hooks/pre-commit is there already: add 'make check' to it." >&2; exit 1; fi && \
		printf '#!/bin/sh\nexec make check\n' > "$$hooks/pre-commit" && chmod +x "$$hooks/pre-commit" && \
		echo "Every commit runs make check now; git commit --no-verify leaves it out once."

guard: .venv ## whose rows each table holds, and the reason of each statement that reaches more
	@cd backend && "$(BIN)/python" -m groundwork.dev.guard

openapi: .venv ## write backend/openapi.json again after an API change
	@cd backend && "$(BIN)/python" -m tests.test_openapi_document && "$(BIN)/python" -m groundwork.dev.build_clients version \
		&& git diff --stat -- openapi.json ../clients/version.json

clients: .venv ## build the typed clients from backend/openapi.json into clients/ (LANGUAGES=python needs no npm)
	@cd backend && "$(BIN)/python" -m groundwork.dev.build_clients $(LANGUAGES)

loadtest: .venv .venv-load ## Locust and its gates, against a server of its own (HOST= SCENARIO= USERS= DURATION=20s)
	@PYTHONPATH=backend "$(BIN)/python" -m loadtests.run

##@ The database

psql: $(if $(STACK),.engine,.venv) ## a SQL prompt in the database of make run, or of make up (STACK=yes ARGS="-c '\dt'")
ifdef STACK
	@$(COMPOSE) exec $$(test -t 0 || echo --no-TTY) db sh -c 'psql --username="$$POSTGRES_USER" --dbname="$$POSTGRES_DB" "$$@"' psql $(ARGS)
else
	@$(DEV) groundwork.dev.psql $(ARGS)
endif

shell: .venv ## a Python prompt with the models, the services and the database
	@$(DEV) groundwork.dev.shell

seed: .venv ## add example data for a user (USER_ID=alice N=50)
	@$(DEV) groundwork.dev.seed

resource: .venv ## write a resource, from model to tests (NAME=project FIELDS="name:str(100) due_on:date?" REMOVE=yes)
	@$(DEV) groundwork.dev.resource

migration: .venv ## write a migration from the models (NAME="add projects")
	@test -n "$(NAME)" || { echo 'Give it a name: make migration NAME="add projects"' >&2; exit 2; }
	@$(DEV) groundwork.dev.migration write "$(NAME)"

migrate: .venv ## run the migrations, or take the last one back (DOWN=1)
ifdef DOWN
	@$(DEV) groundwork.dev.migration downgrade "$(DOWN)"
else
	@$(DEV) groundwork.dev.migration upgrade
	@echo "The schema is what the migrations say. Next: make run. A server that runs already needs no restart."
endif

backfill: .venv ## fill a column of existing rows, in batches (NAME=file in backend/migrations/backfills)
	@test -n "$(NAME)" || { echo 'Say which: make backfill NAME=priority, for backend/migrations/backfills/priority.py' >&2; exit 2; }
	@$(DEV) groundwork.serve.backfill "$(NAME)"

reset: $(if $(STACK),.engine,.venv) ## empty the database of make run, or delete the stack of make up and its data; it asks first (STACK=yes CONFIRM=yes)
ifdef STACK
	@test "$(CONFIRM)" = yes || { \
		printf '%s' "Delete the stack's containers and every row of its database (the volume \"database\")? [y/N] "; read -r answer && test "$$answer" = y; } || { \
		echo "Nothing was deleted. If you mean it, answer y or run make reset STACK=yes CONFIRM=yes." >&2; exit 1; }
	@$(COMPOSE) --profile '*' down --volumes --remove-orphans
	@echo "Deleted; make run's data in .data stays. make up begins anew."
else
	@cd backend && exec "$(BIN)/python" -m groundwork.dev.reset
endif

##@ Containers

up: .engine ## start the whole stack in the background (PORT=8001)
	@$(COMPOSE) up --build --detach --wait || { \
		echo "The stack did not start: run make logs, which tells why. If a port is taken, set another by the variables that .env.example names." >&2; exit 1; }
	@address="http://$$($(COMPOSE) port backend 8000)" && echo && \
		echo "  The API is at $$address, its documentation at $$address/docs." && \
		echo "  make logs follows the log, make psql STACK=yes opens the database, make down stops the stack and keeps the data."

watch: .engine ## rebuild and restart the API when the code changes
	@$(COMPOSE) watch

down: .engine ## stop the stack; its data stays
	@$(COMPOSE) --profile '*' down --remove-orphans
	@echo "Stopped. make up starts it again, with its data."

logs: .engine ## follow the stack's log (ARGS="--tail 50 backend")
	@$(COMPOSE) --profile '*' logs --follow $(ARGS)

##@ Versions and upkeep

lock: .venv ## compile the requirements from backend/pyproject.toml again (ARGS=--upgrade for newer versions)
	@echo "Looking for versions that fit together (half a minute) …"
	@PATH="$(BIN):$$PATH" bash .ci/lock $(ARGS)
	@echo "Compiled. Next: git diff shows what has moved, make test installs and tries it"

update: ## take the changes of the template (TEMPLATE=its address, the first time)
	$(need_python)
	@cd backend && "$(PYTHON)" -m groundwork.dev.update

verify: ## check a release's tag and image (TAG=v0.1.0 IMAGE=…)
	$(need_python)
	@cd backend && "$(PYTHON)" -m groundwork.dev.release verify "$(TAG)" $(if $(IMAGE),"$(or $(realpath $(IMAGE)),$(IMAGE))")

clean: ## remove the virtual environment and caches, not .data
	@rm -rf .venv/* .venv-load/* backend/.mypy_cache backend/.ruff_cache backend/.pytest_cache backend/.hypothesis
	@echo "Removed. The next command installs the packages again."

# The commands of the foundation's own tests, where those are.
-include backend/groundwork/tests/targets.mk

# What needs a container engine says so when there is none.
.engine:
	@docker compose version >/dev/null 2>&1 || { \
		echo "Docker with its Compose plugin is needed here, version 2.24 or newer: install Docker Desktop or docker-ce. Without it: make run." >&2; exit 1; }
	@docker version >/dev/null 2>&1 || { \
		echo "No container engine answers: start Docker (Docker Desktop, or: sudo systemctl start docker) and run the command again. Without it: make run." >&2; exit 1; }

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
	@if [ -e backend/groundwork ]; then \
		cd backend && "$(PYTHON)" -m groundwork.dev.install "$(CURDIR)/$(1)" "$(CURDIR)/$(2)"; \
	else \
		"$(PYTHON)" -m venv "$(1)" && "$(1)/bin/python" -m pip install --quiet --require-hashes -r "$(2)" && cp "$(2)" "$(1)/"; \
	fi
endef

define need_python
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		version=$$("$(PYTHON)" -V 2>/dev/null) || version="not there"; \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$version. Try: make PYTHON=python3.13 …" >&2; exit 1; }
endef

.PHONY: help resource guard hooks run test check format migrate migration backfill openapi clients lock verify up watch down logs psql shell seed reset clean loadtest .venv .venv-load .engine init update
