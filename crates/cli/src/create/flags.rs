//! The flags that `run` and `create` share, in docker's alphabetical order, then Berth's own.

use crate::check;
use crate::create::{mount, network, resources};
use crate::flag::{Flag, many, one, switch};

/// Why flags of health checks are refused.
const HEALTH: &str = "health checks are not run yet";
/// Why flags of Windows are refused.
const WINDOWS: &str = "it is for Windows only";

/// The table.
pub(crate) const FLAGS: &[Flag] = &[
    many("add-host", "list", "Add a custom host-to-IP mapping (host:ip)").check(network::check_add_host),
    many("annotation", "map", "Add an annotation that the OCI runtime sees"),
    many("attach", "list", "Attach to STDIN, STDOUT or STDERR")
        .short('a')
        .check(check::stream),
    one(
        "blkio-weight",
        "uint16",
        "Block IO weight from 10 to 1000, or 0 for none",
    )
    .check(check::uint16),
    many("blkio-weight-device", "list", "Block IO weight for one device")
        .check(resources::check_weight_device),
    many("cap-add", "list", "Add Linux capabilities"),
    many("cap-drop", "list", "Drop Linux capabilities"),
    one("cgroup-parent", "string", "Parent cgroup of the container"),
    one("cgroupns", "string", "Cgroup namespace to use (host|private)"),
    one("cidfile", "string", "Write the container id to the file"),
    one("cpu-count", "int", "CPU count (Windows only)").never(WINDOWS),
    one("cpu-percent", "int", "CPU percent (Windows only)").never(WINDOWS),
    one("cpu-period", "int", "Period of the CPU limit in microseconds").check(check::integer),
    one("cpu-quota", "int", "CPU time in each period in microseconds").check(check::integer),
    one(
        "cpu-rt-period",
        "int",
        "Period of the real-time CPU limit in microseconds",
    )
    .check(check::integer),
    one(
        "cpu-rt-runtime",
        "int",
        "Real-time CPU time in each period in microseconds",
    )
    .check(check::integer),
    one("cpu-shares", "int", "CPU shares (relative weight)")
        .short('c')
        .check(check::integer),
    one("cpus", "decimal", "Number of CPUs").check(check::cpus),
    one("cpuset-cpus", "string", "CPUs in which to run (0-3, 0,1)"),
    one("cpuset-mems", "string", "Memory nodes in which to run (0-3, 0,1)"),
    many("device", "list", "Add a host device to the container"),
    many(
        "device-cgroup-rule",
        "list",
        "Add a rule to the devices that may be used",
    )
    .check(check::device_rule),
    many(
        "device-read-bps",
        "list",
        "Limit the read rate of a device in bytes per second",
    )
    .check(resources::check_rate_bytes),
    many(
        "device-read-iops",
        "list",
        "Limit the read rate of a device in operations per second",
    )
    .check(resources::check_rate_operations),
    many(
        "device-write-bps",
        "list",
        "Limit the write rate of a device in bytes per second",
    )
    .check(resources::check_rate_bytes),
    many(
        "device-write-iops",
        "list",
        "Limit the write rate of a device in operations per second",
    )
    .check(resources::check_rate_operations),
    switch("disable-content-trust", "Skip image verification")
        .default("true")
        .never("images are not signed by content trust any more"),
    many("dns", "list", "Set custom DNS servers").check(network::check_dns),
    many("dns-opt", "list", "").alias_of("dns-option"),
    many("dns-option", "list", "Set DNS options"),
    many("dns-search", "list", "Set custom DNS search domains").check(network::check_dns_search),
    one("domainname", "string", "NIS domain name of the container"),
    one("entrypoint", "string", "Use another entrypoint than the image's"),
    many("env", "list", "Set environment variables")
        .short('e')
        .check(check::environment),
    many("env-file", "list", "Read environment variables from a file"),
    many("expose", "list", "Expose a port or a range of ports"),
    one("gpus", "gpu-request", "GPU devices to add to the container")
        .not_yet("GPUs come with the devices issue"),
    many("group-add", "list", "Add supplementary groups"),
    one("health-cmd", "string", "Command that checks health").not_yet(HEALTH),
    one("health-interval", "duration", "Time between two checks").not_yet(HEALTH),
    one("health-retries", "int", "Failures in a row that mean unhealthy").not_yet(HEALTH),
    one(
        "health-start-interval",
        "duration",
        "Time between two checks in the start period",
    )
    .not_yet(HEALTH),
    one(
        "health-start-period",
        "duration",
        "Time in which failures do not count",
    )
    .not_yet(HEALTH),
    one("health-timeout", "duration", "Longest time of one check").not_yet(HEALTH),
    one("hostname", "string", "Host name of the container").short('h'),
    switch("init", "Run an init that forwards signals and reaps processes"),
    switch("interactive", "Keep STDIN open even if not attached").short('i'),
    one("io-maxbandwidth", "bytes", "Maximum IO bandwidth (Windows only)").never(WINDOWS),
    one("io-maxiops", "uint", "Maximum IOps (Windows only)").never(WINDOWS),
    one("ip", "string", "IPv4 address in the network"),
    one("ip6", "string", "IPv6 address in the network"),
    one(
        "ipc",
        "string",
        "IPC mode to use (none|private|shareable|persistent|host|container:ID|ns:PATH)",
    ),
    one("isolation", "string", "Isolation technology of the container"),
    one("kernel-memory", "bytes", "Kernel memory limit").never("Linux has no such limit any more"),
    many("label", "list", "Set metadata on the container")
        .short('l')
        .check(check::label),
    many("label-file", "list", "Read labels from a file, one a line"),
    many("link", "list", "Add a link to another container").check(network::check_link),
    many("link-local-ip", "list", "Link-local addresses"),
    one("log-driver", "string", "Log driver of the container"),
    many("log-opt", "list", "Log driver options"),
    one("mac-address", "string", "MAC address in the network"),
    one("memory", "bytes", "Memory limit")
        .short('m')
        .check(check::size),
    one("memory-reservation", "bytes", "Memory soft limit").check(check::size),
    one(
        "memory-swap",
        "bytes",
        "Limit of memory and swap together; -1 for no limit of swap",
    )
    .check(check::size_or_unlimited),
    one(
        "memory-swappiness",
        "int",
        "How readily memory is swapped (0 to 100)",
    )
    .default("-1")
    .check(check::integer),
    many("mount", "mount", "Attach a file system mount to the container").check(mount::check),
    one("name", "string", "Name of the container"),
    many("net", "network", "").alias_of("network"),
    many("net-alias", "list", "").alias_of("network-alias"),
    many(
        "network",
        "network",
        "Network of the container (NETWORK|none|host|container:ID|ns:PATH|name=NETWORK,ip=…)",
    )
    .check(network::check_network),
    many(
        "network-alias",
        "list",
        "Add a name of the container in its network",
    ),
    switch("no-healthcheck", "Do not check health, whatever the image says"),
    switch("oom-kill-disable", "Do not kill when memory runs out"),
    one(
        "oom-score-adj",
        "int",
        "How readily the host kills it (-1000 to 1000)",
    )
    .check(check::integer),
    one(
        "pid",
        "string",
        "PID namespace to use (host|container:ID|ns:PATH)",
    ),
    one("pids-limit", "int", "Limit of processes; -1 for none").check(check::integer),
    one("platform", "string", "Platform of the image; only the host's"),
    switch("privileged", "Give all privileges to the container"),
    many("publish", "list", "Publish a port to the host").short('p'),
    switch("publish-all", "Publish all exposed ports").short('P'),
    one(
        "pull",
        "string",
        "Pull the image first (\"always\", \"missing\", \"never\")",
    )
    .default("missing"),
    switch("quiet", "Show no progress of pulls").short('q'),
    switch("read-only", "Mount the root file system read-only"),
    one("restart", "string", "When to start the container again").default("no"),
    switch(
        "rm",
        "Remove the container and its anonymous volumes when it exits",
    ),
    one("runtime", "string", "Runtime of the container"),
    many("security-opt", "list", "Security options"),
    one("shm-size", "bytes", "Size of /dev/shm").check(check::size),
    one("stop-signal", "string", "Signal that stops the container"),
    one("stop-timeout", "int", "Seconds to wait before it is killed").check(check::integer),
    many("storage-opt", "list", "Storage driver options").not_yet("disk quotas are not there yet"),
    many("sysctl", "map", "Kernel parameters of the container's namespaces").check(check::sysctl),
    many("tmpfs", "list", "Mount a tmpfs directory"),
    switch("tty", "Give the process a terminal").short('t'),
    many("ulimit", "ulimit", "Resource limits of processes").check(resources::check_ulimit),
    switch("use-api-socket", "Give the container the API socket").not_yet("mount the socket with --volume"),
    one(
        "user",
        "string",
        "User name or id (format: <name|uid>[:<group|gid>])",
    )
    .short('u'),
    one("userns", "string", "User namespace to use (host)"),
    one("uts", "string", "UTS namespace to use (host|ns:PATH)"),
    many("volume", "list", "Mount a directory or a volume").short('v'),
    one("volume-driver", "string", "Driver of the container's volumes"),
    many("volumes-from", "list", "Mount the volumes of other containers"),
    one("workdir", "string", "Working directory in the container").short('w'),
    // Berth's own.
    many(
        "gidmap",
        "map",
        "Group ids of the user namespace (container:host:size)",
    )
    .check(resources::check_id_map),
    switch(
        "keep-ns",
        "Keep the container's UTS, IPC, network and user namespaces when it stops, for its next start",
    ),
    one(
        "net-budget-in",
        "bytes[/time]",
        "How much the container may receive in a time (10g/24h, 500m/day), or ever (10g)",
    )
    .check(resources::check_net_budget),
    one(
        "net-budget-out",
        "bytes[/time]",
        "How much the container may send in a time (10g/24h, 500m/day), or ever (10g)",
    )
    .check(resources::check_net_budget),
    one(
        "net-rate-in",
        "rate",
        "How much the container may receive (8mbit; bit, kbit, mbit, gbit)",
    )
    .check(resources::check_net_rate),
    one(
        "net-rate-out",
        "rate",
        "How much the container may send (8mbit; bit, kbit, mbit, gbit)",
    )
    .check(resources::check_net_rate),
    one(
        "rootfs",
        "dir",
        "Use a directory as the root file system in place of an image; DIR:O leaves it unchanged",
    ),
    many(
        "time-offset",
        "map",
        "Shift a clock of the container (boottime|monotonic=DURATION)",
    )
    .check(resources::check_time_offset),
    many(
        "uidmap",
        "map",
        "User ids of the user namespace (container:host:size)",
    )
    .check(resources::check_id_map),
];
