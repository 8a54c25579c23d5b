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
  # The trap ends the sleep with the timer.
  (trap 'kill $!; exit' TERM; sleep "$seconds" & wait $!; kill "$command") >/dev/null 2>&1 &
  timer=$!
  wait "$command"
  status=$?
  kill "$timer" 2>/dev/null
  return "$status"
}
