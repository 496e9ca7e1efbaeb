"""The commands and flags that must have a case here. A case names what it covers by the marker `covers`."""

_FLAGS = {
    "run": "-i -t -d --rm --name --hostname -e --env-file -w -u --entrypoint --read-only --init --tmpfs -v --restart --label --cidfile "
    "--stop-signal --stop-timeout --pull --sig-proxy --detach-keys -a --log-driver --log-opt --net=bridge --net=host --net=none "
    "--net=container --volumes-from --mount -p:fixed -p:random -p:udp -p:address -P --expose "
    "--add-host --cap-add --cap-drop --cgroup-parent --cgroupns --device --device-cgroup-rule --dns --dns-option --dns-search "
    "--domainname --gpus --group-add --health-cmd --health-interval --health-retries --health-start-period --health-timeout --ip --ip6 "
    "--ipc --isolation --kernel-memory --label-file --link --link-local-ip --mac-address --network --network-alias --no-healthcheck "
    "--oom-score-adj --pid --platform --privileged -q --runtime --security-opt --shm-size --storage-opt --sysctl --ulimit --use-api-socket "
    "--userns --uts",
    "create": "--name -i -t",
    "start": "-a -i",
    "stop": "-t",
    "restart": "-t",
    "kill": "-s",
    "wait": "",
    "rm": "-f -v",
    "rename": "",
    "ps": "-a -q -s -n -l -f --format --no-trunc",
    "inspect": "--format --type",
    "exec": "-i -t -d -e -w -u --env-file --detach-keys --privileged",
    "cp": "-a -L -",
    "volume create": "-d --label -o",
    "volume ls": "-q -f --format",
    "volume inspect": "-f",
    "volume rm": "-f",
    "volume prune": "-f -a --filter",
    "attach": "--no-stdin --sig-proxy --detach-keys",
    "pause": "",
    "unpause": "",
    "top": "",
    "port": "",
    "logs": "--tail --since --until -t -f",
    "container prune": "-f --filter",
    "save": "-o",
    "load": "-i -q",
    "import": "-c -m URL --platform",
    "commit": "-a -m -c -p",
    "diff": "",
    "export": "-o",
    "images": "-a -q -f --format --no-trunc --digests",
    "pull": "-q :tag @digest",
    "push": "-a -q :tag",
    "login": "",
    "logout": "",
    "search": "--filter --limit --no-trunc --format",
    "build": "-t -q -f --iidfile --build-arg --target --network --add-host --rm --force-rm --no-cache --label --cache-from --pull "
    "--shm-size --memory --ulimit",
    "builder prune": "",
    "tag": "",
    "rmi": "-f --no-prune",
    "image inspect": "",
    "image prune": "-f -a --filter",
    "system df": "-v",
    "history": "-q --no-trunc",
    "events": "--since --until -f --format",
    "version": "--format",
    "info": "--format",
}

EXPECTED = [entry for command, flags in _FLAGS.items() for entry in (command, *(f"{command} {flag}" for flag in flags.split()))]

# What the summary says besides, such as lines of the tutorial that cannot run here; filled by the cases.
NOTES: list[str] = []
