# The files under env/.

check_env_files() {
  set -- env/backing-services.env env/migrate.env env/postgres.env env/dev.env env/ecs-local.env
  for file; do
    shift
    if [ -r "$file" ]; then
      set -- "$@" "$file"
    else
      bad "$file is missing or not readable." "git checkout -- $file"
    fi
  done
  if [ -r env/secrets.env ]; then
    set -- "$@" env/secrets.env
  elif [ -e env/secrets.env ]; then
    bad "You have no permission to read env/secrets.env." "sudo chown $(id -un) env/secrets.env"
  elif [ "$target" = ecs ]; then
    bad "env/secrets.env is missing." "sh scripts/make-secrets"
  fi
  awk -f scripts/doctor.d/env-files.awk env/variables.tsv "$@" >"$results/env-files"
  if [ -s "$results/env-files" ]; then
    cat "$results/env-files"
  else
    ok "The files under env/ set only variables of the contract."
  fi
}

check_secrets_mode() {
  [ -e env/secrets.env ] || { note "There is no env/secrets.env yet; make creates it."; return; }
  # shellcheck disable=SC2012 # a fixed file name; the options of `stat` differ between systems
  case $(ls -ld env/secrets.env | cut -c5-10) in
    ------) ok "Only you can read env/secrets.env." ;;
    *) bad "Other users can read env/secrets.env." "chmod 600 env/secrets.env" ;;
  esac
}
