//! The file and the helpers, in a directory of their own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

/// A directory that is removed when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("berth-credentials-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, text: &str) {
        let path = self.0.join("config.json");
        base::file::write_atomic(&path, text.as_bytes(), 0o644, base::file::Durability::Crash).unwrap();
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.0.join("config.json")).unwrap()
    }

    fn open(&self) -> CredentialStore {
        CredentialStore::in_directory(&self.0).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for item in std::fs::read_dir(&self.0).unwrap() {
            std::fs::remove_file(item.unwrap().path()).unwrap();
        }
        std::fs::remove_dir(&self.0).unwrap();
    }
}

fn auth(server: &str, username: &str, password: &str) -> AuthConfig {
    AuthConfig {
        username: username.to_owned(),
        password: password.to_owned(),
        serveraddress: server.to_owned(),
        ..AuthConfig::default()
    }
}

#[test]
fn the_file_is_dockers_and_its_other_keys_stay() {
    let directory = Directory::new("file");
    let others = "\"HttpHeaders\": {\"X\": [1.50, 1e400]},\n \"zebra\":\t null";
    directory.write(&format!(
        "{{\"auths\":{{\"h:1\":{{\"auth\":\"dTpwOnE=\",\"email\":\"e\"}},\"https://old.example/v1/\":{{\"auth\":\"YTpi\"}}}},{others}}}"
    ));
    let mut store = directory.open();
    assert_eq!(store.get("h:1").unwrap(), Some(auth("h:1", "u", "p:q")));
    assert_eq!(
        store.get("old.example").unwrap(),
        Some(auth("old.example", "a", "b"))
    );
    assert_eq!(store.get("old.example:5000").unwrap(), None);
    let kept = store.store(&auth(DOCKER_HUB, "me", "\"\n")).unwrap();
    assert_eq!(kept, Kept::Unencrypted(directory.0.join("config.json")));
    let text = directory.read();
    assert!(
        text.contains("\"HttpHeaders\": {\"X\": [1.50, 1e400]},\n\t\"zebra\": null"),
        "{text}"
    );
    assert!(text.contains("\"email\":\"e\""), "{text}");
    let mode = std::fs::metadata(directory.0.join("config.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut store = directory.open();
    assert_eq!(
        store.get(DOCKER_HUB).unwrap(),
        Some(auth(DOCKER_HUB, "me", "\"\n"))
    );
    store.erase("old.example").unwrap();
    store.erase("h:1").unwrap();
    assert_eq!(directory.open().get("h:1").unwrap(), None);
    let token = AuthConfig {
        identitytoken: "t".to_owned(),
        ..auth("t.example", "u", "")
    };
    store.store(&token).unwrap();
    assert_eq!(directory.open().get("t.example").unwrap(), Some(token));
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1);
}

#[test]
fn a_linked_file_stays_a_link() {
    let (directory, elsewhere) = (Directory::new("link"), Directory::new("target"));
    elsewhere.write("{}");
    std::os::unix::fs::symlink(elsewhere.0.join("config.json"), directory.0.join("config.json")).unwrap();
    directory.open().store(&auth("h", "u", "p")).unwrap();
    assert!(
        std::fs::symlink_metadata(directory.0.join("config.json"))
            .unwrap()
            .is_symlink()
    );
    assert!(elsewhere.read().contains("dTpw"));
}

#[test]
fn damage_is_named_without_secrets() {
    let directory = Directory::new("damage");
    for (text, server) in [
        (r#"{"auths":{"h":{"auth":"hunter2"}}}"#, "h"),
        (r#"{"auths":{"h":{"auth":7,"password":"hunter2"}}}"#, "h"),
        (r#"{"auths":{"h":"hunter2"}}"#, "h"),
        (r#"{"auths":{"h":{"auth":"aHVudGVyMg=="}}}"#, "h"),
    ] {
        directory.write(text);
        let store = directory.open();
        let error = store.get(server).unwrap_err();
        let shown = format!("{} {error:?} {store:?}", base::error::chain(&error));
        assert!(shown.contains("damaged") && !shown.contains("hunter2"), "{shown}");
    }
    directory.write("{\"auths\":");
    assert!(CredentialStore::in_directory(&directory.0).is_err());
    for (text, found) in [
        ("", false),
        ("{\"auths\":null,\"credHelpers\":null}", false),
        ("{\"auths\":{\"h\":{}}}", false),
    ] {
        directory.write(text);
        assert_eq!(directory.open().get("h").unwrap().is_some(), found, "{text}");
    }
}

#[test]
fn helpers_are_chosen_as_docker_does() {
    let path = Path::new("/nowhere/config.json");
    let mut file = ConfigFile::read(path).unwrap();
    assert_eq!(file.helper_name("h"), None);
    let directory = Directory::new("choice");
    directory.write(r#"{"credsStore":"all","credHelpers":{"h:1":"one","empty":""}}"#);
    file = ConfigFile::read(&directory.0.join("config.json")).unwrap();
    assert_eq!(file.helper_name("h:1").as_deref(), Some("one"));
    assert_eq!(file.helper_name("https://h:1/v2/").as_deref(), Some("one"));
    assert_eq!(file.helper_name("h").as_deref(), Some("all"));
    assert_eq!(file.helper_name("empty").as_deref(), Some("all"));
    for name in ["", "../x", "a b", "x/y", "a;b", "-\0"] {
        assert!(
            matches!(Helper::new(name), Err(HelperError::Name { .. })),
            "{name:?}"
        );
    }
}

#[test]
fn registries_have_the_names_docker_gives_them() {
    for (domain, key) in [
        ("docker.io", DOCKER_HUB),
        ("", DOCKER_HUB),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
    ] {
        assert_eq!(server_key(domain), key);
    }
    for (server, host) in [
        (DOCKER_HUB, "index.docker.io"),
        ("h:1/v2/", "h:1"),
        ("http://h:1", "h:1"),
    ] {
        assert_eq!(host_of(server), host);
    }
}
