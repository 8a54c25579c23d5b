# The verbs for the docker runtime.

DEV := sh scripts/compose dev
ECS := sh scripts/compose $(if $(TLS),ecs-tls,ecs)
RUNNING := sh scripts/compose running

# Fargate's limit for open files, or this machine's where it is lower.
export NOFILE ?= $(shell limit=$$(ulimit -Hn); [ "$$limit" -lt 65535 ] 2>/dev/null || limit=65535; echo $$limit)

# Let Buildx read CA_BUNDLE outside the project without asking.
export BUILDX_BAKE_ENTITLEMENTS_FS := 0

# Run a command in a new container of the running target, on a migrated database.
ONE_OFF = $(RUNNING) migrated && $(RUNNING) run --rm --no-deps web
# Run a dev tool on the whole project.
TOOLS = $(DEV) run --rm --no-deps --workdir /app web
DATABASE = sh scripts/database-in-container
REDIS_CLI = redis sh -c 'exec redis-cli $$REDISCLI_OPTIONS "$$@"' redis-cli

# Compose reports only that a service failed. The doctor shows why.
OR_EXPLAIN = || { sh scripts/doctor explain; exit 1; }
OR_EXPLAIN_BUILD = || { sh scripts/doctor docker build; exit 1; }

# Show migrate's output only when it fails.
MIGRATE = mkdir -p .local && $(1) </dev/null >.local/migrate.log 2>&1 || { sh scripts/doctor explain .local/migrate.log; exit 1; }

# The image of one stage of the Dockerfile. As with Compose, each project has its own.
IMAGE = $(or $(COMPOSE_PROJECT_NAME),methodhub)-$(1)
# Build one stage of the Dockerfile; the second argument holds further options.
STAGE = docker build --quiet --target $(1) --tag $(call IMAGE,$(1)) --file docker/Dockerfile $(2) \
  --build-arg MCP_HUB=true \
  --secret id=ca_bundle,src="$(or $(CA_BUNDLE),docker/no-ca-bundle.pem)" \
  $(if $(PLATFORM),--platform $(PLATFORM)) $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) . >/dev/null

# Look for problems, and build the image of a target unless it is built already.
PREPARE = if $(1) built; then sh scripts/doctor docker built $(2); \
  else sh scripts/doctor docker quick $(2) && { $(1) image $(OR_EXPLAIN_BUILD); }; fi

# Fail unless a variable is a whole number.
WHOLE_NUMBER = case "$($(1))" in "" | 0* | *[!0-9]*) \
  echo "$(1) must be a whole number, for example $(1)=3 (got '$($(1))')." >&2; exit 1 ;; esac

# All services start at once, and migrate runs in web's container. The verb ends when migrate has run
# and web is healthy.
up: env/secrets.env
	@$(call PREPARE,$(DEV),dev)
	@$(DEV) start $(OR_EXPLAIN)
	@$(DEV) await $(OR_EXPLAIN)
	@$(call MIGRATE,$(DEV) migrate)
	@$(DEV) await web $(OR_EXPLAIN)
	@sh scripts/welcome dev

# A range of ports, such as 8000-8002, gives each replica one.
WEB_PORTS = $(if $(filter-out 1,$(REPLICAS)),$(WEB_PORT)-$$(($(WEB_PORT) + $(REPLICAS) - 1)),$(WEB_PORT))

# Replace web and the worker. PostgreSQL and Redis keep running, unless their configuration changed.
up-prodlike: env/secrets.env
	@$(call WHOLE_NUMBER,REPLICAS)
	@$(call WHOLE_NUMBER,WORKER_REPLICAS)
	@$(call PREPARE,$(ECS),ecs)
	@$(if $(TLS),sh scripts/certificates .local/tls)
	@WEB_PORT=$(WEB_PORTS) $(ECS) start --scale web=$(REPLICAS) --scale worker=$(WORKER_REPLICAS) $(OR_EXPLAIN)
	@$(ECS) await $(OR_EXPLAIN)
	@$(ECS) owner $(OR_EXPLAIN)
	@$(call MIGRATE,$(ECS) run --rm --no-deps -T migrate)
	@$(ECS) await web worker $(OR_EXPLAIN)
	@sh scripts/welcome ecs "$$(. scripts/docker.sh && docker image inspect --format '{{.Os}}/{{.Architecture}}' "$$project-ecs")"

down:
	@$(RUNNING) down --remove-orphans

reset:
	@sh scripts/confirm "Delete the local database and all its data?"
	@$(RUNNING) down --remove-orphans --volumes

ps:
	@$(RUNNING) ps --all

logs:
	@$(RUNNING) logs --follow --tail 200 $(ARGS)

migrate:
	@$(RUNNING) migrated
	@$(RUNNING) run --rm --no-deps migrate

makemigrations:
	@$(DEV) services
	@$(DEV) run --rm --no-deps web python manage.py makemigrations $(ARGS)

manage:
	@$(ONE_OFF) python manage.py $(CMD)

shell:
	@$(ONE_OFF) python manage.py shell

dbshell:
	@$(RUNNING) migrated
	@$(RUNNING) exec --env PGOPTIONS="-c statement_timeout=0 -c idle_in_transaction_session_timeout=0" postgres \
	  sh -c 'exec psql "$${DATABASE_OWNER_URL:-$$DATABASE_URL}"'

redis-cli:
	@$(RUNNING) services
	@$(RUNNING) exec $(REDIS_CLI)

superuser:
	@$(ONE_OFF) python manage.py createsuperuser

fixtures:
	@$(ONE_OFF) python manage.py loaddata demonstration

db-snapshot:
	@$(RUNNING) migrated
	@$(DATABASE) snapshot $(NAME)

# Clear the cache afterwards: the sessions in it belong to the replaced data.
db-restore:
	@$(RUNNING) services
	@$(DATABASE) restore $(NAME)
	@$(RUNNING) owner
	@$(RUNNING) exec -T $(REDIS_CLI) FLUSHALL >/dev/null

db-snapshots:
	@$(RUNNING) services
	@$(DATABASE) snapshots

db-drop-snapshot:
	@$(RUNNING) services
	@$(DATABASE) drop $(NAME)

db-dump:
	@$(RUNNING) migrated
	@sh scripts/dump-file write "$(FILE)" $(DATABASE) dump

db-load:
	@$(RUNNING) services
	@sh scripts/dump-file read "$(FILE)" $(DATABASE) load
	@$(RUNNING) exec -T $(REDIS_CLI) FLUSHALL >/dev/null

db-upgrade:
	@bash scripts/upgrade-database

seed:
	@$(DEV) migrated
	@$(DEV) run --rm --no-deps web python manage.py seed $(if $(USERS),--users $(USERS))

# --noreload, because a restart would lose the debugger. `make up` restores the usual web.
debug: env/secrets.env
	@$(DEV) migrated
	@$(DEV) stop web
	@echo "Attach to localhost:$(DEBUG_PORT); the site is on http://localhost:$(WEB_PORT)/. Stop with Ctrl-C, then run make up."
	@$(DEV) run --rm --no-deps --publish 127.0.0.1:$(WEB_PORT):8000 --publish 127.0.0.1:$(DEBUG_PORT):5678 web \
	  python -X frozen_modules=off -m debugpy --listen 0.0.0.0:5678 manage.py runserver --noreload 0.0.0.0:8000

test: env/secrets.env
	@$(DEV) image --quiet
	@$(DEV) services
	@$(TOOLS) env COVERAGE=$(COVERAGE) PROCESSES=$(PROCESSES) sh scripts/test $(T) $(ARGS)

# Runs on this machine, with the host runtime's Python. The whole suite runs in three processes, because
# most tests wait for containers (tests/stack/conftest.py divides it).
test-stack: env/secrets.env
	@sh scripts/host-python -m pytest --config-file tests/stack/pytest.toml --rootdir . $(or $(T),tests/stack --numprocesses 3) $(ARGS)

# Python in the dev container; Compose files, Dockerfile, SQL and shell with the verbs that test them.
mutants: env/secrets.env
	@$(DEV) build --quiet web
	@$(DEV) services
	@$(TOOLS) env SAMPLE=$(SAMPLE) python -m scripts.mutants $(T); status=$$?; \
	sh scripts/host-python -m scripts.mutants_by_hand $(T) && exit $$status

# Runs on this machine too, on a copy of the work tree in a Compose project of its own.
bench: env/secrets.env
	@sh scripts/host-python -m scripts.bench $(ONLY)

test-host:
	@echo "test-host tests the host runtime. Run RUNTIME=host make test-host." >&2; exit 1

doctor:
	@sh scripts/doctor docker

# In a new container, so that it works when web failed to start.
env:
	@$(RUNNING) image --quiet >/dev/null
	@$(RUNNING) run --rm --no-deps web python manage.py env $(ARGS)

parity: env/secrets.env
	@$(DEV) image --quiet
	@$(ECS) image --quiet
	@$(DEV) services
	@sh scripts/parity

lint: env/secrets.env
	@$(DEV) image --quiet
	@$(TOOLS) sh scripts/lint
	@sh scripts/lint-compose

format:
	@$(TOOLS) sh scripts/format

build:
	@sh scripts/doctor docker build-quick
	@$(DEV) build web $(OR_EXPLAIN_BUILD)
	@$(ECS) build web $(OR_EXPLAIN_BUILD)

sbom:
	@$(call STAGE,sbom)
	@docker run --rm --network none $(call IMAGE,sbom)

# A container reads the group of the engine's socket, because Docker Desktop gives the socket another
# group inside containers than on this machine.
dev-container:
	@socket_gid=$$(. scripts/docker.sh && docker run --rm --entrypoint stat \
	  --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \
	  "$$(images PYTHON_IMAGE)" -c %g /var/run/docker.sock) && \
	$(call STAGE,dev-container,--build-arg HOST_UID=$(HOST_UID) --build-arg HOST_GID=$(HOST_GID) --build-arg SOCKET_GID=$$socket_gid)

# Options of docker run for programs that use the package index.
TRUST = $(if $(CA_BUNDLE),--volume "$(abspath $(CA_BUNDLE)):/ca.crt:ro" \
  --env SSL_CERT_FILE=/ca.crt --env REQUESTS_CA_BUNDLE=/ca.crt)

audit:
	@mkdir -p .local
	@$(call STAGE,sbom)
	@docker run --rm --network none $(call IMAGE,sbom) >.local/sbom.json
	@docker run --rm $(TRUST) --env HTTPS_PROXY --env PIP_AUDIT_VULNERABILITY_SERVICE \
	  --env PIP_AUDIT_OSV_URL --volume "$(CURDIR):/app:ro" --workdir /app $(call IMAGE,sbom) \
	  /opt/sbom/bin/python scripts/audit.py .local/sbom.json $(ARGS)

# Runs on this machine too.
reproducible:
	@sh scripts/host-python -m scripts.reproducible

lock:
	@$(call STAGE,build)
	@docker run --rm --user $(HOST_UID):$(HOST_GID) --env HOME=/tmp --env UPGRADE=$(UPGRADE) $(TRUST) \
	  --volume "$(CURDIR):/app" --workdir /app $(call IMAGE,build) sh scripts/lock

env/secrets.env:
	@sh scripts/make-secrets
