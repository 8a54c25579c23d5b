#!/usr/bin/env bash
# The parts of the official image's entrypoint that this project uses: POSTGRES_* and their _FILE
# forms, PGDATA below the volume, and initdb.d, which runs on an empty volume with a server that
# listens on its socket only.
set -Eeuo pipefail

# setting NAME DEFAULT: export NAME, or the content of the file NAME_FILE, or the default.
setting() {
  local name=$1 file="${1}_FILE"
  if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
    echo "error: both $name and $file are set (but are exclusive)" >&2
    exit 1
  fi
  local value=${!name:-}
  [ -z "${!file:-}" ] || value=$(<"${!file}")
  export "$name=${value:-$2}"
  unset "$file"
}

sql() { psql --no-psqlrc -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$1"; }

case $1 in -*) set -- postgres "$@" ;; esac
[ "$1" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chown -R postgres "$PGDATA"
  chmod 700 "$PGDATA"
  exec gosu postgres "${BASH_SOURCE[0]}" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  setting POSTGRES_PASSWORD ''
  setting POSTGRES_USER postgres
  setting POSTGRES_DB "$POSTGRES_USER"
  if [ "$PGDATA" = "/var/lib/postgresql/$PG_MAJOR/docker" ]; then
    if mountpoint -q /var/lib/postgresql/data; then
      echo "Error: in 18+, mount the volume at /var/lib/postgresql, not /var/lib/postgresql/data" >&2
      exit 1
    fi
    for old in /var/lib/postgresql /var/lib/postgresql/data /var/lib/postgresql/*/docker; do
      if [ -s "$old/PG_VERSION" ]; then
        echo "Error: Counter to that, there appears to be PostgreSQL data in: $old" >&2
        exit 1
      fi
    done
  fi
  if [ -z "$POSTGRES_PASSWORD" ]; then
    echo "Error: Database is uninitialized and superuser password is not specified." >&2
    exit 1
  fi
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host=scram-sha-256
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
  [ "$POSTGRES_DB" = postgres ] || printf 'CREATE DATABASE "%s";\n' "$POSTGRES_DB" | sql postgres
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh) echo "$0: running $file" && "$file" ;;
      *.sql) echo "$0: running $file" && sql "$POSTGRES_DB" <"$file" ;;
      *) echo "$0: ignoring $file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  echo 'PostgreSQL init process complete; ready for start up.'
fi
exec "$@"
