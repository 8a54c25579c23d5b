# Functions for scripts that query the Docker engine. Source this file in the project's folder.

project=${COMPOSE_PROJECT_NAME:-$(sed -n 's/^name: *//p' compose.base.yml)}

# images [VARIABLE]: the image of PYTHON_IMAGE, POSTGRES_IMAGE or REDIS_IMAGE, or all three.
images() {
  eval "printf '%s\n' $(sed -n "s/.*\(\${${1:-[A-Z]*_IMAGE}:-[^}]*}\).*/\1/p" compose.base.yml | tr '\n' ' ')"
}

# has_image IMAGE…: whether the engine has all of them.
has_image() { docker image inspect "$@" >/dev/null 2>&1; }

# image_major IMAGE: the major version of a PostgreSQL image.
image_major() {
  docker image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$1" | sed -n 's/^PG_MAJOR=//p'
}

# ecs_architecture PLATFORM: the name in ECS of a platform such as linux/amd64, or nothing if ECS has
# none.
ecs_architecture() {
  case $1 in
    linux/amd64) echo X86_64 ;;
    linux/arm64) echo ARM64 ;;
  esac
}

# registry_has IMAGE: whether a pull begins within 5 seconds. The engine itself has to try: only it
# knows its mirrors and proxies. The engine stops the pull when this client ends.
registry_has() {
  output=$(mktemp)
  docker pull "$1" >"$output" 2>&1 &
  pull=$!
  tries=0
  until grep -q "Pulling" "$output" || ! kill -0 "$pull" 2>/dev/null || [ "$tries" -ge 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
  done
  kill "$pull" 2>/dev/null
  grep -q "Pulling" "$output"
  begun=$?
  rm -f "$output"
  return "$begun"
}

# containers SERVICE ARGS…: docker ps for this project's containers of a service, without those of
# `docker compose run`. The engine answers five times faster than Compose.
containers() {
  service=$1
  shift
  docker ps --filter "label=com.docker.compose.project=$project" \
    --filter "label=com.docker.compose.service=$service" --filter label=com.docker.compose.oneoff=False "$@"
}

# container SERVICE: the id of a running container of the service, or nothing.
container() { containers "$1" --quiet | head -n 1; }
