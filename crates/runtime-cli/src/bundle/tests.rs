//! Damaged documents: everything that is read and checked before a container is made, nothing is made.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use oci::rootfs::Rootfs;
use runtime::{BindIds, CreateRequest, Gate, MissingCapabilities, Stdio};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::globals::{Cgroups, Globals, LogFormat};
use crate::{ambient, groups, launch};

/// How many random documents there are.
const ROUNDS: u64 = 10_000;
/// The longest error: one line that a person can read.
const MAX_ERROR: usize = 4096;

/// A bundle whose document is replaced again and again.
struct Place {
    temporary: TempDir,
}

impl Place {
    fn new() -> Self {
        let temporary = TempDir::new().unwrap();
        std::fs::create_dir(temporary.path().join("rootfs")).unwrap();
        Self { temporary }
    }

    /// Does everything that `create` does before it makes anything; returns whether the document is accepted.
    fn check(&self, document: &[u8]) -> Result<(), CommandError> {
        put(&self.temporary.path().join("config.json"), document);
        let mut bundle = Bundle::load(self.temporary.path())?;
        if let Some(process) = bundle.spec.process_mut() {
            ambient::drop_impossible(&globals(), process);
        }
        let spec = &bundle.spec;
        for cgroups in [Cgroups::Path, Cgroups::Disabled] {
            groups::path(spec, "one", cgroups)?;
        }
        // Whatever the path is, it is no path that systemd knows; a refusal is no surprise.
        let _refused_or_not = groups::path(spec, "one", Cgroups::Systemd);
        drop(launch::limits(spec));
        runtime::check(&CreateRequest {
            id: "one",
            spec,
            rootfs: &Rootfs::Directory {
                path: bundle.rootfs.clone(),
                idmap: false,
            },
            user: None,
            groups: &[],
            seccomp_filter: None,
            init: false,
            stdio: Stdio::Terminal {
                size: launch::console_size(spec),
            },
            gate: Gate::Immediately,
            cgroup: None,
            bundle: &bundle.path,
            preserve_fds: 0,
            parent_death_signal: None,
            missing_capabilities: MissingCapabilities::Drop,
            bind_ids: BindIds::AsSpecified,
            plug: None,
            pins: &[],
        })
        .map_err(|error| CommandError::new(error.message().to_owned()))
    }

    /// As [`Self::check`], for documents that nobody has looked at: no panic, and an error is one readable line.
    fn survives(&self, what: &str, document: &[u8]) -> Result<(), String> {
        let checked = catch_unwind(AssertUnwindSafe(|| self.check(document)));
        let Ok(checked) = checked else {
            panic!("{what}: {}", String::from_utf8_lossy(document));
        };
        checked.map_err(|error| {
            let text = error.to_string();
            assert!(
                !text.is_empty() && text.len() <= MAX_ERROR && !text.contains(char::is_control),
                "{what}: {text:?}"
            );
            text
        })
    }
}

/// Writes over the file as it is: ten thousand new ones would all go to the disk.
fn put(path: &Path, content: &[u8]) {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap();
    file.write_all(content).unwrap();
    file.set_len(content.len().try_into().unwrap()).unwrap();
}

fn globals() -> Globals {
    Globals {
        root: "/nonexistent".into(),
        log: None,
        log_format: LogFormat::Json,
        cgroups: Cgroups::Path,
    }
}

/// A document with something in every section that is read.
fn good() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "hostname": "box",
        "domainname": "example",
        "annotations": {"org.example.key": "value"},
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "terminal": true,
            "consoleSize": {"height": 24, "width": 80},
            "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4]},
            "args": ["sh", "-c", "true"],
            "env": ["PATH=/bin", "A=b"],
            "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
            "noNewPrivileges": true,
            "oomScoreAdj": 100,
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "scheduler": {"policy": "SCHED_OTHER", "nice": 5}
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "gid=5"]},
            {"destination": "/data", "type": "bind", "source": "rootfs", "options": ["rbind", "ro", "rprivate"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        ],
        "hooks": {"poststop": [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}]},
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "user"},
                {"type": "cgroup"}, {"type": "time"}, {"type": "network", "path": "/proc/self/ns/net"}
            ],
            "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
            "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 7}},
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
            "cgroupsPath": "/berth/one",
            "rootfsPropagation": "rslave",
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "sysctl": {"kernel.shm_rmid_forced": "1"},
            "personality": {"domain": "LINUX"},
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}],
                "memory": {"limit": 67_108_864, "reservation": 1024, "swap": -1, "swappiness": 60, "disableOOMKiller": false},
                "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0-1", "mems": "0"},
                "pids": {"limit": 100},
                "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
                "unified": {"memory.high": "max"}
            },
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 1,
                "architectures": ["SCMP_ARCH_X86_64"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "syscalls": [
                    {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                     "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]}
                ]
            }
        }
    })
}

/// The same numbers every time: `SplitMix64` (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The paths of everything in a document, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                pointers(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Changes one thing somewhere; `all` has the paths of the good document, some of which may be gone.
fn mutate(document: &mut Value, all: &[String], random: &mut Random) {
    // The first path is the whole document's, which is damaged as bytes.
    let pointer = random.pick(&all[1..]).clone();
    let other = document
        .pointer(random.pick::<String>(all))
        .cloned()
        .unwrap_or_default();
    match random.below(12) {
        0 | 1 => remove(document, &pointer),
        2 => set(document, &pointer, Value::Null),
        3 => set(document, &pointer, number(random)),
        4 => set(document, &pointer, text(random)),
        5 => set(document, &pointer, other),
        6 => set(
            document,
            &pointer,
            random
                .pick(&[json!([]), json!({}), json!(true), json!("")])
                .clone(),
        ),
        7 => {
            let deep = (0..random.below(200)).fold(json!(1), |inner, _| Value::Array(vec![inner]));
            set(document, &pointer, deep);
        }
        8 => match document.pointer_mut(&pointer) {
            Some(Value::Object(map)) => {
                map.insert("unheardOf".to_owned(), other);
            }
            Some(Value::Array(list)) => {
                let again: Vec<Value> = (0..random.below(300))
                    .filter_map(|_| list.first().cloned())
                    .collect();
                list.extend(again);
            }
            _ => {}
        },
        // Of the right type, with the wrong value.
        _ => match document.pointer(&pointer) {
            Some(Value::Number(_)) => set(document, &pointer, number(random)),
            Some(Value::String(old)) => {
                let new = format!("{old}{}", text(random).as_str().unwrap_or_default());
                set(document, &pointer, json!(new));
            }
            Some(Value::Bool(old)) => set(document, &pointer, json!(!old)),
            Some(Value::Array(_)) => set(document, &pointer, json!([text(random), number(random)])),
            _ => {}
        },
    }
}

fn number(random: &mut Random) -> Value {
    random
        .pick(&[
            json!(0),
            json!(-1),
            json!(1),
            json!(0x7fff_ffff_u64),
            json!(0x8000_0000_u64),
            json!(0xffff_ffff_u64),
            json!(0x1_0000_0000_u64),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(1e300),
            json!(0.5),
            json!(65_535),
            json!(65_536),
        ])
        .clone()
}

fn text(random: &mut Random) -> Value {
    if random.below(20) == 0 {
        return json!("x".repeat(random.below(70_000)));
    }
    let texts = [
        "",
        "\0",
        "a\0b",
        "\n",
        "level=error\nmsg=\"all is well\"",
        "\u{1b}[2J",
        "\u{202e}",
        "/",
        "..",
        "../../..",
        "/proc/self/fd/7",
        "CAP_UNHEARD_OF",
        "CAP_ALL",
        "SCMP_ACT_NOTIFY",
        "%s%n",
        "-1",
        "0-",
        "0-18446744073709551615",
        "size=-1",
        "mode=99999",
        "idmap=",
        "kernel.core_pattern",
        "1.0.0-rc\u{7f}",
        "\u{10ffff}",
    ];
    json!(random.pick(&texts))
}

fn remove(document: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(list)) => {
            let index = key.parse::<usize>().ok().filter(|&index| index < list.len());
            index.map(|index| list.remove(index));
        }
        _ => {}
    }
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = document.pointer_mut(pointer) {
        *place = value;
    }
}

/// Changes the bytes: what no writer of JSON would write.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => bytes[at] = 0xff,
        2 => bytes[at] = 0,
        3 => bytes[at] ^= 1 << random.below(8),
        // A key twice.
        4 => {
            let again = *random.pick(&[
                r#""root":{"path":"/"},"#,
                r#""process":null,"#,
                r#""linux":{},"linux":{},"#,
            ]);
            bytes.splice(1..1, again.bytes());
        }
        _ => {
            let deep = b"[".repeat(random.below(10_000));
            bytes.splice(at..at, deep);
        }
    }
}

#[test]
fn rt_21_random_documents_are_read_or_refused() {
    let place = Place::new();
    let good = good();
    place.check(&serde_json::to_vec(&good).unwrap()).unwrap();
    let mut all = Vec::new();
    pointers(&good, "", &mut all);
    let mut random = Random(21);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let mut document = good.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut document, &all, &mut random);
        }
        let mut bytes = serde_json::to_vec(&document).unwrap();
        if random.below(8) == 0 {
            damage(&mut bytes, &mut random);
        }
        match place.survives(&format!("round {round}"), &bytes) {
            Ok(()) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    // Otherwise the mutations are too wild, or nothing is checked.
    assert!(
        accepted > 1000 && refused > 1000,
        "{accepted} accepted, {refused} refused"
    );
}

/// CVE-2021-43784: runc told its child about the container in netlink messages, whose 16 bits of length wrapped, so that
/// the end of a long text was read as a message of its own. There are no such messages here: long ones are refused or whole.
#[test]
fn rt_21_lengths_do_not_wrap() {
    let place = Place::new();
    let check = |change: &dyn Fn(&mut Value)| {
        let mut document = good();
        change(&mut document);
        place.survives("lengths", &serde_json::to_vec(&document).unwrap())
    };
    for length in [65_530, 65_535, 65_536, 65_540, 131_072, 1 << 20] {
        let path = format!("/{}", "n".repeat(length));
        let error = check(&|document| document["linux"]["namespaces"][7]["path"] = json!(path)).unwrap_err();
        assert!(error.contains("namespace"), "{error}");
        let error = check(&|document| document["linux"]["namespaces"][7]["type"] = json!(path)).unwrap_err();
        assert!(error.contains("unknown variant"), "{error}");
        // Arguments and environment may be long: the kernel's limit is told by execve.
        check(&|document| document["process"]["env"][1] = json!(format!("A={path}"))).unwrap();
        // As many maps as make a text of that length.
        let one = json!({"containerID": 0, "hostID": 100_000, "size": 65536});
        let bad = json!({"containerID": 4_294_967_295_u64, "hostID": 0, "size": 1});
        let mut maps = vec![one; length / 15];
        check(&|document| document["linux"]["uidMappings"] = json!(maps)).unwrap();
        maps.push(bad);
        let error = check(&|document| document["linux"]["gidMappings"] = json!(maps)).unwrap_err();
        assert!(error.contains("map of ids"), "{error}");
    }
}

/// Long lists are read in time that grows with them, and what is checked is checked to their end.
#[test]
fn rt_21_huge_arrays() {
    let place = Place::new();
    let cases = [
        ("/process/args", json!("a"), json!("a\0b")),
        ("/process/env", json!("A=b"), json!("A=\0")),
        (
            "/mounts",
            json!({"destination": "/m", "type": "tmpfs"}),
            json!({"destination": ""}),
        ),
        (
            "/linux/seccomp/syscalls",
            json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"}),
            json!({"names": ["read"], "action": "SCMP_ACT_NOSUCH"}),
        ),
        (
            "/process/rlimits",
            json!({"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1}),
            json!({"type": "RLIMIT_NOFILE", "hard": 1, "soft": 2}),
        ),
        (
            "/process/capabilities/bounding",
            json!("CAP_KILL"),
            json!("CAP_NOSUCH"),
        ),
    ];
    for (pointer, one, last) in cases {
        let mut list = vec![one; 20_000];
        let mut document = good();
        // A list of the same thing twice may be refused for that.
        set(&mut document, pointer, json!(list));
        let _accepted_or_not = place.survives(pointer, &serde_json::to_vec(&document).unwrap());
        list.push(last);
        set(&mut document, pointer, json!(list));
        let refused = place.survives(pointer, &serde_json::to_vec(&document).unwrap());
        assert!(refused.is_err(), "{pointer}");
    }
    let huge = vec![b' '; usize::try_from(MAX_DOCUMENT).unwrap() + 1];
    let error = place.survives("size", &huge).unwrap_err();
    assert!(error.contains("config.json"), "{error}");
}
