#!/bin/sh
# Starts a command in the container. Unless that only serves, it checks that results can be written, and puts what ships with the
# project into new volumes.
set -eu
test "${1-} ${2-}" != "xraygen serve" || exec "$@"
for folder in data models metrics reports .cache; do
  test -w "$folder" || {
    echo "error: /app/$folder cannot be written by user $(id -u): make that folder before you mount it," \
      "and run with --user \"\$(id -u):\$(id -g)\"" >&2
    exit 2
  }
done
cp -Rn /opt/shipped/. .
exec "$@"
