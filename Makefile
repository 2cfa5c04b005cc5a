# Everything a person does here, a sentence each: `make` lists it. Nothing needs Docker, Java or an installed database.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PY := .venv/bin/python
READY := .venv/.ready
CLI := .venv/bin/dealwright
LOCAL := $(PY) -m deploy.local
COMPOSE := docker compose -f deploy/compose.yaml
# Side by side, a file on one worker, in this order: the longest first, so that no worker is left with one at the end.
TESTS := $(foreach room,chaos flow scenarios kit service unit contracts architecture,$(wildcard tests/$(room)))
SIDE_BY_SIDE := -n $(or $(WORKERS),auto) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# They stop and repeat what only a World can: tests/chaos does that to processes.
IN_ONE_WORLD := $(foreach name,running_stack payment_orders guards whole_story examples_of_pages,tests/scenarios/test_$(name).py)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-service test-flow lint types fmt schemas up down status logs reset run topics watch \
	rebuild republish parked trace bench chaos scenarios coverage

##@ Begin
help:  ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nA variable goes behind the target: make run S=deals, make logs FOLLOW=1, make up STACK=compose.\n'

demo: $(READY) $(CLI)  ## the whole story on real Kafka and PostgreSQL: from a deal to a paid invoice that moved it
	@$(LOCAL) up
	@$(PY) -m examples.story --state "$(or $(DEALWRIGHT_STATE_DIR),.dealwright)"

test: lint types  ## set up and pass everything
	$(PY) -m pytest $(SIDE_BY_SIDE) $(TESTS) $(ARGS)

setup: $(READY) $(CLI)  ## the virtual environment .venv, from the locked and hashed requirements, with the command dealwright

$(READY): requirements/all.txt requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found as python3: name it, make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "==> the virtual environment .venv, with $$($(PYTHON) --version) (once)"
	@$(PYTHON) -m venv .venv || { echo "Python's venv module does not work (Debian and Ubuntu: apt install python3-venv)"; rm -rf .venv; exit 1; }
	@echo "==> packages from requirements/all.txt, each checked by its hash"
	@{ $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt && \
		.venv/bin/uv pip install --python $(PY) --require-hashes -r requirements/all.txt; } || \
		{ echo "==> once more with pip alone, which takes longer"; \
		$(PY) -m pip install --disable-pip-version-check --require-hashes -r requirements/all.txt; }
	@touch $@

# What installing this project would put there, without a package being built.
$(CLI): $(READY)
	@printf '#!/bin/sh\nPYTHONPATH="%s$${PYTHONPATH:+:$$PYTHONPATH}" exec "%s/.venv/bin/python" -m dealwright "$$@"\n' \
		'$(CURDIR)' '$(CURDIR)' > $@ && chmod 755 $@

deploy/.env: deploy/.env.example
	@test -e $@ || { umask 077; $(PYTHON) -c 'import re, secrets, sys; \
		print(re.sub("(?<==)change-me.*", lambda _: secrets.token_urlsafe(32), sys.stdin.read()), end="")' < $< > $@; }
	@touch $@

##@ The stack on this machine (STACK=compose: in containers)
ifeq ($(STACK),compose)
up: deploy/.env
	$(COMPOSE) up --detach --build --wait
down:
	$(COMPOSE) down
status:
	$(COMPOSE) ps
logs:
	$(COMPOSE) logs $(if $(FOLLOW),--follow) $(S)
reset:
	$(COMPOSE) down --volumes
else
up: $(READY) $(CLI)  ## start everything and wait until it is ready
	@$(LOCAL) up $(foreach part,$(WITHOUT),--without $(part))
down: $(READY)  ## drain and stop everything; nothing is lost
	@$(LOCAL) down
status: $(READY)  ## services, ports, pids, memory, consumer lag, dead letters; JSON=1 for programs
	@$(LOCAL) status $(if $(JSON),--json)
logs: $(READY)  ## logs of all parts, or of S=deals; FOLLOW=1 goes on, LINES=100 looks further back
	@$(LOCAL) logs $(S) $(if $(FOLLOW),--follow) $(if $(LINES),--lines $(LINES))
reset: $(READY)  ## stop everything and delete its data
	@$(LOCAL) reset
endif
run: $(READY)  ## one service in the foreground, S=deals, beside the rest: make up WITHOUT=deals
	@$(LOCAL) run $(call needed,S)

##@ Operate
topics: $(READY)  ## create what is missing of the declared topics; DRY=1 only says what would be done
	@$(LOCAL) topics $(if $(DRY),--dry)
watch: $(READY)  ## read a topic as it grows: TOPIC=deals.events, ALL=1 from its beginning
	@$(LOCAL) watch $(call needed,TOPIC) $(if $(ALL),--all)
trace: $(READY)  ## one causal chain over all services, with the time per hop: ID=<correlation id>
	@$(LOCAL) trace $(call needed,ID)
parked: $(READY)  ## keys that wait for a person: S=deals; REPLAY=<key>, or DISCARD=<position> WHY="…"
	@$(LOCAL) service $(call needed,S) parked $(if $(REPLAY),--replay '$(REPLAY)') $(if $(DISCARD),--discard '$(DISCARD)' --why '$(WHY)')
rebuild: $(READY)  ## fill a view anew from its events while the service runs: S=deals VIEW=stage_history
	@$(LOCAL) service $(call needed,S) rebuild $(call needed,VIEW)
republish: $(READY)  ## say again what was said: S=deals SINCE=2026-01-31
	@$(LOCAL) service $(call needed,S) republish --since $(call needed,SINCE)

##@ Develop
test-unit: $(READY)  ## the domain and the house rules alone: seconds
	$(PY) -m pytest tests/architecture tests/unit $(ARGS)
test-service: $(READY)  ## the kit and each service, on real PostgreSQL and Kafka
	$(PY) -m pytest tests/contracts tests/kit tests/service $(ARGS)
test-flow: $(READY)  ## several services together
	$(PY) -m pytest $(wildcard tests/flow) $(ARGS)
coverage: $(READY)  ## run the scenarios and write docs/coverage.md: which test shows which statement
	$(PY) -m tests.scenarios.coverage
lint: $(READY)  ## ruff over everything
	.venv/bin/ruff check .
	.venv/bin/ruff format --check --quiet .
types: $(READY)  ## mypy --strict over everything, tests too
	.venv/bin/mypy .
fmt: $(READY)  ## sort imports and repair what ruff can repair
	.venv/bin/ruff check --fix .
schemas: $(READY)  ## write contract schemas and API documents; refuses a change that is not additive
	$(PY) -m deploy.schemas
chaos: $(READY)  ## a storm of kills, crashes, stops and cuts under load, then calm, then the invariants; SEED=7 repeats it
	$(PY) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(ARGS)
scenarios: $(READY)  ## the scenarios as rehearsals on five processes, real Kafka and PostgreSQL, 180 days in seconds
	SCENARIOS_ON=running $(PY) -m pytest $(filter-out $(IN_ONE_WORLD),$(wildcard tests/scenarios/test_*.py)) -k "not happens_late and not cannot_be_reached" $(ARGS)
bench: $(READY)  ## floor, product, floor, as ratios
	$(PY) -m bench $(ARGS)

# $(call needed,NAME): its value, or a sentence.
needed = $(or $($(1)),$(error $(1)= is missing: see `make help`))
