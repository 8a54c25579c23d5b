# Explain why a start failed.

# explain [FILE]: show the logs of the containers that failed, or else FILE, the output of migrate.
explain() {
  # Give containers that are still starting 4 seconds to become healthy or fail.
  tries=0
  while
    # One list for both questions: a container that restarts changes its status several times a second.
    docker ps --all --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.oneoff=False \
      --format '{{.ID}} {{.Label "com.docker.compose.service"}} {{.Status}}' >"$results/containers"
    # With FILE, migrate failed, and a container that is up is not the cause.
    grep -v -e '^[^ ]* migrate ' -e ' Up .*(healthy)' -e ' Created' ${1:+-e " Up "} "$results/containers" >"$results/failed"
    ! grep -qv '(health: starting)' "$results/failed" && [ "$tries" -lt 20 ] \
      && grep -q '(health: starting)' "$results/containers"
  do
    sleep 0.2
    tries=$((tries + 1))
  done
  while read -r id service status; do
    docker logs --tail 25 "$id" >"$results/log" 2>&1
    last_lines "$service: $status" "$results/log"
  done <"$results/failed"
  if [ ! -s "$results/failed" ] && [ -s "${1:-}" ]; then
    last_lines "migrate failed" "$1"
  fi
}

# last_lines TITLE FILE: print the end of a log, and the remedy for a known cause.
last_lines() {
  printf '\n%s. Its last lines:\n\n' "$1"
  tail -n 25 "$2"
  echo
  if grep -q "password authentication failed" "$2"; then
    printf 'Problem: %s\n    Try: %s\n' "$OTHER_PASSWORD" "$APPLY_URLS"
  elif grep -q -e "database files are incompatible" -e "appears to be PostgreSQL data in" "$2"; then
    printf 'Problem: Another major version of PostgreSQL created the volume.\n    Try: make db-upgrade\n'
  fi
}
