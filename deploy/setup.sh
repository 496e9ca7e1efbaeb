#!/bin/sh
# Puts in place what Skerry needs on Debian and Ubuntu. Quick and harmless when everything is there already.
#   setup.sh run    what the engine needs: system packages, .venv, a docker command
#   setup.sh check  what the static checks need: Python and .venv alone
#   setup.sh test   also what its tests and benches need; nothing of it is started or enabled
# Everything but the system packages stays inside the project: .venv and .cache.
set -eu
cd "$(dirname "$0")/.."
WHAT=${1:-run}
VENV=.venv
TOOLS=.cache/tools

say() { printf '==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }

installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

refresh() {  # apt's lists, once
  [ -n "${REFRESHED:-}" ] && return
  say "apt-get update"
  as_root apt-get update -qq || fail "apt-get update failed: is the network up, and /etc/apt/sources.list right?"
  REFRESHED=1
}

packages() {
  missing=
  for package in "$@"; do installed "$package" || missing="$missing $package"; done
  [ -z "$missing" ] && return
  refresh
  say "installing:$missing"
  # shellcheck disable=SC2086  # a list on purpose
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
    fail "apt-get install$missing failed; run it by hand to see why"
}

# Unpacks packages into .cache/tools without installing them: no service of theirs is ever started or enabled.
unpacked() {
  for package in "$@"; do
    [ -e "$TOOLS/.$package" ] && continue
    refresh
    say "unpacking $package into $TOOLS"
    mkdir -p "$TOOLS" .cache/debs
    (cd .cache/debs && rm -f "${package}"_*.deb && apt-get download -qq "$package" >/dev/null 2>&1) || fail "apt-get download $package failed"
    dpkg -x .cache/debs/"${package}"_*.deb "$TOOLS"
    : >"$TOOLS/.$package"
  done
}

docker_command() {
  command -v docker >/dev/null && return
  if apt-cache policy docker-cli 2>/dev/null | grep -q 'Candidate: [0-9]'; then
    packages docker-cli
    return
  fi
  # Before Debian 13 the command comes only with the daemon: take the one file.
  say "taking the docker command (not the daemon) out of docker.io"
  folder=$(mktemp -d)
  (cd "$folder" && apt-get download -qq docker.io >/dev/null && dpkg -x docker.io_*.deb .) || fail "apt-get download docker.io failed"
  as_root install -m 755 "$folder/usr/bin/docker" /usr/local/bin/docker
  rm -rf "$folder"
}

python_environment() {
  extra=$1
  stamp="$VENV/.$extra"
  want=$(cat pyproject.toml requirements.lock | sha256sum)
  [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && return
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed; $(python3 --version) is what python3 is here"
  [ -x "$VENV/bin/python" ] || { say "making $VENV"; python3 -m venv "$VENV" || fail "python3 -m venv failed: apt-get install python3-venv"; }
  say "installing Python packages (skerry[$extra]); about a minute"
  "$VENV/bin/pip" install -q --disable-pip-version-check --no-warn-script-location -c requirements.lock -e ".[$extra]" ||
    fail "pip install failed; run it by hand: $VENV/bin/pip install -c requirements.lock -e '.[$extra]'"
  printf '%s' "$want" >"$stamp"
}

# A virtual environment for servers that tests run: their packages stay apart from the project's.
server_environment() {
  python=$1 folder=$2 list=$3
  [ -e "$folder/.done" ] && [ "$(cat "$folder/.done")" = "$(cat "$list")" ] && return
  say "installing test servers into $folder"
  rm -rf "$folder"
  "$python" -m venv "$folder" && "$folder/bin/pip" install -q --disable-pip-version-check -r "$list" ||
    fail "pip install failed; run it by hand: $folder/bin/pip install -r $list"
  cp "$list" "$folder/.done"
}

newer_python() {  # prints a Python of at least 3.13 that works
  for one in python3.13 python3.14 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[3-9]*/bin/python "$(command -v uv >/dev/null && uv python find --offline '>=3.13' 2>/dev/null)"; do
    [ -n "$one" ] && "$one" -c 'import sys, venv; sys.exit(sys.version_info < (3, 13))' 2>/dev/null && { printf '%s\n' "$one"; return; }
  done
}

test_servers() {
  server_environment "$VENV/bin/python" .cache/servers deploy/test-servers.txt
  python=$(newer_python) || python=
  if [ -n "$python" ]; then
    server_environment "$python" .cache/mongo deploy/test-mongo.txt
  else
    say "no Python 3.13 found (PATH, pyenv, uv): tests that need its MongoDB server are skipped"
  fi
}

command -v apt-get >/dev/null || fail "this script knows Debian and Ubuntu only; README.md lists what to install elsewhere"
if [ "$WHAT" = check ]; then
  packages ca-certificates python3 python3-venv
  python_environment dev
  exit
fi
packages ca-certificates python3 python3-venv crun nftables iproute2 procps busybox-static curl
[ "$WHAT" = test ] && packages iptables skopeo conntrack util-linux mmdebstrap mmdebstrap
docker_command
case "$WHAT" in
  run) python_environment all ;;
  test)
    unpacked docker.io containerd tini docker-registry podman conmon netavark
    # Its number differs from release to release; apt's lists are there by now.
    unpacked "$(apt-cache depends podman | grep -o 'libsubid[0-9]*' | head -1)"
    packages runc
    python_environment dev
    test_servers
    ;;
  *) fail "usage: setup.sh run|check|test" ;;
esac
