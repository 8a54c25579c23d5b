# The verbs of this project; `make` alone lists them. scripts/docker.mk and scripts/host.mk implement
# each for one runtime.

.DEFAULT_GOAL := help
.SUFFIXES:

# Persistent local overrides such as WEB_PORT=8001. As with Compose, the shell's value wins.
$(foreach setting,$(shell grep -E '^[A-Z_]+=' .env 2>/dev/null),$(eval export $(subst =, ?= ,$(setting))))

# Compose does not see the shell's $UID.
export HOST_UID ?= $(shell id -u)
export HOST_GID ?= $(shell id -g)
export WEB_PORT ?= 8000
export REPLICAS ?= 1
export WORKER_REPLICAS ?= 1
export DEBUG_PORT ?= 5678

##@ Run
.PHONY: up up-prodlike down reset ps logs
up: ## Start the dev stack on http://localhost:8000 and migrate the database
up-prodlike: ## Start the ecs target instead (REPLICAS=3, WORKER_REPLICAS=2, TLS=1 to PostgreSQL and Redis)
down: ## Stop everything and keep the data
reset: ## Stop everything and delete the data (asks, or FORCE=1)
ps: ## List the services and their states
logs: ## Follow the logs (ARGS=web for one service)

##@ Work
.PHONY: migrate makemigrations manage shell dbshell redis-cli superuser fixtures debug
migrate: ## Apply migrations (safe to run several times at once)
makemigrations: ## Write migrations for changed models (ARGS=…)
manage: ## Run manage.py (CMD="check --deploy")
shell: ## Open a Python shell with Django loaded
dbshell: ## Open psql on the app's database, as its owner
redis-cli: ## Open redis-cli
superuser: ## Create a superuser
fixtures: ## Load three demonstration users
debug: ## Run the dev web in the foreground, for a debugger to attach (port 5678)

##@ Data
.PHONY: db-snapshot db-restore db-snapshots db-drop-snapshot db-dump db-load db-upgrade seed
db-snapshot: ## Save the database as a snapshot (NAME=…)
db-restore: ## Restore a snapshot (NAME=…)
db-snapshots: ## List the snapshots
db-drop-snapshot: ## Delete a snapshot (NAME=…)
db-dump: ## Write the database to a file (FILE=…)
db-load: ## Replace the database with a dump (FILE=…)
db-upgrade: ## Move the data to the current PostgreSQL major, and keep the old volume
seed: ## Create many demonstration users, the same each time (USERS=1000)

##@ Check
.PHONY: doctor env parity test test-stack test-host mutants bench lint format
doctor: ## Diagnose this machine and configuration (JSON=1 for JSON)
env: ## Print every variable and the source of its value (ARGS=--json, ARGS=--write)
parity: ## Compare the dev and ecs targets; fail on unexplained differences
test: ## Run the tests (T=tests/home for a part, ARGS=… for pytest options, COVERAGE=1 to measure)
test-stack: ## Test the containers from outside (T=…, ARGS=…)
test-host: ## Test the host runtime from outside (T=…, ARGS=…)
mutants: ## Find faults that no test notices (T=src/home/views.py for a part, SAMPLE=20 of each file)
bench: ## Run the benchmarks and write docs/benchmarks/ (ONLY=reload for a part)
lint: ## Check code, scripts, Dockerfiles, YAML, links and spelling; find secrets
format: ## Format the code and apply automatic fixes

##@ Build
.PHONY: build dev-container lock sbom audit reproducible
build: ## Build the images of both targets
dev-container: ## Build the image that .devcontainer/ opens; editors run this
audit: ## Look up known vulnerabilities of the locked packages and of the bill of materials
sbom: ## Print the bill of materials of the ecs image (host: of its venv) as CycloneDX JSON
reproducible: ## Build the ecs image of the last commit twice, and compare the files
lock: ## Compile requirements/*.txt from pyproject.toml (UPGRADE=1 for newer versions)

##@ Help
.PHONY: help
help: ## List the verbs
	@awk -f scripts/help.awk $(firstword $(MAKEFILE_LIST))

# Choose the runtime when a verb needs one. $(shell) does not export make's variables, so the
# command sets those that the script reads.
ifneq ($(filter-out help,$(MAKECMDGOALS)),)
SETTINGS := $(foreach name,COMPOSE_PROJECT_NAME PYTHON_IMAGE POSTGRES_IMAGE REDIS_IMAGE,$(if $($(name)),$(name)='$($(name))'))
RUNTIME_CHOSEN := $(shell $(SETTINGS) sh scripts/choose-runtime '$(RUNTIME)' $(MAKECMDGOALS))
ifeq ($(RUNTIME_CHOSEN),)
$(error No runtime is available; see the message above)
endif
include scripts/$(RUNTIME_CHOSEN).mk
endif
