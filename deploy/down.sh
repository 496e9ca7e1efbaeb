#!/bin/sh
# Stops the engine that `make up` started. Containers go on running; the next `make up` finds them again.
set -eu
RUN=${SKERRY_RUN:-/run/skerry}
STATE=$RUN/supervisor.json
[ -e "$STATE" ] || { echo "Skerry does not run (no $STATE)"; exit 0; }
PID=$(sed -n 's/^{"supervisor":\([0-9]*\).*/\1/p' "$STATE")
if ! kill -TERM "$PID" 2>/dev/null; then
  echo "error: the supervisor (pid $PID) has died; start it again with \`make up\`, then \`make down\`" >&2
  exit 1
fi
printf '==> stopping Skerry'
tries=0
while kill -0 "$PID" 2>/dev/null; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || { echo; echo "error: still running after 60 s (pid $PID)" >&2; exit 1; }
  printf '.'
  sleep 0.2
done
echo ' stopped; containers go on'
