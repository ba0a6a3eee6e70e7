# What proves the foundation and the template, beside `make test`. A project that was made from the template has none of it.

##@ The foundation's own

test-pooler: .venv ## the tests of the service, through PgBouncer in transaction mode (ARGS="-k paging")
	@cd backend && "$(BIN)/python" -m pytest --pooler tests groundwork/tests/http groundwork/tests/services groundwork/tests/isolation groundwork/tests/process $(ARGS)

test-tracking-pooler: .venv ## the same, through a PgBouncer that tracks prepared statements: 1.21 or newer (ARGS="-k paging")
	@cd backend && "$(BIN)/python" -m pytest --tracking-pooler tests groundwork/tests/http groundwork/tests/services groundwork/tests/isolation groundwork/tests/core/test_statement.py $(ARGS)

# What a client is answered. Left out is what takes long, and what FastAPI answers in either case, as to bad input.
STOCK = $(addprefix http/test_,conditional.py encodings.py errors.py head.py headers.py idempotency.py paging.py tasks.py) process/test_server.py
test-stock: .venv ## the tests of the service without groundwork/fast (ARGS="-k paging")
	@cd backend && "$(BIN)/python" -m pytest --stock tests $(addprefix groundwork/tests/,$(STOCK)) --deselect groundwork/tests/http/test_errors.py::TestDatabaseAway $(ARGS)

test-faults: .venv ## break the database, the network and the service under load, for minutes (ARGS="-k restart")
	@cd backend && "$(BIN)/python" -m pytest -m faults groundwork/tests/faults $(ARGS)

test-attack: .venv ## fuzzers, slow clients and disconnects against the service (ARGS="-k fuzz" ATTACK_SCALE=0.1 ATTACK_SEED=7)
	@cd backend && "$(BIN)/python" -m pytest -m attack $(ARGS)

# .venv/editor is a virtual environment of its own.
.venv/editor/requirements-editor.txt: backend/groundwork/tests/requirements-editor.txt
	$(call install,.venv/editor,$<)
test-editor: .venv .venv/editor/requirements-editor.txt ## check that an editor with basedpyright or Pylance shows no error
	@cd backend && "$(CURDIR)/.venv/editor/bin/basedpyright"

test-clients: .venv ## lint the OpenAPI document, generate a TypeScript client and call the service with it; needs npm
	@cd backend && "$(BIN)/python" -m pytest -m clients groundwork/tests/clients $(ARGS)

test-containers: .venv .engine ## build and start the image and the stack (ARGS="-k pooler")
	@cd backend && "$(BIN)/python" -m pytest -m containers $(ARGS)

test-cluster: .engine ## try deploy/kubernetes on a cluster of kind
	@backend/groundwork/tests/on-kind

test-guide: .venv ## follow the guides of docs/ in a copy of the repository, and run the copy's checks and tests
	@cd backend && "$(BIN)/python" -m pytest -m guide groundwork/tests/guide $(ARGS)

test-template: .venv ## make the repository a project of another name, run its commands, merge a change (ARGS="-k update")
	@cd backend && "$(BIN)/python" -m pytest -m template groundwork/tests/template $(ARGS)

benchmark: .venv ## what a request costs beside the least that it could cost (ARGS="--only cpu --rounds 5")
	@PYTHONPATH=backend "$(BIN)/python" -m loadtests.benchmark $(ARGS)

pictures: .venv ## draw the pictures of README.md again, from the last benchmark and the running service; needs chromium
	@PYTHONPATH=backend "$(BIN)/python" -m loadtests.benchmark.pictures

.PHONY: test-tracking-pooler test-pooler test-stock test-faults test-attack test-editor test-clients test-containers test-cluster test-guide test-template benchmark pictures
