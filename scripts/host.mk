# The verbs without Docker: PostgreSQL and Valkey from wheels, web as a process of this machine.
# State, logs and data are in .local/.

PYTHON_HERE := sh scripts/host-python
HOST := $(PYTHON_HERE) -m scripts.host

up: env/secrets.env
	@sh scripts/doctor host quick
	@$(HOST) up

up-prodlike: env/secrets.env
	@sh scripts/doctor host quick
	@$(HOST) up-prodlike

down:
	@$(HOST) down

reset:
	@sh scripts/confirm "Delete the local database and all that is in it?"
	@$(HOST) reset

ps:
	@$(HOST) ps

logs:
	@$(HOST) logs $(ARGS)

migrate:
	@$(HOST) manage migrate

makemigrations:
	@$(HOST) makemigrations $(ARGS)

manage:
	@$(HOST) manage $(CMD)

shell:
	@$(HOST) manage shell

dbshell:
	@$(HOST) dbshell

redis-cli:
	@$(HOST) redis-cli

superuser:
	@$(HOST) manage createsuperuser

fixtures:
	@$(HOST) manage loaddata demonstration

db-snapshot:
	@$(HOST) database snapshot $(NAME)

db-restore:
	@$(HOST) database restore $(NAME)

db-snapshots:
	@$(HOST) database snapshots

db-drop-snapshot:
	@$(HOST) database drop $(NAME)

db-dump:
	@sh scripts/dump-file write "$(FILE)" $(HOST) database dump

db-load:
	@sh scripts/dump-file read "$(FILE)" $(HOST) database load

db-upgrade:
	@$(HOST) db-upgrade

seed:
	@$(HOST) manage seed $(if $(USERS),--users $(USERS))

debug: env/secrets.env
	@$(HOST) debug

test: env/secrets.env
	@$(HOST) test $(T) $(ARGS)

test-stack:
	@echo "test-stack drives containers, and that needs a Docker engine: start Docker and try again." >&2; exit 1

test-host:
	@$(PYTHON_HERE) -m pytest --config-file tests/host/pytest.toml --rootdir . $(or $(T),tests/host) $(ARGS)

bench:
	@echo "bench measures images and containers, and that needs a Docker engine: start Docker and try again." >&2; exit 1

doctor:
	@sh scripts/doctor host

env:
	@$(HOST) env $(ARGS)

parity:
	@echo "parity compares two images; here is one set of packages for both targets. Start Docker and try again." >&2; exit 1

lint: env/secrets.env
	@$(HOST) tool sh scripts/lint
	@if docker compose version >/dev/null 2>&1; then sh scripts/lint-compose; else echo "Not checked: the Compose layerings, which need docker compose."; fi

format:
	@$(HOST) tool sh scripts/format

build:
	@echo "build makes images, and that needs a Docker engine: start Docker and try again." >&2; exit 1

sbom:
	@$(HOST) tool uv run --quiet --no-project --isolated --with-requirements requirements/sbom.txt cyclonedx-py environment --output-reproducible .local/venv

lock:
	@$(HOST) tool sh scripts/lock

env/secrets.env:
	@sh scripts/make-secrets
