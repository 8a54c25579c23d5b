# The Docker engine, its plugins and the base images.

MIN_ENGINE=25.0       # health checks with start_interval
MIN_COMPOSE=2.24      # env_file with `required`
MIN_MEMORY_MB=2000

check_engine() {
  if ! command -v docker >/dev/null; then
    bad "The docker command is not installed. Install Docker, or use the host runtime." "make up RUNTIME=host"
    return
  fi
  version=$(within 5 docker version --format '{{.Server.Version}}' 2>&1)
  case $version in
    [0-9]*)
      if at_least "$MIN_ENGINE" "$version"; then
        ok "Docker Engine $version."
      else
        bad "Docker Engine $version is older than $MIN_ENGINE. Update it, or use the host runtime." "make up RUNTIME=host"
      fi
      ;;
    *"permission denied"*)
      bad "You have no permission to use the Docker engine. Join the docker group, then sign in again." \
        "sudo usermod -aG docker $(id -un)"
      ;;
    *) bad "No Docker engine answers. Start Docker, or use the host runtime." "make up RUNTIME=host" ;;
  esac
}

check_compose() {
  version=$(docker compose version --short)
  if [ -z "$version" ]; then
    bad "Docker's Compose plugin is missing." "sudo apt-get install docker-compose-plugin"
  elif at_least "$MIN_COMPOSE" "$version"; then
    ok "Compose $version."
  else
    bad "Compose $version is older than $MIN_COMPOSE." "sudo apt-get install --only-upgrade docker-compose-plugin"
  fi
}

check_buildx() {
  version=$(docker buildx version | awk 'NR == 1 { print $2 }')
  if [ -n "$version" ]; then
    ok "Buildx $version."
  else
    bad "Docker's Buildx plugin, which builds the images, is missing." "sudo apt-get install docker-buildx-plugin"
  fi
}

check_memory() {
  mb=$(($(docker info --format '{{.MemTotal}}') / 1000000))
  if [ "$mb" -ge "$MIN_MEMORY_MB" ]; then
    ok "The engine has $mb MB of memory."
  else
    bad "The engine has $mb MB of memory and needs $MIN_MEMORY_MB. Give it more (Docker Desktop: Settings, Resources)." \
      "colima stop && colima start --memory 4"
  fi
}

check_images() {
  images=$(images)
  # shellcheck disable=SC2086 # one word for each image
  if has_image $images; then
    ok "The engine has the base images."
    return
  fi
  for image in $images; do
    if has_image "$image"; then
      continue
    elif registry_has "$image"; then
      ok "The engine can pull $image."
    else
      bad "The engine has no $image and cannot pull it. Connect it to a registry, or use the host runtime." "make up RUNTIME=host"
    fi
  done
}
