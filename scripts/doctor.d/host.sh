# The host runtime.

check_python() {
  if [ -x .local/venv/bin/python ]; then
    ok "$(.local/venv/bin/python --version) in .local/venv."
    return
  fi
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.14 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys, ensurepip, ssl; sys.exit(sys.version_info < (3, 12))'; then
      ok "$("$candidate" --version)."
      return
    fi
  done
  bad "There is no Python 3.12 or newer with its venv and ssl modules." "sudo apt-get install python3-venv"
}

check_disk() {
  mb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1000) }')
  if [ "$mb" -ge 1000 ]; then
    ok "$mb MB of disk are left."
  else
    bad "$mb MB of disk are left, and .local/ needs up to 1000." "rm -rf .local/cache"
  fi
}

check_environment() {
  if [ -x .local/venv/bin/python ]; then
    report_environment "$(sh scripts/host-python -m scripts.host env 2>&1 >/dev/null)"
  else
    note "The environment is checked after the first make up."
  fi
}

# report_environment TABLE: the contract's table of problems, or nothing.
report_environment() {
  if [ -z "$1" ]; then
    ok "The dev target accepts its environment."
  else
    # The first three lines are the heading.
    echo "$1" | sed 1,3d | while read -r row; do
      [ -z "$row" ] || bad "Environment: $row" "make env"
    done
  fi
}
