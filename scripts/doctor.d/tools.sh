# Functions that several checks use.

project=${COMPOSE_PROJECT_NAME:-$(sed -n 's/^name: *//p' compose.base.yml)}

# at_least WANTED FOUND: whether the version in FOUND is MAJOR.MINOR or newer.
at_least() {
  awk -v wanted="$1" -v found="$2" 'BEGIN {
    sub(/^[^0-9]*/, "", found)
    split(wanted, w, "."); split(found, f, ".")
    exit !(f[1] + 0 > w[1] + 0 || (f[1] + 0 == w[1] + 0 && f[2] + 0 >= w[2] + 0))
  }'
}

# within SECONDS COMMAND…: run a command with a time limit. macOS has no `timeout`.
within() {
  seconds=$1
  shift
  "$@" &
  command=$!
  { sleep "$seconds"; kill "$command"; } >/dev/null 2>&1 &
  timer=$!
  wait "$command"
  status=$?
  kill "$timer" 2>/dev/null
  return "$status"
}

# images [VARIABLE]: the image of PYTHON_IMAGE, POSTGRES_IMAGE or REDIS_IMAGE, or all three.
images() {
  eval "printf '%s\n' $(sed -n "s/.*\(\${${1:-[A-Z]*_IMAGE}:-[^}]*}\).*/\1/p" compose.base.yml | tr '\n' ' ')"
}

# has_image IMAGE…: whether the engine has all of them.
has_image() { docker image inspect "$@" >/dev/null 2>&1; }

# registry_has IMAGE: whether a pull begins within 5 seconds. The engine itself has to try: only it
# knows its mirrors and proxies. It stops the pull when this client ends.
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

# containers SERVICE ARGS…: docker ps for this project's containers of a service.
containers() {
  service=$1
  shift
  docker ps --filter "label=com.docker.compose.project=$project" \
    --filter "label=com.docker.compose.service=$service" --filter label=com.docker.compose.oneoff=False "$@"
}

# container SERVICE: the id of one that runs, or nothing.
container() { containers "$1" --quiet | head -n 1; }
