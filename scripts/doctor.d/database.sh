# The PostgreSQL volume: its major version, its password and its migrations.

# initdb.d can run again: it creates the roles and the database of both URLs and sets the passwords.
APPLY_URLS="sh scripts/compose dev up --detach --wait postgres && sh scripts/compose dev exec --user postgres postgres psql --file /docker-entrypoint-initdb.d/10-app.sql"
OTHER_PASSWORD="The volume was created with another password than env/backing-services.env or env/migrate.env has now. This command sets the new one and keeps the data; make reset deletes the data."

check_volume() {
  volume=${project}_postgres-data
  if [ -n "$(container postgres)" ]; then
    ok "PostgreSQL runs on its volume."
    return
  elif ! docker volume inspect "$volume" >/dev/null; then
    ok "There is no PostgreSQL volume yet."
    return
  fi
  image=$(images POSTGRES_IMAGE)
  has_image "$image" || { note "The volume's PostgreSQL version cannot be read without $image."; return; }
  major=$(image_major "$image")
  found=$(sh scripts/clusters-in-volume "$volume" "$image" | sed -n '$s/ .*//p')
  if [ -z "$found" ] || [ -z "$major" ]; then
    ok "The PostgreSQL volume is empty."
  elif [ "$found" = "$major" ]; then
    ok "The volume was created by PostgreSQL $major."
  elif [ "$found" -lt "$major" ]; then
    bad "The volume $volume was created by PostgreSQL $found, but $image is PostgreSQL $major. This command moves the data; make reset deletes it." \
      "make db-upgrade"
  else
    bad "The volume $volume was created by PostgreSQL $found, and $image is older. Keep using the newer version." \
      "make up POSTGRES_IMAGE=postgres:$found"
  fi
}

check_password() { check_login DATABASE_URL env/backing-services.env; }
check_owner_password() { check_login DATABASE_OWNER_URL env/migrate.env; }

# check_login VARIABLE FILE: sign in with the URL in the file.
check_login() {
  postgres=$(container postgres)
  url=$(sed -n "s/^$1=//p" "$2" | tail -n 1 | tr -d "'\"")
  case $url in
    *@postgres[:/]*) ;;
    *) note "$1 does not point to this project's PostgreSQL."; return ;;
  esac
  [ -n "$postgres" ] || { note "The password of $1 is checked while PostgreSQL runs."; return; }
  # Pass the URL in the environment: every user of the machine can read a command's arguments.
  answer=$(URL=$url docker exec --env URL --env PGCONNECT_TIMEOUT=3 "$postgres" \
    sh -c 'exec psql --no-psqlrc --quiet --tuples-only --command "SELECT 1" "$URL"' 2>&1)
  case $answer in
    *"password authentication failed"*) bad "$OTHER_PASSWORD" "$APPLY_URLS" ;;
    *"does not exist"*) bad "The volume was created for another database or role than $2 has now. This command creates them and keeps the data." "$APPLY_URLS" ;;
    *1*) ok "PostgreSQL accepts the password of $1." ;;
    *) note "PostgreSQL does not answer yet." ;;
  esac
}

check_migrations() {
  web=$(container web)
  [ -n "$web" ] || { note "Unapplied migrations are checked while web runs."; return; }
  answer=$(docker exec "$web" python -ISc '
from http.client import HTTPConnection
probe = HTTPConnection("127.0.0.1", 8000, timeout=3)
probe.request("GET", "/readyz")
print(probe.getresponse().read().decode())')
  case $answer in
    *'"migrations": "pending"'*) bad "The database has unapplied migrations." "make migrate" ;;
    *'"migrations": "applied"'*) ok "All migrations are applied." ;;
    *) note "web's readiness check did not answer, so migrations are unknown." ;;
  esac
}
