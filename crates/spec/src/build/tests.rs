//! Golden documents: `BERTH_UPDATE_GOLDEN=1 cargo test -p spec` writes them anew.

use std::path::PathBuf;

use super::*;
use crate::config::{DeviceRequest, Resources};
use crate::devices::DeviceType;

struct Host {
    capabilities: BTreeSet<String>,
    limitable: Limitable,
    blocks: BTreeMap<String, (u32, u32)>,
}

impl Host {
    fn new() -> Self {
        let lacks = ["CAP_SYS_RESOURCE"];
        let has = crate::capabilities::ALL
            .into_iter()
            .filter(|name| !lacks.contains(name));
        Self {
            capabilities: has.map(str::to_owned).collect(),
            limitable: Limitable {
                swap: true,
                cpus: 4,
                cpu_list: "0-3".to_owned(),
                node_list: "0".to_owned(),
            },
            blocks: BTreeMap::from([("/dev/vda".to_owned(), (254, 0))]),
        }
    }

    fn facts<'a>(&'a self, mounts: &'a [Mount], devices: &'a [Device]) -> Facts<'a> {
        Facts {
            id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            hostname: "0123456789ab",
            namespaces: Namespaces::default(),
            ids: Some(Ids::range(0x1000_0000, 65_536)),
            cgroup: "/berth/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            mounts,
            devices,
            block_devices: &self.blocks,
            capabilities: &self.capabilities,
            limitable: &self.limitable,
            thermal_cpus: &[0, 1],
            no_new_privileges: false,
            pids_limit: 2048,
            ulimits: &[],
            shm_size: 64 << 20,
            host_shm: true,
        }
    }
}

fn config(command: &[&str]) -> Config {
    Config {
        cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
        ..Config::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "a golden file of the source tree")]
fn golden(name: &str, spec: &Spec) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/build/golden/{name}.json"));
    let value = serde_json::to_value(spec).unwrap();
    let actual = serde_json::to_string_pretty(&value).unwrap() + "\n";
    if std::env::var_os("BERTH_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        sorted(value),
        sorted(expected),
        "{name} differs; BERTH_UPDATE_GOLDEN=1 writes it anew"
    );
}

/// oci-spec keeps capabilities in hash sets.
fn sorted(mut value: Value) -> Value {
    for set in ["bounding", "effective", "permitted"] {
        if let Some(list) = value["process"]["capabilities"][set].as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
    }
    value
}

#[test]
fn closed_by_default() {
    let host = Host::new();
    let spec = build(&config(&["true"]), &HostConfig::default(), &host.facts(&[], &[])).unwrap();
    golden("default", &spec);
}

#[test]
fn privileged_is_what_the_daemon_has() {
    let host = Host::new();
    let mut facts = host.facts(&[], &[]);
    facts.namespaces.user = Namespace::Host;
    facts.ids = None;
    let wanted = HostConfig {
        privileged: true,
        ..HostConfig::default()
    };
    golden("privileged", &build(&config(&["sh"]), &wanted, &facts).unwrap());
}

#[test]
fn every_wish_has_its_place() {
    let host = Host::new();
    let mounts = [
        Mount::Bind {
            source: "/srv".to_owned(),
            target: "/data/deep".to_owned(),
            read_only: true,
            recursive: true,
            read_only_recursive: false,
            propagation: String::new(),
            plain_ids: false,
        },
        Mount::Tmpfs {
            target: "/data".to_owned(),
            options: vec!["exec".to_owned(), "size=1024".to_owned()],
            read_only: false,
        },
        Mount::Bind {
            source: "/shm".to_owned(),
            target: "/dev/shm".to_owned(),
            read_only: false,
            recursive: true,
            read_only_recursive: false,
            propagation: "rslave".to_owned(),
            plain_ids: true,
        },
    ];
    let devices = [Device {
        path: "/dev/fuse".to_owned(),
        kind: DeviceType::Character,
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: "rwm".to_owned(),
    }];
    let mut facts = host.facts(&mounts, &devices);
    facts.namespaces.pid = Namespace::At("/proc/7/ns/pid".to_owned());
    let mut config = config(&["-c", "exit 3"]);
    config.entrypoint = Some(vec!["sh".to_owned()]);
    config.tty = true;
    config.domainname = "example".to_owned();
    config.working_dir = "/work".to_owned();
    let wanted = HostConfig {
        read_only_rootfs: true,
        cap_add: vec!["NET_ADMIN".to_owned()],
        cap_drop: vec!["ALL".to_owned()],
        security_opt: vec!["no-new-privileges".to_owned()],
        sysctls: BTreeMap::from([("kernel.shmmax".to_owned(), "1".to_owned())]),
        annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        oom_score_adj: 500,
        devices: vec![DeviceRequest::default()],
        device_cgroup_rules: vec!["b 8:* r".to_owned()],
        ulimits: vec![Ulimit {
            name: "nofile".to_owned(),
            soft: 1024,
            hard: -1,
        }],
        resources: Resources {
            memory: 64 << 20,
            nano_cpus: 500_000_000,
            cpu_shares: 512,
            cpuset_cpus: "0".to_owned(),
            pids_limit: Some(50),
            blkio_device_write_bps: vec![crate::config::DeviceLimit {
                path: "/dev/vda".to_owned(),
                value: 1 << 20,
            }],
            ..Resources::default()
        },
        ..HostConfig::default()
    };
    golden("everything", &build(&config, &wanted, &facts).unwrap());
}

#[test]
fn host_namespaces() {
    let host = Host::new();
    let mut facts = host.facts(&[], &[]);
    facts.ids = None;
    facts.namespaces = Namespaces {
        user: Namespace::Host,
        pid: Namespace::Host,
        ipc: Namespace::Host,
        uts: Namespace::Host,
        network: Namespace::Host,
        cgroup: Namespace::Host,
    };
    golden(
        "host",
        &build(&config(&["sh"]), &HostConfig::default(), &facts).unwrap(),
    );
}

#[test]
fn nothing_to_execute_is_an_error() {
    let host = Host::new();
    let error = build(&Config::default(), &HostConfig::default(), &host.facts(&[], &[])).unwrap_err();
    assert!(matches!(error, BuildError::NoCommand));
}

#[test]
fn joined_namespaces_bring_their_ids_and_memory() {
    let known = Host::new();
    let mut facts = known.facts(&[], &[]);
    facts.namespaces = Namespaces {
        user: Namespace::At("/proc/7/ns/user".to_owned()),
        ipc: Namespace::At("/proc/7/ns/ipc".to_owned()),
        ..Namespaces::default()
    };
    let document = build(&config(&["sh"]), &HostConfig::default(), &facts).unwrap();
    let linux = document.linux().as_ref().unwrap();
    for map in [linux.uid_mappings(), linux.gid_mappings()] {
        assert_eq!(map.as_ref().unwrap()[0].host_id(), 0x1000_0000);
    }
    let shm = |document: &Spec| {
        let mounts = document.mounts().clone().unwrap_or_default();
        let mount = mounts
            .into_iter()
            .find(|mount| mount.destination() == std::path::Path::new("/dev/shm"));
        mount.map(|mount| (mount.typ().clone().unwrap(), mount.source().clone().unwrap()))
    };
    let (kind, source) = shm(&document).unwrap();
    assert_eq!((kind.as_str(), source), ("shm", PathBuf::from("/proc/7")));
    // A host without /dev/shm has none to share.
    facts.namespaces = Namespaces {
        ipc: Namespace::Host,
        ..Namespaces::default()
    };
    facts.host_shm = false;
    let document = build(&config(&["sh"]), &HostConfig::default(), &facts).unwrap();
    assert_eq!(shm(&document).unwrap().0, "tmpfs");
}
