//! The store from outside: round trips with the tools that other people use, hostile archives, crashes, rivals.

mod limits;

use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::{Entry, EntryKind, TarWriter, UnpackOptions, Whiteouts};
use base::error::{Kind, Kinded, chain};
use base::id::ContainerId;
use oci::{ChainId, Digest, Reference};
use tempfile::TempDir;

use super::*;

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (path, content) in files {
        let mut entry = Entry::new(*path, EntryKind::File, 0o644);
        entry.size = content.len().try_into().unwrap();
        writer.append(&entry, &mut &**content).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path().join("x");
    base::file::write_atomic(&path, bytes, 0o600, base::file::Durability::Crash).unwrap();
    Command::new("gzip")
        .args(["-nc", path.to_str().unwrap()])
        .output()
        .unwrap()
        .stdout
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// Everything of these images.
fn saved_as(names: &[&str]) -> SaveOptions {
    SaveOptions {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        only: None,
    }
}

/// Checks layers and unpacks nothing.
const LOAD: LoadOptions<'static> = LoadOptions {
    sink: None,
    report: &|_| {},
    check: &|_| Ok(()),
};

fn open(directory: &Path) -> Store {
    let (store, problems) = Store::open(directory).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    store
}

fn options(named: Option<&str>) -> ImportOptions {
    ImportOptions {
        name: named.map(name),
        changes: vec!["CMD [\"sh\"]".to_owned(), "ENV A=b".to_owned()],
        message: "Imported from -".to_owned(),
        platform: None,
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn blobs(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("blobs/sha256")).unwrap().count()
}

#[test]
fn an_import_is_an_image_that_survives_and_that_others_read() {
    let temporary = TempDir::new().unwrap();
    let content = temporary.path().join("content");
    let store = open(&content);
    let plain = tar(&[("etc/motd", b"hello\n"), ("big", &[0; 5000])]);
    let image = store
        .import(&gzip(&plain)[..], &options(Some("tests/one:1")))
        .unwrap();
    assert_eq!(image.layers[0].diff_id, Digest::sha256(&plain));
    assert_eq!(
        (image.size, image.config.config.cmd.as_deref()),
        (5006, Some(&["sh".to_owned()][..]))
    );
    assert_eq!(image.config.comment.as_deref(), Some("Imported from -"));
    assert_eq!(image.repo_tags(), ["tests/one:1"]);
    drop(store);
    let store = open(&content);
    let again = store.resolve("tests/one:1").unwrap();
    assert_eq!(
        (&again.id, again.size, &again.layers),
        (&image.id, 5006, &image.layers)
    );
    assert_eq!(again.last_tagged(), image.last_tagged());
    let layer = store.open_layer(&again.layers[0]).unwrap();
    let target = temporary.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let directory = std::fs::File::open(&target).unwrap();
    archive::unpack(
        layer,
        directory.as_fd(),
        &UnpackOptions::layer(Whiteouts::Overlay),
    )
    .unwrap();
    assert_eq!(std::fs::read(target.join("etc/motd")).unwrap(), b"hello\n");
    // Another tool reads the layout as it lies on the disk.
    let layout = format!("oci:{}:docker.io/tests/one:1", content.display());
    let inspected = run("skopeo", &["inspect", &layout]);
    assert!(
        inspected.contains("\"A=b\"") && inspected.contains("\"Os\": \"linux\""),
        "{inspected}"
    );
    let bundle = temporary.path().join("umoci");
    run("umoci", &["raw", "config", "--help"]);
    run(
        "skopeo",
        &["copy", &layout, &format!("oci:{}:x", bundle.display())],
    );
    let listed = run(
        "umoci",
        &["stat", "--image", &format!("{}:x", bundle.display()), "--json"],
    );
    assert!(listed.contains("history"), "{listed}");
}

#[test]
fn archives_of_other_tools_are_loaded_and_ours_by_them() {
    let temporary = TempDir::new().unwrap();
    let content = temporary.path().join("content");
    let store = open(&content);
    let image = store
        .import(&gzip(&tar(&[("a", b"1")]))[..], &options(Some("tests/one:1")))
        .unwrap();
    store.tag("tests/one:1", &name("localhost:5000/other")).unwrap();
    let layout = format!("oci:{}:docker.io/tests/one:1", content.display());
    for (kind, loaded_name) in [("docker-archive", "tests/one:1"), ("oci-archive", "tests/one:1")] {
        let file = temporary.path().join(kind);
        let target = format!("{kind}:{}:docker.io/tests/one:1", file.display());
        run("skopeo", &["copy", &layout, &target]);
        let other = open(&temporary.path().join(format!("{kind}-store")));
        let loaded = other.load(std::fs::File::open(&file).unwrap(), &LOAD).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].name.as_ref().unwrap().familiar(), loaded_name, "{kind}");
        assert_eq!(loaded[0].image.layers[0].diff_id, image.layers[0].diff_id);
        assert_eq!(loaded[0].image.size, 1);
    }
    let mut saved = Vec::new();
    store
        .save(&saved_as(&["tests/one:1", "localhost:5000/other"]), &mut saved)
        .unwrap();
    let mut again = Vec::new();
    store
        .save(&saved_as(&["tests/one:1", "localhost:5000/other"]), &mut again)
        .unwrap();
    assert!(saved == again, "saving is deterministic");
    let file = temporary.path().join("saved.tar");
    base::file::write_atomic(&file, &saved, 0o600, base::file::Durability::Crash).unwrap();
    for kind in ["docker-archive", "oci-archive"] {
        let source = match kind {
            "docker-archive" => format!("{kind}:{}:tests/one:1", file.display()),
            _ => format!("{kind}:{}:1", file.display()),
        };
        let target = format!("dir:{}", temporary.path().join(format!("{kind}-dir")).display());
        run("skopeo", &["copy", &source, &target]);
    }
    for bytes in [saved.clone(), gzip(&saved)] {
        let other = TempDir::new().unwrap();
        let other = open(other.path());
        let loaded = other.load(&bytes[..], &LOAD).unwrap();
        let mut names: Vec<String> = loaded
            .iter()
            .map(|one| one.name.as_ref().unwrap().familiar())
            .collect();
        names.sort();
        assert_eq!(names, ["localhost:5000/other:latest", "tests/one:1"]);
        assert!(loaded.iter().all(|one| one.image.id == image.id));
        assert_eq!(
            loaded[0].image.manifest.digest, image.manifest.digest,
            "manifests stay as they are"
        );
    }
    let mut dangling = Vec::new();
    store
        .save(&saved_as(&[image.id.as_str()]), &mut dangling)
        .unwrap();
    let other = TempDir::new().unwrap();
    let loaded = open(other.path()).load(&dangling[..], &LOAD).unwrap();
    assert!(loaded[0].name.is_none());
}

/// An archive as Docker 1.10 to 24 wrote it; `change` may spoil it.
fn docker_archive(change: impl Fn(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
    let layers = [tar(&[("a", b"1")]), tar(&[("b", b"22")])];
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("\"{}\"", Digest::sha256(layer)))
        .collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","created":"2020-01-02T03:04:05Z","config":{{"Cmd":["x"],"Env":null}},
        "rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let id = Digest::sha256(config.as_bytes());
    let manifest = format!(
        r#"[{{"Config":"{0}.json","RepoTags":["old:1","old:2"],"Layers":["one/layer.tar","two/layer.tar"]}},
        {{"Config":"{0}.json","RepoTags":null,"Layers":["one/layer.tar","three/layer.tar"]}}]"#,
        id.hex()
    );
    let mut members = vec![
        ("one/".to_owned(), Vec::new()),
        ("one/VERSION".to_owned(), b"1.0".to_vec()),
        ("one/json".to_owned(), b"{}".to_vec()),
        ("one/layer.tar".to_owned(), layers[0].clone()),
        ("three/layer.tar".to_owned(), b"-> ../two/layer.tar".to_vec()),
        ("two/layer.tar".to_owned(), layers[1].clone()),
        (format!("{}.json", id.hex()), config.into_bytes()),
        ("manifest.json".to_owned(), manifest.into_bytes()),
        ("repositories".to_owned(), b"{}".to_vec()),
    ];
    change(&mut members);
    let mut writer = TarWriter::new(Vec::new());
    for (path, content) in members {
        let mut entry = Entry::new(path.clone(), EntryKind::File, 0o644);
        if path.ends_with('/') {
            entry.kind = EntryKind::Directory;
        } else if let Some(target) = content.strip_prefix(b"-> ") {
            (entry.kind, entry.link) = (EntryKind::Symlink, target.to_vec());
        } else {
            entry.size = content.len().try_into().unwrap();
        }
        writer.append(&entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn old_docker_archives_are_loaded() {
    let temporary = TempDir::new().unwrap();
    let store = open(temporary.path());
    let loaded = store.load(&gzip(&docker_archive(|_| {}))[..], &LOAD).unwrap();
    let names: Vec<Option<String>> = loaded
        .iter()
        .map(|one| one.name.as_ref().map(Reference::familiar))
        .collect();
    assert_eq!(names, [Some("old:1".to_owned()), Some("old:2".to_owned()), None]);
    let image = store.resolve("old:2").unwrap();
    assert_eq!(image.repo_tags(), ["old:1", "old:2"]);
    assert_eq!(image.created.to_string(), "2020-01-02T03:04:05.000000000Z");
    assert_eq!((image.size, image.layers[1].size), (3, 2));
    let diff_ids: Vec<Digest> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    assert_eq!(image.chain(), ChainId::chain(&diff_ids));
    assert_eq!(image.layers[1].parent.as_ref(), Some(&image.layers[0].chain_id));
    // What only the archive needed is gone after the next start.
    drop(store);
    drop(open(temporary.path()));
    assert_eq!(blobs(temporary.path()), 4);
}

type Members = Vec<(String, Vec<u8>)>;

fn replace(members: &mut Members, path: &str, content: &[u8]) {
    members.retain(|(own, _)| own != path);
    members.push((path.to_owned(), content.to_vec()));
}

#[test]
fn im_01_and_im_02_archives_that_lie_are_refused() {
    let zeros = "0".repeat(64);
    type Spoil = Box<dyn Fn(&mut Members)>;
    let cases: Vec<(&str, Spoil, &str)> = vec![
        (
            "other layer",
            Box::new(|m| replace(m, "one/layer.tar", &tar(&[("a", b"2")]))),
            "has the digest",
        ),
        (
            "missing layer",
            Box::new(|m| m.retain(|(path, _)| path != "one/layer.tar")),
            "no member \"one/layer.tar\"",
        ),
        (
            "layer is no tar",
            Box::new(|m| replace(m, "one/layer.tar", &[b'x'; 2000])),
            "checksum",
        ),
        (
            "layer of xz",
            Box::new(|m| replace(m, "one/layer.tar", b"\xfd7zXZ\0\0\0")),
            "xz compression",
        ),
        (
            "no manifest",
            Box::new(|m| m.retain(|(path, _)| path != "manifest.json")),
            "neither",
        ),
        (
            "empty manifest",
            Box::new(|m| replace(m, "manifest.json", b"[]")),
            "neither",
        ),
        (
            "null manifest",
            Box::new(|m| replace(m, "manifest.json", b"null")),
            "manifest.json",
        ),
        (
            "broken manifest",
            Box::new(|m| replace(m, "manifest.json", b"[{")),
            "manifest.json",
        ),
        (
            "deep manifest",
            Box::new(|m| replace(m, "manifest.json", &[b'['; 100_000])),
            "manifest.json",
        ),
        (
            "config outside",
            Box::new(|m| {
                replace(
                    m,
                    "manifest.json",
                    br#"[{"Config":"../../etc/passwd","Layers":[]}]"#,
                );
            }),
            "no member",
        ),
        (
            "config is a link outside",
            Box::new(|m| {
                replace(m, "manifest.json", br#"[{"Config":"c","Layers":[]}]"#);
                replace(m, "c", b"-> /etc/passwd");
            }),
            "no member",
        ),
        (
            "links in a circle",
            Box::new(|m| {
                replace(m, "manifest.json", br#"[{"Config":"c","Layers":[]}]"#);
                replace(m, "c", b"-> d");
                replace(m, "d", b"-> c");
            }),
            "no member",
        ),
        (
            "fewer layers",
            Box::new(|m| {
                let config = m
                    .iter()
                    .find(|(path, _)| path.ends_with(".json"))
                    .unwrap()
                    .0
                    .clone();
                let text = format!(r#"[{{"Config":"{config}","Layers":["one/layer.tar"]}}]"#);
                replace(m, "manifest.json", text.as_bytes());
            }),
            "has 1 layers, its configuration 2",
        ),
        (
            "name that is none",
            Box::new(|m| {
                let text = m
                    .iter()
                    .find(|(path, _)| path == "manifest.json")
                    .unwrap()
                    .1
                    .clone();
                let text = String::from_utf8(text).unwrap().replace("old:1", "../old");
                replace(m, "manifest.json", text.as_bytes());
            }),
            "invalid reference format",
        ),
        (
            "member outside",
            Box::new(|m| replace(m, "../x", b"x")),
            "leads out",
        ),
        (
            "blob with a wrong name",
            Box::new(move |m| replace(m, &format!("blobs/sha256/{zeros}"), b"x")),
            "has the digest",
        ),
        (
            "blob with a path as name",
            Box::new(|m| replace(m, "blobs/sha256/x/y", b"x")),
            "invalid digest",
        ),
        (
            "blob of md5",
            Box::new(|m| replace(m, "blobs/md5/00000000000000000000000000000000", b"x")),
            "invalid digest",
        ),
        (
            "index that is a manifest",
            Box::new(|m| {
                replace(m, "oci-layout", b"{}");
                replace(
                    m,
                    "index.json",
                    br#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#,
                );
            }),
            "as well",
        ),
        (
            "index without images",
            Box::new(|m| {
                replace(m, "oci-layout", b"{}");
                replace(m, "index.json", br#"{"schemaVersion":2,"manifests":null}"#);
            }),
            "no images",
        ),
        (
            "index of something else",
            Box::new(|m| {
                replace(m, "oci-layout", b"{}");
                let digest = Digest::sha256(b"x");
                let text = format!(
                    r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"text/plain","digest":"{digest}","size":1}}]}}"#
                );
                replace(m, "index.json", text.as_bytes());
            }),
            "unknown media type",
        ),
    ];
    for (what, change, text) in cases {
        let temporary = TempDir::new().unwrap();
        let store = open(temporary.path());
        let error = store.load(&docker_archive(change)[..], &LOAD).expect_err(what);
        let printed = chain(&error).to_string();
        assert!(printed.contains(text), "{what}: {printed}");
        assert!(
            matches!(error.kind(), Kind::Invalid | Kind::Unsupported),
            "{what}: {printed}"
        );
        assert!(store.list().iter().all(|image| image.tags.len() == 2), "{what}");
        drop(store);
        open(temporary.path());
    }
}

#[test]
fn im_02_manifests_with_two_readings_are_refused() {
    let oci = |manifest: &dyn Fn(&str, &str) -> String| {
        let layer = tar(&[("a", b"1")]);
        let diff_id = Digest::sha256(&layer);
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let describe = |kind: &str, bytes: &[u8]| {
            format!(
                r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#,
                Digest::sha256(bytes),
                bytes.len()
            )
        };
        let config_descriptor = describe(oci::media_type::OCI_CONFIG, config.as_bytes());
        let text = manifest(&config_descriptor, &describe(oci::media_type::OCI_LAYER, &layer));
        let index = describe(oci::media_type::OCI_MANIFEST, text.as_bytes());
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{index}]}}"#);
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::sha256(bytes).hex());
        let members: Vec<(String, &[u8])> = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#),
            ("index.json".to_owned(), index.as_bytes()),
            (blob(text.as_bytes()), text.as_bytes()),
            (blob(config.as_bytes()), config.as_bytes()),
            (blob(&layer), &layer),
        ];
        let members: Vec<(&str, &[u8])> = members
            .iter()
            .map(|(path, bytes)| (path.as_str(), *bytes))
            .collect();
        let temporary = TempDir::new().unwrap();
        let store = open(temporary.path());
        store
            .load(&tar(&members)[..], &LOAD)
            .map(|loaded| loaded.len())
            .map_err(|error| chain(&error).to_string())
    };
    let good =
        |config: &str, layer: &str| format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
    assert_eq!(oci(&good), Ok(1));
    type Spoil = fn(&str, &str) -> String;
    let cases: [(Spoil, &str); 7] = [
        (
            |c, l| format!(r#"{{"schemaVersion":2,"config":{c},"layers":[{l}],"manifests":[]}}"#),
            "at once",
        ),
        (
            |c, l| format!(r#"{{"schemaVersion":1,"config":{c},"layers":[{l}]}}"#),
            "schema version",
        ),
        (
            |c, l| format!(r#"{{"schemaVersion":2,"mediaType":"x","config":{c},"layers":[{l}]}}"#),
            "another media type",
        ),
        (
            |c, l| format!(r#"{{"schemaVersion":2,"config":{c},"layers":[{l},{l}]}}"#),
            "has 2 layers",
        ),
        (
            |_, l| format!(r#"{{"schemaVersion":2,"config":{l},"layers":[{l}]}}"#),
            "is no image",
        ),
        (
            |c, _| format!(r#"{{"schemaVersion":2,"config":{c},"layers":[{c}]}}"#),
            "unsupported type",
        ),
        (
            |c, l| {
                format!(
                    r#"{{"schemaVersion":2,"config":{c},"layers":[{}]}}"#,
                    l.replace("\"size\":", "\"size\":1")
                )
            },
            "of its descriptor",
        ),
    ];
    for (spoil, text) in cases {
        let error = oci(&spoil).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn names_are_resolved_as_docker_resolves_them() {
    let temporary = TempDir::new().unwrap();
    let store = open(temporary.path());
    let image = store
        .import(&tar(&[("a", b"1")])[..], &options(Some("busybox")))
        .unwrap();
    let hex = image.id.hex();
    let pinned = format!("busybox@{}", image.manifest.digest);
    for text in [
        "busybox",
        "busybox:latest",
        "docker.io/library/busybox",
        hex,
        &hex[..12],
        &hex[..3],
        image.id.as_str(),
        &format!("sha256:{}", &hex[..9]),
        &pinned,
    ] {
        assert_eq!(store.resolve(text).unwrap().id, image.id, "{text}");
    }
    let error = |text: &str| store.resolve(text).unwrap_err().to_string();
    assert_eq!(error("nosuch"), "No such image: nosuch:latest");
    assert_eq!(error("busybox:2"), "No such image: busybox:2");
    assert_eq!(error("Busy Box"), "invalid reference format");
    assert_eq!(error("x/y:z"), "No such image: x/y:z");
    let zeros = "0".repeat(64);
    assert_eq!(error(&zeros), format!("No such image: {zeros}"));
    assert!(error(&format!("other@{}", image.manifest.digest)).starts_with("No such image: other@sha256:"));
    store
        .import(&tar(&[("a", b"2")])[..], &options(Some("busybox")))
        .unwrap();
    assert_ne!(
        store.resolve("busybox").unwrap().id,
        image.id,
        "a name is taken by the new image"
    );
    assert!(
        store.get(&image.id).unwrap().tags.is_empty(),
        "and the old one dangles"
    );
    assert_eq!(store.list().len(), 2);
    let digest = name(&pinned);
    assert!(matches!(store.tag("busybox", &digest), Err(TagError::Digest)));
}

#[test]
fn images_are_removed_by_dockers_rules() {
    let temporary = TempDir::new().unwrap();
    let store = open(temporary.path());
    let layer = tar(&[("a", b"1")]);
    let nobody = |_: &Digest| Vec::new();
    let container = ContainerId::generate().unwrap();
    let user = |running| {
        let container = container.clone();
        move |_: &Digest| {
            vec![ImageUser {
                container: container.clone(),
                running,
            }]
        }
    };
    let (soft, force) = (
        RemoveOptions {
            force: false,
            prune: true,
        },
        RemoveOptions {
            force: true,
            prune: true,
        },
    );
    let image = store.import(&layer[..], &options(Some("one"))).unwrap();
    store.tag("one", &name("two")).unwrap();
    let id = image.id.to_string();
    let short = image.id.short();
    let text = |result: Result<Removed, RemoveError>| result.unwrap_err().to_string();
    assert_eq!(
        text(store.remove("nosuch", &soft, &nobody)),
        "No such image: nosuch:latest"
    );
    assert_eq!(
        text(store.remove(&id, &soft, &nobody)),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    let removed = store.remove("two", &soft, &user(true)).unwrap();
    assert_eq!(removed.removals, [Removal::Untagged("two:latest".to_owned())]);
    assert_eq!(
        text(store.remove("one", &soft, &user(false))),
        format!(
            "conflict: unable to remove repository reference \"one\" (must force) - container {} is using its \
             referenced image {short}",
            container.short()
        )
    );
    assert_eq!(
        text(store.remove(&id, &soft, &user(false))),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {}",
            container.short()
        )
    );
    assert_eq!(
        text(store.remove(&id, &force, &user(true))),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {}",
            container.short()
        )
    );
    // Another image on the same layer keeps it.
    let mut other = options(Some("other"));
    other.message = "another".to_owned();
    let second = store.import(&layer[..], &other).unwrap();
    let removed = store.remove("one", &soft, &nobody).unwrap();
    assert_eq!(
        removed.removals,
        [
            Removal::Untagged("one:latest".to_owned()),
            Removal::Image(image.id.clone())
        ]
    );
    assert!(removed.orphaned_layers.is_empty());
    assert_eq!(blobs(temporary.path()), 3);
    let removed = store
        .remove(&second.id.to_string()[..20], &force, &user(false))
        .unwrap();
    assert_eq!(removed.orphaned_layers, second.chain());
    assert_eq!(removed.removals.len(), 3);
    assert!(store.list().is_empty());
    assert_eq!(blobs(temporary.path()), 0);
    // A running container keeps its image when the last name goes by force.
    store.import(&layer[..], &options(Some("one"))).unwrap();
    let removed = store.remove("one", &force, &user(true)).unwrap();
    assert_eq!(removed.removals.len(), 1);
    assert_eq!(store.list().len(), 1);
}

#[test]
fn a_kill_leaves_nothing_and_damage_is_named() {
    let temporary = TempDir::new().unwrap();
    let store = open(temporary.path());
    let kept = store
        .import(&tar(&[("a", b"1")])[..], &options(Some("kept")))
        .unwrap();
    let broken = store
        .import(&tar(&[("a", b"2")])[..], &options(Some("broken")))
        .unwrap();
    drop(store);
    let path = |place: &str, name: &str| temporary.path().join(place).join(name);
    let write = |path: PathBuf, bytes: &[u8]| {
        base::file::write_atomic(&path, bytes, 0o600, base::file::Durability::Crash).unwrap();
    };
    write(path("ingest", "half"), b"half a blob");
    write(path("blobs/sha256", Digest::sha256(b"orphan").hex()), b"orphan");
    drop(open(temporary.path()));
    assert_eq!(blobs(temporary.path()), 6);
    assert_eq!(
        std::fs::read_dir(temporary.path().join("ingest"))
            .unwrap()
            .count(),
        0
    );
    // A disk that lies: the configuration of one image changed.
    write(path("blobs/sha256", broken.id.hex()), b"{}");
    let (store, problems) = Store::open(temporary.path()).unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].name.as_deref(),
        Some("docker.io/library/broken:latest")
    );
    assert!(
        problems[0].problem.contains("has the digest"),
        "{}",
        problems[0].problem
    );
    assert_eq!(store.resolve("kept").unwrap().id, kept.id);
    store.tag("kept", &name("more")).unwrap();
    drop(store);
    let (store, problems) = Store::open(temporary.path()).unwrap();
    assert_eq!(
        (store.list().len(), problems.len()),
        (1, 1),
        "a damaged image stays in the index"
    );
    drop(store);
    // Another version is refused where somebody else's images may be, and mended where they are ours.
    write(path("", "oci-layout"), b"{\"imageLayoutVersion\":\"9\"}");
    assert_eq!(Store::open(temporary.path()).unwrap().1.len(), 1);
    let foreign = TempDir::new().unwrap();
    write(
        foreign.path().join("oci-layout"),
        b"{\"imageLayoutVersion\":\"9\"}",
    );
    assert!(matches!(
        Store::open(foreign.path()),
        Err(OpenError::Content(content::OpenError::NotALayout { .. }))
    ));
}

#[test]
fn rivals_do_not_take_each_others_blobs() {
    let temporary = TempDir::new().unwrap();
    let store = open(temporary.path());
    let layer = tar(&[("a", &[7; 100_000])]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, layer) = (&store, &layer);
            scope.spawn(move || {
                for round in 0..10 {
                    let name = format!("image{thread}:{round}");
                    let mut options = options(Some(&name));
                    options.message = name.clone();
                    let image = store.import(&layer[..], &options).unwrap();
                    store.open_layer(&image.layers[0]).unwrap();
                    if round % 2 == 0 {
                        store
                            .remove(
                                &name,
                                &RemoveOptions {
                                    force: false,
                                    prune: true,
                                },
                                &|_| Vec::new(),
                            )
                            .unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(store.list().len(), 20);
    drop(store);
    let store = open(temporary.path());
    assert_eq!(store.list().len(), 20);
    for image in store.list() {
        store
            .remove(
                image.id.as_str(),
                &RemoveOptions {
                    force: false,
                    prune: true,
                },
                &|_| Vec::new(),
            )
            .unwrap();
    }
    assert_eq!(blobs(temporary.path()), 0);
}

#[test]
fn packed_programs_run_where_there_is_nothing_else() {
    let temporary = TempDir::new().unwrap();
    let store = open(&temporary.path().join("content"));
    let script = temporary.path().join("script");
    base::file::write_atomic(
        &script,
        b"#!/usr/bin/env sh\necho script\n",
        0o755,
        base::file::Durability::Crash,
    )
    .unwrap();
    let options = PackOptions {
        name: name("packed"),
        programs: vec!["/bin/busybox".into(), "/bin/ls".into(), script.clone()],
    };
    let image = store.pack(&options).unwrap();
    assert_eq!(image.config.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(image.repo_tags(), ["packed:latest"]);
    let root = temporary.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let directory = std::fs::File::open(&root).unwrap();
    let layer = store.open_layer(&image.layers[0]).unwrap();
    let summary = archive::unpack(
        layer,
        directory.as_fd(),
        &UnpackOptions::layer(Whiteouts::Overlay),
    )
    .unwrap();
    assert_eq!(
        (summary.diff_id, summary.content_bytes),
        (image.layers[0].diff_id.clone(), image.size)
    );
    let root_text = root.to_str().unwrap();
    assert_eq!(
        run("chroot", &[root_text, "/bin/sh", "-c", "echo hello"]),
        "hello\n"
    );
    assert!(run("chroot", &[root_text, "/bin/ls", "/etc"]).contains("passwd"));
    assert_eq!(run("chroot", &[root_text, "/bin/uname"]), "Linux\n");
    assert_eq!(run("chroot", &[root_text, script.to_str().unwrap()]), "script\n");
    assert_eq!(
        run("chroot", &[root_text, "/bin/stat", "-c", "%a", "/tmp"]),
        "1777\n"
    );
    let same = store.pack(&options).unwrap();
    assert_eq!(
        same.layers[0].diff_id, image.layers[0].diff_id,
        "the layer is deterministic"
    );
}

#[test]
fn a_broken_tar_is_no_image() {
    let temporary = TempDir::new().unwrap();
    let store = open(temporary.path());
    let mut cut = tar(&[("a", &[1; 5000])]);
    cut.truncate(3000);
    let mut xz = Vec::new();
    xz.write_all(b"\xfd7zXZ\0\0\0").unwrap();
    for bytes in [cut, vec![b'x'; 5000], xz] {
        assert!(store.import(&bytes[..], &options(Some("x"))).is_err());
    }
    let mut wrong = options(None);
    wrong.changes = vec!["RUN x".to_owned()];
    let error = store.import(&tar(&[])[..], &wrong).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.kind()),
        ("run is not a valid change command", Kind::Invalid)
    );
    assert!(store.list().is_empty());
    assert_eq!(
        std::fs::read_dir(temporary.path().join("ingest"))
            .unwrap()
            .count(),
        0
    );
}
