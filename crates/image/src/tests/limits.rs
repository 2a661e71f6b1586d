//! Every limit of an image's documents, on the way of an archive: what is exactly as large is taken, one more is refused.

use serde_json::{Value, json};

use super::*;
use crate::document::{MAX_CONFIG, MAX_INDEX_DEPTH, MAX_LAYERS, MAX_MANIFEST};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An OCI archive with one image, whose parts can be made larger.
struct Layout {
    /// Bytes of the configuration, of the manifest and of index.json, with blanks; 0: as they are.
    config: usize,
    manifest: usize,
    index: usize,
    layers: usize,
    /// Indexes between index.json and the manifest.
    nested: usize,
}

const SMALL: Layout = Layout {
    config: 0,
    manifest: 0,
    index: 0,
    layers: 1,
    nested: 0,
};

impl Layout {
    /// Loads it into a store of its own.
    fn load(&self) -> Result<usize, String> {
        let temporary = TempDir::new().unwrap();
        let loaded = open(temporary.path()).load(&self.bytes()[..], &LOAD);
        loaded.map(|loaded| loaded.len()).map_err(|error| {
            assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
            chain(&error).to_string()
        })
    }

    fn bytes(&self) -> Vec<u8> {
        let layer = tar(&[("a", b"1")]);
        let diff_ids = vec![Digest::sha256(&layer).to_string(); self.layers];
        let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = padded(&config, self.config);
        let layers = vec![describe(oci::media_type::OCI_LAYER, &layer); self.layers];
        let manifest = json!({
            "schemaVersion": 2, "config": describe(oci::media_type::OCI_CONFIG, &config), "layers": layers
        });
        let manifest = padded(&manifest, self.manifest);
        let mut blobs = vec![layer, config];
        let mut descriptor = describe(oci::media_type::OCI_MANIFEST, &manifest);
        blobs.push(manifest);
        for _ in 0..self.nested {
            let index = padded(&json!({"schemaVersion": 2, "manifests": [descriptor]}), 0);
            descriptor = describe(INDEX, &index);
            blobs.push(index);
        }
        let index = padded(
            &json!({"schemaVersion": 2, "manifests": [descriptor]}),
            self.index,
        );
        let mut files = vec![
            (
                "oci-layout".to_owned(),
                br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
            ),
            ("index.json".to_owned(), index),
        ];
        files.extend(
            blobs
                .into_iter()
                .map(|blob| (format!("blobs/sha256/{}", Digest::sha256(&blob).hex()), blob)),
        );
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
            .collect();
        tar(&files)
    }
}

fn padded(document: &Value, size: usize) -> Vec<u8> {
    let mut bytes = document.to_string().into_bytes();
    bytes.resize(bytes.len().max(size), b' ');
    bytes
}

fn describe(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len()})
}

#[test]
fn im_05_every_limit_of_loaded_documents() {
    let (config, manifest) = (
        usize::try_from(MAX_CONFIG).unwrap(),
        usize::try_from(MAX_MANIFEST).unwrap(),
    );
    let cases = |more: usize| {
        [
            (
                "8388608",
                Layout {
                    config: config + more,
                    ..SMALL
                },
            ),
            (
                "4194304",
                Layout {
                    manifest: manifest + more,
                    ..SMALL
                },
            ),
            (
                "index.json is larger than 8388608 bytes",
                Layout {
                    index: config + more,
                    ..SMALL
                },
            ),
            (
                "more than 500 layers",
                Layout {
                    layers: MAX_LAYERS + more,
                    ..SMALL
                },
            ),
            (
                "nests too many indexes",
                Layout {
                    nested: MAX_INDEX_DEPTH + more,
                    ..SMALL
                },
            ),
        ]
    };
    for (text, layout) in cases(0) {
        assert_eq!(layout.load(), Ok(1), "{text}");
    }
    for (text, layout) in cases(1) {
        let error = layout.load().expect_err(text);
        assert!(error.contains(text), "{error}");
    }
}

/// Links between members of an archive are followed seven times.
#[test]
fn im_05_links_in_archives_are_counted() {
    let load = |links: usize| {
        let bytes = docker_archive(|members| {
            for link in 0..links {
                let target = match link + 1 {
                    last if last == links => "../two/layer.tar".to_owned(),
                    next => format!("../link{next}/layer.tar"),
                };
                replace(
                    members,
                    &format!("link{link}/layer.tar"),
                    format!("-> {target}").as_bytes(),
                );
            }
            let manifest = members.iter().find(|(path, _)| path == "manifest.json").unwrap();
            let text = String::from_utf8(manifest.1.clone()).unwrap();
            let text = text.replace("three/layer.tar", "link0/layer.tar");
            replace(members, "manifest.json", text.as_bytes());
        });
        let temporary = TempDir::new().unwrap();
        let loaded = open(temporary.path()).load(&bytes[..], &LOAD);
        loaded.map(|_| ()).map_err(|error| chain(&error).to_string())
    };
    assert_eq!(load(7), Ok(()));
    assert!(
        load(8)
            .unwrap_err()
            .contains("it has no member \"link0/layer.tar\"")
    );
}

/// 200,000 members of an archive of images.
#[test]
fn im_05_members_of_archives_are_counted() {
    let mut writer = TarWriter::new(Vec::new());
    let entry = Entry::new("d/", EntryKind::Directory, 0o755);
    writer.append(&entry, &mut &[][..]).unwrap();
    let member = writer.finish().unwrap()[..512].to_vec();
    // The image itself has five members.
    for (count, is_loaded) in [(199_995, true), (199_996, false)] {
        let many = Repeated {
            block: member.clone(),
            left: count,
            at: 0,
        };
        let whole = std::io::Read::chain(many, std::io::Cursor::new(SMALL.bytes()));
        let temporary = TempDir::new().unwrap();
        match open(temporary.path()).load(whole, &LOAD) {
            Ok(loaded) => assert!(is_loaded && loaded.len() == 1),
            Err(error) => {
                assert!(!is_loaded, "{error:?}");
                let text = chain(&error).to_string();
                assert!(text.ends_with("archive has more than 200000 members"), "{text}");
            }
        }
    }
}

/// The same block again and again.
struct Repeated {
    block: Vec<u8>,
    left: usize,
    at: usize,
}

impl std::io::Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let rest = &self.block[self.at..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        if self.at == self.block.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(length)
    }
}

/// Names: 255 characters of a repository with its host, 128 of a tag.
#[test]
fn im_05_names_have_limits() {
    for (repository, tag, is_name) in [(255, 128, true), (256, 1, false), (255, 129, false)] {
        let host = "127.0.0.1:5000/";
        let text = format!(
            "{host}{}:{}",
            "r".repeat(repository - host.len()),
            "t".repeat(tag)
        );
        assert_eq!(Reference::parse(&text).is_ok(), is_name, "{repository} {tag}");
        let bytes = docker_archive(|members| {
            let manifest = members.iter().find(|(path, _)| path == "manifest.json").unwrap();
            let changed = String::from_utf8(manifest.1.clone())
                .unwrap()
                .replace("old:1", &text);
            replace(members, "manifest.json", changed.as_bytes());
        });
        let temporary = TempDir::new().unwrap();
        let loaded = open(temporary.path()).load(&bytes[..], &LOAD);
        assert_eq!(loaded.is_ok(), is_name, "{repository} {tag}: {loaded:?}");
    }
}
