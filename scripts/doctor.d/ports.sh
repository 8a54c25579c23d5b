# The published ports, and the project name that a second clone would share.

check_ports() {
  for setting in WEB_PORT:8000 POSTGRES_PORT:5432 REDIS_PORT:6379; do
    variable=${setting%:*} default=${setting#*:} ports=
    # The ecs overlay publishes web only.
    [ "$target" = dev ] || [ "$variable" = WEB_PORT ] || continue
    eval "ports=\${$variable:-$default}"
    # With several replicas, WEB_PORT is a range such as 8000-8002.
    port=${ports%-*} last=${ports#*-}
    if ! is_port "$port" || ! is_port "$last" || [ "$port" -gt "$last" ]; then
      bad "$variable must be a port from 1 to 65535 or a range of ports (got '$ports')." "make up $variable=$default"
      continue
    fi
    while [ "$port" -le "$last" ]; do
      check_port
      port=$((port + 1))
    done
  done
}

is_port() {
  case $1 in '' | *[!0-9]*) return 1 ;; esac
  [ "$1" -ge 1 ] && [ "$1" -le 65535 ]
}

check_port() {
  user=
  [ "$runtime" = host ] ||
    user=$(docker ps --filter "publish=$port" --format '{{.Label "com.docker.compose.project"}} {{.Names}}' | head -n 1)
  if [ -z "$user" ]; then
    user=$(listener "$port")
  elif [ "${user%% *}" = "$project" ]; then
    ok "Port $port belongs to this project."
    return
  else
    user="the container ${user##* }"
  fi
  if [ -z "$user" ]; then
    ok "Port $port is free."
  elif [ "$runtime" = host ] && grep -qsE "\"port\": $port([^0-9]|\$)" .local/run/*.json; then
    ok "Port $port belongs to this project."
  else
    bad "Port $port ($variable) is already in use by $user." "make up $variable=$(free_port $((port + 1)))"
  fi
}

# listener PORT: the process that listens on a port, or nothing.
listener() {
  if command -v ss >/dev/null; then
    # Each line ends with users:(("python",pid=42,fd=3)), unless the process belongs to another user.
    ss -Hltnp "sport = :$1" | awk -F '"' 'NR == 1 {
      print NF < 3 ? "another process" : $2 " (pid " substr($3, length(",pid=") + 1) + 0 ")" }'
  elif command -v lsof >/dev/null; then
    lsof -nP -iTCP:"$1" -sTCP:LISTEN | awk 'NR == 2 { print $1 " (pid " $2 ")" }'
  elif [ -r /proc/net/tcp ]; then
    cat /proc/net/tcp /proc/net/tcp6 | awk -v port="$(printf ':%04X' "$1")" \
      '$4 == "0A" && substr($2, length($2) - 4) == port { print "another process"; exit }'
  fi
}

# free_port PORT: the first free port from this one on.
free_port() {
  free=$1
  while [ -n "$(listener "$free")" ]; do
    free=$((free + 1))
  done
  echo "$free"
}

check_project_name() {
  other=$(docker ps --all --filter "label=com.docker.compose.project=$project" \
    --format '{{.Label "com.docker.compose.project.working_dir"}}' | grep -vxF -e "$(pwd -P)" -e "$PWD" -e "" | head -n 1)
  if [ -z "$other" ]; then
    ok "No other clone has containers of the project $project."
  else
    bad "The clone in $other already has containers of the project $project. Give this clone a name and ports of its own." \
      "make up COMPOSE_PROJECT_NAME=$project-2 WEB_PORT=8100 POSTGRES_PORT=5532 REDIS_PORT=6479"
  fi
}
