"""Every property of a create request with a value that is not its default, and what comes of it."""

from typing import Any, NamedTuple

Body = dict[str, Any]


class Effect(NamedTuple):
    """What the container is made of has lines that a plain one's does not, and each of these texts is in one of them."""

    texts: tuple[str, ...]


class Lacks(NamedTuple):
    """Lines with this text are in what a plain container is made of, and not in this one's."""

    text: str


class Refused(NamedTuple):
    """Create or start fails, with words that match."""

    words: str


class Warned(NamedTuple):
    """Create says that it is discarded."""

    words: str


class Shown(NamedTuple):
    """Carried for others to read: inspect shows it."""


class Ignored(NamedTuple):
    """As in dockerd: nothing is different."""


class SeenBy(NamedTuple):
    """Its effect is seen in time or from outside: by the case of this name in the files of this pattern."""

    files: str
    case: str


class Unless(NamedTuple):
    """Depends on kernel and host: takes effect, is refused by name, or is discarded with a warning."""


Expected = Effect | Lacks | Refused | Warned | Shown | Ignored | SeenBy | Unless


def effect(*texts: str) -> Effect:
    return Effect(texts)


def host(**fields: Any) -> Body:
    return {"HostConfig": fields}


def mount(**fields: Any) -> Body:
    return host(Mounts=[{"Target": "/mnt/x", **fields}])


def endpoint(**fields: Any) -> Body:
    return {"NetworkingConfig": {"EndpointsConfig": {"bridge": fields}}}


_DEVICE = {"PathOnHost": "/dev/null", "PathInContainer": "/dev/other", "CgroupPermissions": "rm"}
_PORTS = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18080"}]}
_GPU = {"Driver": "made-up", "Count": -1, "Capabilities": [["gpu"]], "Options": {"a": "b"}}
_RATE = [{"Path": "/dev/vda", "Rate": 1 << 20}]
_LIMITS = {
    "BlkioWeight": 300,
    "CpuPeriod": 50_000,
    "CpuQuota": 20_000,
    "CpuRealtimePeriod": 1_000_000,
    "CpuRealtimeRuntime": 1000,
    "CpuShares": 77,
    "CpusetCpus": "0",
    "CpusetMems": "0",
    "KernelMemoryTCP": 64 << 20,
    "Memory": 64 << 20,
    "MemoryReservation": 32 << 20,
    "MemorySwappiness": 13,
    "NanoCpus": 500_000_000,
    "PidsLimit": 77,
}

# Properties, request, what comes of it.
ROWS: list[tuple[str, Body, Expected]] = [
    ("Config.Hostname", {"Hostname": "boxy"}, effect("boxy")),
    ("Config.Domainname", {"Domainname": "dom.example"}, effect("kernel.domainname=dom.example", "hosts=")),
    ("Config.User", {"User": "12:34"}, effect("uid=12", "gid=34")),
    ("Config.AttachStdin", {"AttachStdin": True}, Shown()),
    ("Config.AttachStdout", {"AttachStdout": True}, Shown()),
    ("Config.AttachStderr", {"AttachStderr": True}, Shown()),
    ("Config.ExposedPorts", {"ExposedPorts": {"81/udp": {}}}, effect("81/udp")),
    ("Config.Tty", {"Tty": True}, effect("process.terminal=true", "TERM=xterm")),
    ("Config.OpenStdin", {"OpenStdin": True}, effect("job.stdin=true")),
    ("Config.StdinOnce", {"StdinOnce": True}, SeenBy("conformance/test_run.py", "test_stdin_is_passed_and_its_end_ends_the_program")),
    ("Config.Env", {"Env": ["COLOUR=blue"]}, effect("COLOUR=blue")),
    ("Config.Cmd", {"Cmd": ["sleep", "77"]}, effect("args.1=77")),
    ("Config.Entrypoint", {"Entrypoint": ["busybox"]}, effect("args.0=busybox")),
    (
        "Config.Healthcheck Config.Healthcheck.Test Config.Healthcheck.Interval Config.Healthcheck.Timeout Config.Healthcheck.Retries "
        "Config.Healthcheck.StartPeriod Config.Healthcheck.StartInterval",
        {
            "Healthcheck": {
                "Test": ["CMD", "true"],
                "Interval": 60_000_000_000,
                "Timeout": 7_000_000_000,
                "Retries": 4,
                "StartPeriod": 5_000_000_000,
                "StartInterval": 6_000_000_000,
            }
        },
        Shown(),
    ),
    ("Config.ArgsEscaped", {"ArgsEscaped": True}, Ignored()),
    ("Config.Image", {"Image": "nosuchimage"}, Refused("No such image: nosuchimage:latest")),
    ("Config.Volumes", {"Volumes": {"/vol": {}}}, effect("destination=/vol")),
    ("Config.WorkingDir", {"WorkingDir": "/usr"}, effect("process.cwd=/usr")),
    ("Config.NetworkDisabled", {"NetworkDisabled": True}, effect("Networks.none")),
    ("Config.MacAddress", {"MacAddress": "92:d0:c6:0a:29:33"}, effect("MacAddress=92:d0:c6:0a:29:33")),
    ("Config.OnBuild", {"OnBuild": ["RUN true"]}, Ignored()),
    ("Config.Labels", {"Labels": {"a": "b"}}, Shown()),
    ("Config.StopSignal", {"StopSignal": "SIGUSR1"}, SeenBy("conformance/test_lifecycle.py", "test_stop_signal_and_timeout")),
    ("Config.StopTimeout", {"StopTimeout": 3}, SeenBy("conformance/test_lifecycle.py", "test_stop_signal_and_timeout")),
    ("Config.Shell", {"Shell": ["/bin/ash"]}, Ignored()),
    *((f"HostConfig.{name}", host(**{name: value}), Unless()) for name, value in _LIMITS.items()),
    ("HostConfig.MemorySwap", host(Memory=64 << 20, MemorySwap=96 << 20), Unless()),
    ("HostConfig.OomKillDisable", host(Memory=64 << 20, OomKillDisable=True), Unless()),
    (
        "HostConfig.BlkioWeightDevice HostConfig.BlkioWeightDevice.Path HostConfig.BlkioWeightDevice.Weight",
        host(BlkioWeightDevice=[{"Path": "/dev/vda", "Weight": 100}]),
        Unless(),
    ),
    *(
        (f"HostConfig.{name} HostConfig.{name}.Path HostConfig.{name}.Rate", host(**{name: _RATE}), Unless())
        for name in ("BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps")
    ),
    ("HostConfig.CgroupParent", host(CgroupParent="/sk-options"), effect("cgroupsPath=/sk-options/")),
    ("HostConfig.Devices HostConfig.Devices.PathOnHost HostConfig.Devices.PathInContainer HostConfig.Devices.CgroupPermissions",
     host(Devices=[_DEVICE]), effect("path=/dev/other", "access=rm")),
    ("HostConfig.DeviceCgroupRules", host(DeviceCgroupRules=["c 42:7 rw"]), effect("major=42", "minor=7")),
    ("HostConfig.DeviceRequests HostConfig.DeviceRequests.Driver HostConfig.DeviceRequests.Count HostConfig.DeviceRequests.Capabilities "
     "HostConfig.DeviceRequests.Options", host(DeviceRequests=[_GPU]), Refused('could not select device driver "made-up".*gpu')),
    ("HostConfig.DeviceRequests.DeviceIDs", host(DeviceRequests=[{"DeviceIDs": ["0"]}]), Refused('could not select device driver ""')),
    ("HostConfig.Init", host(Init=True), effect("args.0=/sbin/docker-init")),
    ("HostConfig.Ulimits HostConfig.Ulimits.Name HostConfig.Ulimits.Soft HostConfig.Ulimits.Hard",
     host(Ulimits=[{"Name": "nofile", "Soft": 111, "Hard": 222}]), effect("RLIMIT_NOFILE", "soft=111", "hard=222")),
    ("HostConfig.CpuCount", host(CpuCount=1), Ignored()),
    ("HostConfig.CpuPercent", host(CpuPercent=10), Warned("does not support CPU percent")),
    ("HostConfig.IOMaximumIOps", host(IOMaximumIOps=10), Refused("maximum IOPs")),
    ("HostConfig.IOMaximumBandwidth", host(IOMaximumBandwidth=10), Refused("maximum bandwidth")),
    ("HostConfig.Binds", host(Binds=["/usr:/mnt/x:ro"]), effect("destination=/mnt/x", "source=/usr")),
    ("HostConfig.ContainerIDFile", host(ContainerIDFile="/nosuch/cid"), Ignored()),
    ("HostConfig.LogConfig HostConfig.LogConfig.Type", host(LogConfig={"Type": "none", "Config": {}}), Lacks("LogPath=/")),
    ("HostConfig.LogConfig.Config", host(LogConfig={"Type": "json-file", "Config": {"nosuch": "1"}}), Refused("unknown log opt 'nosuch'")),
    ("HostConfig.NetworkMode", host(NetworkMode="none"), effect("Networks.none")),
    ("HostConfig.PortBindings HostConfig.PortBindings.HostIp HostConfig.PortBindings.HostPort", host(PortBindings=_PORTS),
     effect("HostIp=127.0.0.1", "HostPort=18080")),
    ("HostConfig.RestartPolicy HostConfig.RestartPolicy.Name HostConfig.RestartPolicy.MaximumRetryCount",
     host(RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 2}),
     SeenBy("conformance/test_lifecycle.py", "test_restart_on_failure")),
    ("HostConfig.AutoRemove", host(AutoRemove=True), SeenBy("conformance/test_run.py", "test_run_shows_the_output_and_removes")),
    ("HostConfig.VolumeDriver", host(VolumeDriver="nosuch", Binds=["vol1:/mnt/x"]), Refused("nosuch|HostConfig.VolumeDriver")),
    ("HostConfig.VolumesFrom", host(VolumesFrom=["nosuch"]), Refused("No such container: nosuch")),
    ("HostConfig.Mounts HostConfig.Mounts.Type HostConfig.Mounts.Source HostConfig.Mounts.Target HostConfig.Mounts.ReadOnly",
     mount(Type="bind", Source="/usr", ReadOnly=True), effect("destination=/mnt/x", "options.1=ro")),
    ("HostConfig.Mounts.Consistency", mount(Type="bind", Source="/usr", Consistency="cached"), effect("destination=/mnt/x")),
    ("HostConfig.Mounts.BindOptions HostConfig.Mounts.BindOptions.Propagation",
     mount(Type="bind", Source="/usr", BindOptions={"Propagation": "private"}), effect("=private")),
    ("HostConfig.Mounts.BindOptions.NonRecursive", mount(Type="bind", Source="/usr", BindOptions={"NonRecursive": True}), effect("=bind")),
    ("HostConfig.Mounts.BindOptions.CreateMountpoint",
     mount(Type="bind", Source="/var/tmp/sk-options/made", BindOptions={"CreateMountpoint": True}), effect("sk-options/made")),
    ("HostConfig.Mounts.BindOptions.ReadOnlyNonRecursive",
     mount(Type="bind", Source="/usr", ReadOnly=True, BindOptions={"ReadOnlyNonRecursive": True}), Unless()),
    ("HostConfig.Mounts.BindOptions.ReadOnlyForceRecursive",
     mount(Type="bind", Source="/usr", ReadOnly=True, BindOptions={"ReadOnlyForceRecursive": True}), Unless()),
    ("HostConfig.Mounts.VolumeOptions HostConfig.Mounts.VolumeOptions.Labels",
     mount(Type="volume", Source="labelled", VolumeOptions={"Labels": {"a": "b"}}),
     SeenBy("conformance/test_options_rest.py", "test_labels_of_a_mounts_new_volume")),
    ("HostConfig.Mounts.VolumeOptions.NoCopy", mount(Type="volume", Source="v2", VolumeOptions={"NoCopy": True}),
     SeenBy("conformance/test_volumes.py", "nocopy")),
    ("HostConfig.Mounts.VolumeOptions.DriverConfig HostConfig.Mounts.VolumeOptions.DriverConfig.Name",
     mount(Type="volume", Source="v3", VolumeOptions={"DriverConfig": {"Name": "nosuch"}}), Refused("nosuch")),
    ("HostConfig.Mounts.VolumeOptions.DriverConfig.Options",
     mount(Type="volume", Source="v4", VolumeOptions={"DriverConfig": {"Name": "local", "Options": {"nosuch": "1"}}}), Refused("nosuch")),
    ("HostConfig.Mounts.VolumeOptions.Subpath", mount(Type="volume", Source="v5", VolumeOptions={"Subpath": "sub"}),
     Refused("subpath|sub")),
    ("HostConfig.Mounts.ImageOptions HostConfig.Mounts.ImageOptions.Subpath",
     mount(Type="image", Source="busybox", ImageOptions={"Subpath": "etc"}), Unless()),
    ("HostConfig.Mounts.TmpfsOptions HostConfig.Mounts.TmpfsOptions.SizeBytes HostConfig.Mounts.TmpfsOptions.Mode",
     mount(Type="tmpfs", TmpfsOptions={"SizeBytes": 65536, "Mode": 0o700}), effect("size=65536", "mode=700")),
    ("HostConfig.Mounts.TmpfsOptions.Options", mount(Type="tmpfs", TmpfsOptions={"Options": [["uid", "7"]]}), effect("uid=7")),
    ("HostConfig.ConsoleSize", {"Tty": True, **host(ConsoleSize=[33, 99])}, effect("height=33", "width=99")),
    ("HostConfig.Annotations", host(Annotations={"org.example": "yes"}), effect("annotations.org.example=yes")),
    ("HostConfig.CapAdd", host(CapAdd=["NET_ADMIN"]), effect("CAP_NET_ADMIN")),
    ("HostConfig.CapDrop", host(CapDrop=["CAP_CHOWN"]), Lacks("CAP_CHOWN")),
    ("HostConfig.CgroupnsMode", host(CgroupnsMode="private"), effect("type=cgroup")),
    ("HostConfig.Dns", host(Dns=["192.0.2.53"]), effect("nameserver 192.0.2.53")),
    ("HostConfig.DnsOptions", host(DnsOptions=["ndots:3"]), effect("options ndots:3")),
    ("HostConfig.DnsSearch", host(DnsSearch=["search.example"]), effect("search search.example")),
    ("HostConfig.ExtraHosts", host(ExtraHosts=["other:192.0.2.7"]), effect("192.0.2.7\tother")),
    ("HostConfig.GroupAdd", host(GroupAdd=["users"]), effect("additionalGids")),
    ("HostConfig.IpcMode", host(IpcMode="host"), effect("source=/dev/shm")),
    ("HostConfig.Cgroup", host(Cgroup="container:x"), Refused("HostConfig.Cgroup")),
    ("HostConfig.Links", host(Links=["x:y"]), Refused("HostConfig.Links|could not get container")),
    ("HostConfig.OomScoreAdj", host(OomScoreAdj=777), effect("oomScoreAdj=777")),
    ("HostConfig.PidMode", host(PidMode="host"), Lacks("type=pid")),
    ("HostConfig.Privileged", host(Privileged=True), effect("CAP_SYS_ADMIN")),
    ("HostConfig.PublishAllPorts", {"ExposedPorts": {"82/tcp": {}}, **host(PublishAllPorts=True)}, effect("82/tcp.0.HostPort=")),
    ("HostConfig.ReadonlyRootfs", host(ReadonlyRootfs=True), effect("root.readonly=true")),
    ("HostConfig.SecurityOpt", host(SecurityOpt=["no-new-privileges"]), effect("noNewPrivileges=true")),
    ("HostConfig.StorageOpt", host(StorageOpt={"size": "1G"}), Refused("--storage-opt is supported only for")),
    ("HostConfig.Tmpfs", host(Tmpfs={"/mnt/t": "size=64k"}), effect("destination=/mnt/t", "size=64k")),
    ("HostConfig.UTSMode", host(UTSMode="host"), Lacks("type=uts")),
    ("HostConfig.UsernsMode", host(UsernsMode="private"), Refused("invalid userns mode: private")),
    ("HostConfig.ShmSize", host(ShmSize=1 << 20), effect("size=1048576")),
    ("HostConfig.Sysctls", host(Sysctls={"net.ipv4.ip_forward": "0"}), effect("net.ipv4.ip_forward=0")),
    ("HostConfig.Runtime", host(Runtime="nosuch"), Refused("unknown or invalid runtime name: nosuch")),
    ("HostConfig.Isolation", host(Isolation="hyperv"), Refused('Invalid isolation: "hyperv"')),
    ("HostConfig.MaskedPaths", host(MaskedPaths=["/etc/passwd"]), effect("maskedPaths.0=/etc/passwd")),
    ("HostConfig.ReadonlyPaths", host(ReadonlyPaths=["/etc"]), effect("readonlyPaths.0=/etc")),
    ("NetworkingConfig.EndpointsConfig", {"NetworkingConfig": {"EndpointsConfig": {"nosuch": {}}}}, Refused("nosuch")),
    ("NetworkingConfig.EndpointsConfig.IPAMConfig NetworkingConfig.EndpointsConfig.IPAMConfig.IPv4Address",
     endpoint(IPAMConfig={"IPv4Address": "172.17.0.77"}), Refused("user specified IP address is supported on user defined networks only")),
    ("NetworkingConfig.EndpointsConfig.IPAMConfig.IPv6Address", endpoint(IPAMConfig={"IPv6Address": "2001:db8::7"}),
     Refused("user specified IP address is supported on user defined networks only")),
    ("NetworkingConfig.EndpointsConfig.IPAMConfig.LinkLocalIPs", endpoint(IPAMConfig={"LinkLocalIPs": ["169.254.7.7"]}),
     SeenBy("conformance/test_options_network.py", "test_link_local_addresses")),
    ("NetworkingConfig.EndpointsConfig.Links", endpoint(Links=["x"]), Refused("Links of network bridge")),
    ("NetworkingConfig.EndpointsConfig.MacAddress", endpoint(MacAddress="92:d0:c6:0a:29:34"), effect("MacAddress=92:d0:c6:0a:29:34")),
    ("NetworkingConfig.EndpointsConfig.Aliases", endpoint(Aliases=["x"]), Refused("network-scoped alias is supported only for")),
    ("NetworkingConfig.EndpointsConfig.DriverOpts", endpoint(DriverOpts={"a": "b"}), Refused("DriverOpts of network bridge")),
    ("NetworkingConfig.EndpointsConfig.GwPriority", endpoint(GwPriority=7), Shown()),
    *((f"NetworkingConfig.EndpointsConfig.{name}", endpoint(**{name: value}), Ignored())
      for name, value in {"NetworkID": "x", "EndpointID": "x", "Gateway": "192.0.2.1", "IPAddress": "192.0.2.2", "IPPrefixLen": 3,
                          "IPv6Gateway": "2001:db8::1", "GlobalIPv6Address": "2001:db8::2", "GlobalIPv6PrefixLen": 5,
                          "DNSNames": ["x"]}.items()),
]  # fmt: skip
