use super::*;

fn open(name: &str) -> (std::path::PathBuf, Repositories) {
    let directory = std::env::temp_dir().join(format!("berth-db-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir(&directory));
    std::fs::create_dir_all(&directory).unwrap();
    let repositories = Repositories::open(&directory.join("r.db")).unwrap();
    (directory, repositories)
}

fn close(directory: &Path) {
    for name in ["r.db", "r.db-wal", "r.db-shm"] {
        drop(std::fs::remove_file(directory.join(name)));
    }
    std::fs::remove_dir(directory).unwrap();
}

fn manifest(digest: &str, subject: Option<&str>) -> ManifestRow {
    ManifestRow {
        digest: digest.into(),
        media_type: "m".into(),
        size: 1,
        subject: subject.map(str::to_owned),
        artifact_type: Some("a".into()),
        annotations: None,
    }
}

#[test]
fn manifests_are_recorded_only_when_complete() {
    let (directory, repositories) = open("complete");
    let put = |tag| repositories.put_manifest("a", &manifest("m1", None), &[Child::blob("b1")], tag, 5);
    assert_eq!(put(Some("t")).unwrap(), Put::Unknown(vec!["b1".into()]));
    assert_eq!(repositories.tag("a", "t").unwrap(), None);
    repositories.add_blob("b", "b1", 3, None, 5).unwrap();
    assert_eq!(put(Some("t")).unwrap(), Put::Unknown(vec!["b1".into()]));
    assert_eq!(repositories.mount("b", "a", "b1", 5).unwrap(), Some(3));
    assert_eq!(repositories.mount("b", "a", "b2", 5).unwrap(), None);
    assert_eq!(put(Some("t")).unwrap(), Put::Stored);
    assert_eq!(repositories.tag("a", "t").unwrap().unwrap().manifest, "m1");
    assert_eq!(repositories.blob("a", "b1").unwrap(), Some(3));
    assert_eq!(
        repositories.remove_blob("a", "b1").unwrap(),
        Removal::NeededBy("m1".into())
    );
    assert_eq!(repositories.remove_manifest("a", "m1").unwrap(), Removal::Done);
    assert_eq!(repositories.tag("a", "t").unwrap(), None);
    assert_eq!(repositories.remove_blob("a", "b1").unwrap(), Removal::Done);
    assert_eq!(repositories.remove_blob("a", "b1").unwrap(), Removal::Missing);
    drop(repositories);
    close(&directory);
}

#[test]
fn lists_are_sorted_and_paged() {
    let (directory, repositories) = open("lists");
    for tag in ["b", "a", "B", "c"] {
        repositories
            .put_manifest("x/y", &manifest("m", None), &[], Some(tag), 1)
            .unwrap();
    }
    assert_eq!(repositories.tags("x/y", "", 10).unwrap(), ["B", "a", "b", "c"]);
    assert_eq!(repositories.tags("x/y", "a", 1).unwrap(), ["b"]);
    repositories
        .put_manifest("x/z", &manifest("m", None), &[], None, 1)
        .unwrap();
    repositories.add_blob("empty", "b", 1, None, 1).unwrap();
    assert_eq!(repositories.names("", 10).unwrap(), ["x/y", "x/z"]);
    assert_eq!(
        repositories.search("/z", 0, 5).unwrap(),
        (1, vec!["x/z".to_owned()])
    );
    assert_eq!(repositories.search("%", 0, 5).unwrap(), (0, vec![]));
    drop(repositories);
    close(&directory);
}

#[test]
fn garbage_is_what_nothing_needs() {
    let (directory, repositories) = open("garbage");
    for blob in ["b1", "b2", "b3"] {
        repositories.add_blob("a", blob, 1, None, 10).unwrap();
    }
    let put = |row: &ManifestRow, children: &[Child], tag, now| {
        repositories.put_manifest("a", row, children, tag, now).unwrap()
    };
    put(&manifest("child", None), &[Child::blob("b1")], None, 10);
    put(
        &manifest("index", None),
        &[Child::manifest("child")],
        Some("t"),
        10,
    );
    put(&manifest("signature", Some("index")), &[], None, 10);
    put(&manifest("loose", None), &[Child::blob("b2")], None, 10);
    put(&manifest("young", None), &[], None, 30);
    let found = repositories.remove_garbage(20, true, true).unwrap();
    assert_eq!((found.manifests, found.blobs), (1, 2));
    assert!(repositories.manifest("a", "loose").unwrap().is_some());
    assert_eq!(
        repositories.remove_garbage(20, false, false).unwrap(),
        Garbage {
            blobs: 1,
            ..Garbage::default()
        }
    );
    assert_eq!(
        repositories.remove_garbage(20, true, false).unwrap(),
        found_after()
    );
    for kept in ["child", "index", "signature", "young"] {
        assert!(repositories.manifest("a", kept).unwrap().is_some(), "{kept}");
    }
    repositories.lease("leased", 50).unwrap();
    let all: Vec<String> = ["b1", "b2", "index", "leased", "free"]
        .map(str::to_owned)
        .to_vec();
    let remove = |now| {
        let mut removed = Vec::new();
        repositories
            .remove_files(&all, now, |digest| {
                removed.push(digest.to_owned());
                Ok::<_, ()>(())
            })
            .unwrap()
            .unwrap();
        removed
    };
    assert_eq!(remove(40), ["b2", "free"]);
    assert_eq!(remove(50), ["b2", "leased", "free"]);
    drop(repositories);
    close(&directory);
}

fn found_after() -> Garbage {
    Garbage {
        manifests: 1,
        blobs: 1,
        repositories: 0,
    }
}
