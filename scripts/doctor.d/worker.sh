# The worker, which runs background tasks.

check_worker() {
  [ -n "$(container web)" ] || { note "The worker is checked while web runs."; return; }
  case $(containers worker --format '{{.Status}}') in
    *"(healthy)"*) ok "The worker runs." ;;
    *"(health: starting)"*) note "The worker is starting." ;;
    *) bad "No worker runs, so background tasks such as mail wait." "make logs ARGS=worker" ;;
  esac
}
