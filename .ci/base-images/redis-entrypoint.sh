#!/bin/sh
# Run Redis as the user redis and without protected mode, as the official image does.
set -eu

case $1 in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . ! -user redis -exec chown redis '{}' +
  exec gosu redis "$@" --protected-mode no --bind '*' '-::*'
fi
exec "$@"
