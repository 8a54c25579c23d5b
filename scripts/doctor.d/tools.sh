# Functions that several checks use.

# at_least WANTED VERSION: whether VERSION is WANTED, as MAJOR.MINOR, or newer.
at_least() {
  IFS=. read -r major minor _ <<EOF
${2#v}
EOF
  minor=${minor%%[!0-9]*}
  [ "$major" -gt "${1%.*}" ] || { [ "$major" -eq "${1%.*}" ] && [ "${minor:-0}" -ge "${1#*.}" ]; }
}

# within SECONDS COMMAND…: run a command with a time limit. macOS has no `timeout`.
within() {
  seconds=$1
  shift
  "$@" &
  command=$!
  # Second by second, because a sleep survives the timer, and a trap that ends it may come too early.
  (while [ "$seconds" -gt 0 ]; do sleep 1; seconds=$((seconds - 1)); done; kill "$command") >/dev/null 2>&1 &
  timer=$!
  wait "$command"
  status=$?
  kill "$timer" 2>/dev/null
  return "$status"
}
