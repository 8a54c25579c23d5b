# Building images: certificates and the package index.

MAX_BUNDLE=500000    # bytes; BuildKit's limit for a secret

check_ca_bundle() {
  [ -n "${CA_BUNDLE:-}" ] || return 0
  if ! grep -q 'BEGIN CERTIFICATE' "$CA_BUNDLE"; then
    bad "CA_BUNDLE does not name a file of PEM certificates." "CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt make build"
  elif [ "$(wc -c <"$CA_BUNDLE")" -gt "$MAX_BUNDLE" ]; then
    bad "The file that CA_BUNDLE names is larger than the $MAX_BUNDLE bytes that a build accepts." \
      "CA_BUNDLE=/path/to/a/smaller.crt make build"
  else
    ok "CA_BUNDLE names a file of certificates."
  fi
}

check_package_index() {
  if [ "$mode" != build ] && has_image "$project-dev"; then
    ok "A build has reached the package index."
    return
  fi
  image=$(images PYTHON_IMAGE)
  has_image "$image" || { note "Access to the package index is checked once $image is pulled."; return; }
  bundle=${CA_BUNDLE:-/dev/null}
  case $bundle in /*) ;; *) bundle=$PWD/$bundle ;; esac
  # shellcheck disable=SC2016 # the container's shell expands it
  answer=$(within 20 docker run --rm --volume "$bundle:/ca.crt:ro" "$image" sh -c '
    [ ! -s /ca.crt ] || export SSL_CERT_FILE=/ca.crt PIP_CERT=/ca.crt
    pip --disable-pip-version-check --retries 0 --timeout 8 download --progress-bar off --no-deps --no-binary :none: --dest /tmp pip 2>&1 || echo FAILED')
  case $answer in
    *CERTIFICATE_VERIFY_FAILED* | *"certificate verify failed"* | *SSLError* | *"TLS CA"*)
      bad "A build cannot verify the package index's certificate: this network inspects TLS. Pass the network's certificates to the build." \
        "CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt make build"
      ;;
    *FAILED*) bad "A build cannot reach the package index. Check whether it needs a proxy." "docker info --format '{{.HTTPSProxy}}'" ;;
    *) ok "A build can reach the package index." ;;
  esac
}
