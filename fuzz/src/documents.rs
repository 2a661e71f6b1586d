//! Image documents, names, policies and signatures.

use image::policy::{Evidence, Policy, Presence, Signature, Source};
use oci::image::{ImageConfig, Index, Manifest};
use oci::{Digest, Reference};

use crate::place;

/// A document as each of the three kinds; what is written again must be read as the same.
pub fn documents(data: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(data) {
        let text = serde_json::to_vec(&manifest).expect("written");
        assert_eq!(serde_json::from_slice::<Manifest>(&text).expect("read"), manifest);
    }
    // What makes it a manifest as well is only known to be there.
    if let Ok(index) = serde_json::from_slice::<Index>(data)
        && index.layers.is_none()
        && index.config.is_none()
    {
        let text = serde_json::to_vec(&index).expect("written");
        assert_eq!(
            format!("{:?}", serde_json::from_slice::<Index>(&text).expect("read")),
            format!("{index:?}")
        );
    }
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(data) {
        let text = serde_json::to_vec(&config).expect("written");
        serde_json::from_slice::<ImageConfig>(&text).expect("read");
        let _ = config.platform().to_string();
    }
}

/// A reference, a digest and a platform; each printed form is read as the same.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(reference) = Reference::parse(&text) {
        // A tag may have two dots; it is never a path.
        assert!(!reference.path().contains("..") && !reference.to_string().starts_with('/'));
        assert_eq!(
            Reference::parse(&reference.to_string()).expect("its own"),
            reference
        );
        assert_eq!(
            Reference::parse(&reference.familiar()).expect("its short form"),
            reference
        );
        drop(reference.with_default_tag().with_tag(&text));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert!(digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
        let _ = digest.short();
    }
    if let Ok(platform) = text.parse::<oci::platform::Platform>() {
        let _ = platform.to_string();
    }
}

/// A policy file, and what it says of a few images.
pub fn policy(data: &[u8]) {
    place::with(|place| {
        let path = place.scratch("root").join("policy.json");
        std::fs::write(&path, data).expect("written");
        let policy = Policy::load(&path, Presence::Required);
        let evidence = Evidence {
            subjects: vec![Digest::sha256(b"x")],
            signatures: vec![Signature {
                payload: data.to_vec(),
                signature: data.to_vec(),
            }],
        };
        for name in [
            "docker.io/library/busybox:latest",
            "example.com:5000/a/b/c:1",
            "a.b.example.com/x:y",
            "[::1]:5/x:y",
        ] {
            let name = Reference::parse(name).expect("a name");
            for source in [Source::Registry(&name), Source::Local(Some(&name))] {
                let decided = policy.decide(&source, &evidence);
                // No signature here is one.
                assert!(
                    !(decided.is_ok() && (policy.needs_signatures(&source) || policy.problem().is_some()))
                );
            }
        }
        drop(policy.decide(&Source::DockerArchive, &evidence));
        place.check();
    });
}

/// The manifest with an image's signatures, and the document that is signed.
pub fn signatures(data: &[u8]) {
    if let Ok(layers) = image::policy::signature_layers(data) {
        for layer in layers {
            assert!(layer.signature.len() <= 4 << 10);
            assert!(
                layer.clone().with_payload(data.to_vec()).is_none()
                    || layer.payload.digest == Digest::sha256(data)
            );
        }
    }
    drop(base::base64::decode(&String::from_utf8_lossy(data)));
}
