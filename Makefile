# Every target is one command; `make` alone lists them. HOME_DIR=… picks another home, ARGS=… passes anything on.
PYTHON ?= python3
PY := .venv/bin/python -P
export PYTHONPATH := .
# By environment, so that quotes, dollars and backticks in a message stay what they are.
export MSG HOME_DIR
HERE = $(if $(HOME_DIR),--home "$$HOME_DIR")
NEXUS = @$(PYTHON) -m appliance
DEV = @PYTHONPATH=. $(PYTHON) -m appliance install --dev >&2
.DEFAULT_GOAL := help
.PHONY: help up down restart status logs doctor chat link history scale drain switchover pause resume tasks dead cancel requeue discard failover-demo version fmt lint types test test-docker check e2e test-dashboards faults mutations soak bench bench-idle bench-failover lock vendor clean docs

help: ## This list
	@awk -F ':.*## ' '/^#: /{print "\n" substr($$0, 4)} /^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' Makefile

#: Use
up: ## Start everything, installing what is missing (N=5: that many agents the first time; ARGS="--runtime embedded": without Docker)
	$(NEXUS) up $(HERE) $(if $(N),--agents $(N)) $(ARGS)
down: ## Stop everything; data stay (ARGS=--volumes: containers' data go as well)
	$(NEXUS) down $(HERE) $(ARGS)
restart: ## Stop and start
	$(NEXUS) down $(HERE)
	$(NEXUS) up $(HERE) $(ARGS)
status: ## What runs, who is primary (ARGS=--json for programs)
	$(NEXUS) status $(HERE) $(ARGS)
logs: ## What programs write (A=agent-2: one of them; ARGS=-f: as it happens)
	$(NEXUS) logs $(A) $(HERE) $(ARGS)
doctor: ## Why it is sick, and what mends it
	$(NEXUS) doctor $(HERE) $(ARGS)
chat: ## Ask from the terminal: make chat MSG="Name three primary colours."
	$(NEXUS) chat "$$MSG" $(HERE) $(ARGS)
link: ## A new sign-in link (once, 15 minutes)
	$(NEXUS) link $(HERE) $(ARGS)
history: ## Who followed whom as primary, and why (ARGS=--json for programs)
	$(NEXUS) history $(HERE) $(ARGS)
scale: ## Another number of agents: make scale N=4 (ARGS=--dry-run: only say what would happen)
	$(NEXUS) scale $(HERE) $(ARGS) -- "$(N)"
drain: ## Take an agent out of service without losing a turn: make drain A=agent-2
	$(NEXUS) drain $(A) $(HERE) $(ARGS)
switchover: ## Hand the primary's seat over (A=agent-2: to that one)
	$(NEXUS) switchover $(if $(A),--to $(A)) $(HERE) $(ARGS)
pause: ## Do not replace a dead primary by itself (until make resume)
	$(NEXUS) pause $(HERE) $(ARGS)
resume: ## Replace dead primaries again
	$(NEXUS) resume $(HERE) $(ARGS)
tasks: ## Which tasks there are (T=1a2b3c4d: what happened to one; ARGS="--state dead": some)
	$(NEXUS) tasks $(T) $(HERE) $(ARGS)
dead: ## What failed for good, and why
	$(NEXUS) dead $(HERE) $(ARGS)
cancel: ## End a task or a turn: make cancel T=1a2b3c4d
	$(NEXUS) cancel $(T) $(HERE) $(ARGS)
requeue: ## Give dead tasks all their tries again: make requeue T=1a2b3c4d (ARGS=--all-dead: all)
	$(NEXUS) requeue $(T) $(HERE) $(ARGS)
discard: ## Cancel dead tasks for good: make discard T=1a2b3c4d (ARGS="--all-dead --kind K": all of a kind)
	$(NEXUS) discard $(T) $(HERE) $(ARGS)
failover-demo: ## Ask, kill the primary that answers, show what the tab saw
	$(NEXUS) failover-demo $(HERE) $(ARGS)
version: ## What is installed
	$(NEXUS) version $(ARGS)

#: Develop
fmt: ## Format the code
	$(DEV)
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix .
lint: ## Rules of style and of imports
	$(DEV)
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -c "from importlinter.cli import lint_imports_command as c; c()"
types: ## mypy, strict
	$(DEV)
	@$(PY) -m mypy
test: ## All tests, on real stores, in two processes (ARGS=-k…: some of them, in one)
	$(DEV)
	@command -v chromium >/dev/null || echo "! Chromium is missing, so no test drives a browser: sudo apt-get install -y chromium"
	@$(PY) $(if $(ARGS),-m pytest $(if $(shell command -v chromium),,-m "not e2e") $(ARGS),-m tests.lanes)
test-docker: ## The tests on containers: needs a Docker Engine (ARGS=-k…: some of them)
	$(DEV)
	@$(PY) -m pytest -m docker $(ARGS)
check: lint types test ## What CI runs
e2e: ## The tests that drive a browser
	$(DEV)
	@$(PY) -m pytest -m e2e $(ARGS)
test-dashboards: ## Grafana's dashboards and Prometheus' rules, filled by a working cluster (needs Debian's prometheus)
	$(DEV)
	@command -v promtool >/dev/null || { echo "Prometheus is missing: sudo apt-get install -y prometheus"; exit 1; }
	@$(PY) -m pytest -m dashboards $(ARGS)
faults: ## Hurt a running cluster as FAULTS.md says, print what it took (ROWS=F1,F3: these; RUNS=full: 10 and 50 runs)
	$(DEV)
	@$(PY) -m tests.faults $(if $(ROWS),--rows $(ROWS)) $(if $(filter full,$(RUNS)),--full,$(if $(RUNS),--runs $(RUNS))) $(ARGS)
mutations: ## Take out each guard once: a named test has to notice (ONLY=word: guards with it in their name)
	$(DEV)
	@$(PY) -m tests.mutations $(if $(ONLY),--only "$(ONLY)") $(ARGS)
soak: ## Random faults under thirty conversations, then everything is checked (MINUTES=10 SEED=1)
	$(DEV)
	@$(PY) -m tests.faults.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(ARGS)
bench: ## Time to the first token, compared with asking the model server directly
	$(DEV)
	@$(PY) -m tests.bench.response_start $(ARGS)
bench-idle: ## What an appliance costs that nobody uses: CPU and memory of each process
	$(DEV)
	@$(PY) -m tests.bench.idle $(ARGS)
bench-failover: ## Failover beside Redis Sentinel and a plain TTL lock
	$(DEV)
	@$(PY) -m tests.bench.failover $(ARGS)
docs: ## Write the README's table of settings anew
	@$(PY) -m appliance.cli.reference
vendor: ## Fetch the vendored browser files anew (needs npm)
	$(DEV)
	@$(PY) -m appliance.web.vendor
lock: ## Write the lock files anew (needs uv)
	@$(PY) -m appliance.embedded.lock
clean: ## Remove what was installed and built here; homes and their data stay
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
