# The processor that the images are built for.

check_platform() {
  # `make up` works on every processor, so only a wrong PLATFORM is a problem for it.
  [ "$mode" = full ] || [ -n "${PLATFORM:-}" ] || return 0
  engine=$(docker version --format '{{.Server.Os}}/{{.Server.Arch}}')
  platform=${PLATFORM:-$engine}
  architecture=$(ecs_architecture "$platform")
  if [ -z "$architecture" ]; then
    bad "The images would be built for $platform, and ECS runs only linux/amd64 and linux/arm64." "make build PLATFORM=linux/amd64"
  elif [ "$platform" = "$engine" ]; then
    ok "The images are built for $platform. ECS needs runtimePlatform.cpuArchitecture $architecture."
  elif docker buildx inspect | grep -qE "^Platforms:.* $platform[*]?(,|\$)"; then
    ok "The images are built for $platform, which $engine emulates slowly. ECS needs runtimePlatform.cpuArchitecture $architecture."
  else
    bad "The engine runs $engine and cannot emulate $platform. Install the emulation, or build on a machine of that kind." \
      "docker run --privileged --rm tonistiigi/binfmt --install ${platform#linux/}"
  fi
}
