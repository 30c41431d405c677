# A newcomer types `make demo` or `make test`; everything these two need is found, started or installed on the way.

.POSIX:

# The Python to build with; where none is named, the first of python3, python3.13, python3.12, python3.11 that will do.
PYTHON =
# More words for the command behind the target: make test ARGS='-k refund', make demo ARGS='--trips 1000'.
ARGS =
# How many tests run at once: more than there are cores, for many of them wait. A module runs in one process, which makes
# what its tests share once; those that take long come first.
JOBS = $$(($$(getconf _NPROCESSORS_ONLN) * 3))
# --private: pass over servers that already run on this machine, and start our own.
SERVICES =

VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed
LOCAL = $(BIN)/python -m deploy.local
LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --generate-hashes --no-emit-index-url --universal \
	--python-version 3.11

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## settle some trips before your eyes
	@amqp=$$($(LOCAL) url rabbitmq $(SERVICES)) && \
	PAYSCORE_AMQP_URL=$$amqp $(BIN)/payscore-worker demo $(ARGS)

demo-ops: $(INSTALLED) ## the same without end, with console and graphs, to watch and to disturb
	@amqp=$$($(LOCAL) url rabbitmq $(SERVICES)) && \
	PAYSCORE_AMQP_URL=$$amqp $(BIN)/python -m deploy.local.demo_ops $(ARGS)

test: $(INSTALLED) ## run all tests
	@amqp=$$($(LOCAL) url rabbitmq $(SERVICES)) && database=$$($(LOCAL) url postgresql $(SERVICES)) && \
	PAYSCORE_AMQP_URL=$$amqp PAYSCORE_TEST_DATABASE_URL=$$database $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(ARGS)

crash-certificate: $(INSTALLED) ## kill every role at every point, and see that nothing is lost; writes the page
	@amqp=$$($(LOCAL) url rabbitmq $(SERVICES)) && database=$$($(LOCAL) url postgresql $(SERVICES)) && \
	PAYSCORE_AMQP_URL=$$amqp PAYSCORE_TEST_DATABASE_URL=$$database $(BIN)/python -m tests.crash $(ARGS)

answer-certificate: $(INSTALLED) ## answer every call in every way, and see that no trip is harmed; writes the page
	@database=$$($(LOCAL) url postgresql $(SERVICES)) && \
	PAYSCORE_TEST_DATABASE_URL=$$database $(BIN)/python -m tests.answers $(ARGS)

faults: $(INSTALLED) ## break every link, restart every server, and see that nothing is lost; writes the page
	@amqp=$$($(LOCAL) url rabbitmq $(SERVICES)) && database=$$($(LOCAL) url postgresql $(SERVICES)) && \
	PAYSCORE_AMQP_URL=$$amqp PAYSCORE_TEST_DATABASE_URL=$$database $(BIN)/python -m tests.faults $(ARGS)

cluster: $(INSTALLED) ## kill, freeze and cut off each node of a cluster, and see how long trips wait; writes the page
	@$(LOCAL) url rabbitmq $(SERVICES) >/dev/null && $(LOCAL) url postgresql $(SERVICES) >/dev/null && \
	$(BIN)/python -m tests.clusters $(ARGS)

fuzz: $(INSTALLED) ## a million hostile inputs to webhook, parsers and settings; writes the page
	@$(BIN)/python -m tests.hostile $(ARGS)

mutants: $(INSTALLED) ## change our code in every small way, and see that a test notices; writes the page
	@$(BIN)/python -m tests.mutants $(ARGS)

check: $(INSTALLED) ## check format, lint, types and import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(INSTALLED) ## format, and correct what can be corrected
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## measure CPU time per trip and trips per second
	@amqp=$$($(LOCAL) url rabbitmq $(SERVICES)) && database=$$($(LOCAL) url postgresql $(SERVICES)) && \
	PAYSCORE_AMQP_URL=$$amqp PAYSCORE_TEST_DATABASE_URL=$$database $(BIN)/python -m tests.bench $(ARGS)

docs: $(INSTALLED) ## write the pages anew that are made from the code
	@for page in asyncapi.yaml settings.md metrics.md; do \
		text=$$($(BIN)/python docs/$${page%.*}.py) && printf '%s\n' "$$text" >docs/$$page || exit 1; \
	done
	@for page in settings.md metrics.md; do \
		text=$$($(BIN)/python docs/$${page%.*}.py zh-CN) && printf '%s\n' "$$text" >docs/zh-CN/$$page || exit 1; \
	done
	@$(BIN)/python -m deploy.grafana

# The second lock takes its versions from the first, so that what is tested is what is deployed.
lock: $(INSTALLED) ## write both locks anew; ARGS=--upgrade takes the newest versions
	@echo 'locking requirements-dev.lock' >&2
	@$(LOCK) --group dev --extra otel $(ARGS) -o requirements-dev.lock
	@echo 'locking requirements.lock' >&2
	@$(LOCK) --extra otel --constraint requirements-dev.lock -o requirements.lock

stop: ## stop the servers that we started
	@if [ -d .run ]; then PATH=$(BIN):$$PATH python3 -m deploy.local stop; fi

clean: ## stop them, and delete all that was built
	@if [ -d .run ]; then PATH=$(BIN):$$PATH python3 -m deploy.local clean; fi
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache mutants build dist

$(INSTALLED): requirements-dev.lock pyproject.toml deploy/local/make-venv
	@deploy/local/make-venv $(VENV) $(PYTHON)
	@touch $@

.PHONY: help demo demo-ops test crash-certificate answer-certificate faults cluster fuzz mutants check format bench docs lock stop clean
