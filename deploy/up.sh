#!/bin/sh
# Starts the engine in the background, waits until it answers, runs a first container and says how to go on.
# NETNS=name starts it inside that network namespace (ip netns add name).
set -eu
cd "$(dirname "$0")/.."
ROOT=${SKERRY_ROOT:-/var/lib/skerry}
RUN=${SKERRY_RUN:-/run/skerry}
LOG=${SKERRY_LOG:-$ROOT/skerry.log}
SOCKET=$RUN/docker.sock
SKERRY="$PWD/.venv/bin/skerry"
export SKERRY_ROOT="$ROOT" SKERRY_RUN="$RUN"

say() { printf '==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
ping_ok() { curl -s -o /dev/null --max-time 2 --unix-socket "$SOCKET" http://localhost/_ping; }
docker_() { DOCKER_HOST="unix://$SOCKET" docker "$@"; }

if ping_ok; then
  say "Skerry already runs (socket $SOCKET)"
else
  mkdir -p "$ROOT" "$RUN"
  say "starting Skerry (log: $LOG)"
  if [ -n "${NETNS:-}" ]; then
    [ -e "/run/netns/$NETNS" ] || fail "network namespace $NETNS does not exist: ip netns add $NETNS && ip -n $NETNS link set lo up"
    setsid nsenter --net="/run/netns/$NETNS" "$SKERRY" up </dev/null >>"$LOG" 2>&1 &
  else
    setsid "$SKERRY" up </dev/null >>"$LOG" 2>&1 &
  fi
  PID=$!
  tries=0
  until ping_ok; do
    kill -0 "$PID" 2>/dev/null || { tail -n 15 "$LOG" >&2; fail "the engine ended; its log is $LOG, \`.venv/bin/skerry doctor\` tells what is missing"; }
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { tail -n 15 "$LOG" >&2; fail "not ready after 60 s; its log is $LOG"; }
    sleep 0.2
  done
  say "ready"
fi

if ! docker_ image inspect busybox:latest >/dev/null 2>&1; then
  say "getting a first image: busybox"
  if ! timeout 20 env DOCKER_HOST="unix://$SOCKET" docker pull -q busybox >/dev/null 2>&1; then
    say "no registry can be reached; making busybox out of this machine's own"
    ARCHIVE=$(mktemp)
    .venv/bin/python tests/images/busybox.py "$ARCHIVE"
    docker_ load -q -i "$ARCHIVE"
    rm -f "$ARCHIVE"
  fi
fi
docker_ run --rm busybox echo "Hello from a container run by Skerry." || fail "the first container did not run; the log is $LOG"

if docker context inspect skerry >/dev/null 2>&1; then :; else
  docker context create skerry --description "Skerry on this machine" --docker "host=unix://$SOCKET" >/dev/null 2>&1 || true
fi
cat <<END

Skerry runs. Use it with the docker command:
    export DOCKER_HOST=unix://$SOCKET        (or: docker context use skerry)
    docker run -it --rm busybox
Containers' bridge: $(docker_ network inspect bridge --format '{{index .Options "com.docker.network.bridge.name"}}, {{range .IPAM.Config}}{{.Subnet}}{{end}}')
Services:  .venv/bin/skerry status      Log: $LOG
Stop it:   make down   (containers go on running)
END
