# Functions that several checks use.

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
  # The trap ends the sleep with the timer.
  (trap 'kill $!; exit' TERM; sleep "$seconds" & wait $!; kill "$command") >/dev/null 2>&1 &
  timer=$!
  wait "$command"
  status=$?
  kill "$timer" 2>/dev/null
  return "$status"
}
