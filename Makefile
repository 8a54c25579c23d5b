# The verbs of this project. What each does is in scripts/docker.mk and scripts/host.mk: the same
# verbs over the two runtimes. `make` alone lists them.

.DEFAULT_GOAL := help
.SUFFIXES:

# Choices to keep, as WEB_PORT=8001. Compose reads this file too, and gives way to the shell as well.
$(foreach setting,$(shell grep -E '^[A-Z_]+=' .env 2>/dev/null),$(eval export $(subst =, ?= ,$(setting))))

# Compose sees neither the shell's $UID nor its ulimit.
export HOST_UID ?= $(shell id -u)
export HOST_GID ?= $(shell id -g)
export WEB_PORT ?= 8000
export REPLICAS ?= 1
export WORKER_REPLICAS ?= 1
export DEBUG_PORT ?= 5678

##@ Run
.PHONY: up up-prodlike down reset ps logs
up: ## Start the dev stack on http://localhost:8000, migrated
up-prodlike: ## The same with the ecs target as web (REPLICAS=3 WORKER_REPLICAS=2 for several)
down: ## Stop everything; data stays
reset: ## Stop everything and delete the data (asks, or FORCE=1)
ps: ## What runs
logs: ## Follow the logs (ARGS=web for one service)

##@ Work
.PHONY: migrate makemigrations manage shell dbshell redis-cli superuser fixtures debug
migrate: ## Apply migrations, safely even when several do at once
makemigrations: ## Write migrations for changed models (ARGS=…)
manage: ## Run manage.py (CMD="check --deploy")
shell: ## Python with Django loaded
dbshell: ## psql on the app's database
redis-cli: ## redis-cli
superuser: ## Make a superuser
fixtures: ## Load the demonstration users
debug: ## Run the dev web in the foreground, for a debugger to attach (port 5678)

##@ Data
.PHONY: db-snapshot db-restore db-snapshots db-drop-snapshot db-dump db-load db-upgrade seed
db-snapshot: ## Save the database as it is now (NAME=…)
db-restore: ## Come back to a snapshot (NAME=…)
db-snapshots: ## List the snapshots
db-drop-snapshot: ## Delete a snapshot (NAME=…)
db-dump: ## Write the database to a file (FILE=…)
db-load: ## Load such a file (FILE=…)
db-upgrade: ## Move the data of an older PostgreSQL major to the present one; keeps the old volume
seed: ## Make demonstration users, the same each time (USERS=1000)

##@ Check
.PHONY: doctor env parity test test-stack test-host bench lint format
doctor: ## Look for what is wrong with this machine or configuration (JSON=1 for machines)
env: ## Print every variable and where its value comes from (ARGS=--json, ARGS=--write)
parity: ## Compare the dev and ecs targets; fails on a difference that has no reason
test: ## Run the tests (T=tests/home for a part, ARGS=… for pytest)
test-stack: ## Test the real containers from outside (T=…, ARGS=…)
test-host: ## Test the runtime without Docker from outside (T=…, ARGS=…)
bench: ## Measure what people wait for, and write docs/benchmarks/ (ONLY=reload for a part)
lint: ## Check format, types, shell, Dockerfile, YAML and Compose layerings
format: ## Format and fix what can be fixed

##@ Build
.PHONY: build lock sbom
build: ## Build both targets' images
sbom: ## Print the packages of the ecs image (host: of its venv) as a CycloneDX bill of materials (JSON)
lock: ## Compile requirements/*.txt from pyproject.toml (UPGRADE=1 for newer versions)

##@ Help
.PHONY: help
help: ## This list
	@awk -f scripts/help.awk $(firstword $(MAKEFILE_LIST))

# Choose the runtime once, when a verb needs one; it says on stderr which and why.
ifneq ($(filter-out help,$(MAKECMDGOALS)),)
RUNTIME_CHOSEN := $(shell sh scripts/choose-runtime $(RUNTIME))
ifeq ($(RUNTIME_CHOSEN),)
$(error no runtime, see above)
endif
include scripts/$(RUNTIME_CHOSEN).mk
endif
