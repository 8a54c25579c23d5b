# The dev target as a container sees it: clock, disk, mount and environment.

MIN_DISK_MB=5000
MAX_CLOCK_SKEW=5    # seconds
work=.local/doctor

check_dev_container() {
  has_image "$project-dev" || { note "The dev container is checked once its image is built."; return; }
  rm -rf "$work"
  mkdir -p "$work/watched"
  nonce=$$-$(date +%s)
  echo "$nonce" >"$work/nonce"
  # Change a watched file while the container runs. The loop also ends if the doctor is killed.
  while kill -0 $$; do date >"$work/watched/file"; sleep 0.2; done &
  writer=$!
  before=$(date +%s)
  answer=$(within 30 sh scripts/compose dev run --rm --no-deps -T --workdir /app web \
    sh -c "$(cat scripts/doctor.d/in-dev-container.sh)" 2>"$results/dev-container")
  after=$(date +%s)
  kill "$writer"
  # Wait until the loop has ended. It could write while the folder is deleted.
  wait "$writer"
  report_dev_container
  rm -rf "$work"
}

# answered NAME: the value that in-dev-container.sh printed.
answered() { echo "$answer" | sed -n "s/^$1 //p"; }

report_dev_container() {
  clock=$(answered clock)
  if [ -z "$clock" ]; then
    bad "A container of the dev target does not start: $(tail -n 1 "$results/dev-container")" "make build"
    return
  elif [ "$clock" -lt $((before - MAX_CLOCK_SKEW)) ] || [ "$clock" -gt $((after + MAX_CLOCK_SKEW)) ]; then
    bad "The engine's clock differs from this machine's by $((clock - after)) s. Restart Docker (WSL: wsl --shutdown)." \
      "docker run --rm --privileged $(images PYTHON_IMAGE) sh -c 'date -s @$(date +%s)'"
  else
    ok "The engine's clock is right."
  fi
  if [ "$(answered disk)" -lt "$MIN_DISK_MB" ]; then
    bad "The engine has $(answered disk) MB of disk left and needs $MIN_DISK_MB." "docker builder prune"
  else
    ok "The engine has $(answered disk) MB of disk left."
  fi
  if [ "$(answered mount)" != "$nonce" ]; then
    bad "Containers do not see this folder. Share it (Docker Desktop: Settings, Resources, File sharing), or clone below your home." \
      "git clone . ~/methodhub"
    return
  fi
  ok "Containers see this folder."
  # shellcheck disable=SC2012 # a fixed file name; the options of `stat` differ between systems
  owner=$(ls -ln "$work/written" | awk '{ print $3 }')
  if [ -z "$owner" ]; then
    bad "A container has no permission to write here as user ${HOST_UID:-1000}." "sudo chown -R $(id -u):$(id -g) ."
  elif [ "$owner" != "$(id -u)" ]; then
    bad "Files that a container creates belong to user $owner, not to you ($(id -u))." "make up HOST_UID=$(id -u) HOST_GID=$(id -g)"
  else
    ok "Files that a container creates belong to you."
  fi
  if [ "$(answered watch)" = no ]; then
    bad "The mount delivers no events for changed files. Poll for them instead." "echo WATCHFILES_FORCE_POLLING=true >>env/dev.env"
  else
    ok "The mount delivers events for changed files."
  fi
  report_environment "$(cat "$work/problems")"
}
