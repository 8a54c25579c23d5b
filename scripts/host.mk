# The verbs without Docker: PostgreSQL and Valkey come from wheels, and every service runs as a
# process on this machine. State, logs and data are in .local/.

PYTHON_HERE := sh scripts/host-python
HOST := $(PYTHON_HERE) -m scripts.host

up up-prodlike: env/secrets.env
	@sh scripts/doctor host quick
	@$(HOST) $@

# These verbs are subcommands of scripts/host, with the arguments given here.
SUBCOMMANDS := down ps logs migrate makemigrations manage shell dbshell redis-cli superuser fixtures \
  seed db-snapshot db-restore db-snapshots db-drop-snapshot db-upgrade debug test env
logs makemigrations env: ARGUMENTS = $(ARGS)
manage: ARGUMENTS = $(CMD)
seed: ARGUMENTS = $(if $(USERS),--users $(USERS))
db-snapshot db-restore db-drop-snapshot: ARGUMENTS = $(NAME)
test: ARGUMENTS = $(T) $(ARGS)
debug test lint: env/secrets.env
$(SUBCOMMANDS):
	@$(HOST) $@ $(ARGUMENTS)

reset:
	@sh scripts/confirm "Delete the local database and all its data?"
	@$(HOST) $@

db-dump:
	@sh scripts/dump-file write "$(FILE)" $(HOST) $@

db-load:
	@sh scripts/dump-file read "$(FILE)" $(HOST) $@

test-host:
	@$(PYTHON_HERE) -m pytest --config-file tests/host/pytest.toml --rootdir . $(or $(T),tests/host) $(ARGS)

doctor:
	@sh scripts/doctor host

lint:
	@$(HOST) tool sh scripts/lint
	@if docker compose version >/dev/null 2>&1; then sh scripts/lint-compose; else echo "The Compose files were not checked: that needs docker compose."; fi

format lock:
	@$(HOST) tool sh scripts/$@

WITH_SBOM_TOOLS = $(HOST) tool uv run --quiet --no-project --isolated --with-requirements requirements/sbom.txt

sbom:
	@$(WITH_SBOM_TOOLS) cyclonedx-py environment --output-reproducible .local/venv

audit:
	@$(WITH_SBOM_TOOLS) cyclonedx-py environment .local/venv >.local/sbom.json
	@$(WITH_SBOM_TOOLS) python scripts/audit.py .local/sbom.json $(ARGS)

test-stack mutants bench parity build dev-container reproducible:
	@echo "make $@ needs a Docker engine. Start Docker, and leave out RUNTIME=host." >&2; exit 1

env/secrets.env:
	@sh scripts/make-secrets
