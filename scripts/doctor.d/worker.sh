# The worker, which runs background tasks.

check_worker() {
  [ -n "$(container web)" ] || { note "The worker is checked while web runs."; return; }
  status=$(docker ps --filter "label=com.docker.compose.project=$project" \
    --filter label=com.docker.compose.service=worker \
    --filter label=com.docker.compose.oneoff=False --format '{{.Status}}')
  case $status in
    *"(healthy)"*) ok "The worker runs." ;;
    *"(health: starting)"*) note "The worker is starting." ;;
    *) bad "No worker runs, so background tasks such as mail wait." "make logs ARGS=worker" ;;
  esac
}
