#!/bin/sh
# The official image's start-up: as the redis user, without protected mode.
set -eu

case $1 in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . ! -user redis -exec chown redis '{}' +
  exec gosu redis "$@" --protected-mode no --bind '*' '-::*'
fi
exec "$@"
