//! The grammar, the choice of the rule, and signatures made with keys of our own.

mod limits;

use std::path::Path;

use oci::{Digest, Reference};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

use super::*;
use crate::store::Store;

const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const ED25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

fn pem(prefix: &[u8], point: &[u8]) -> String {
    let encoded = base::base64::encode(&[prefix, point].concat());
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

/// A signer of the test's own.
struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
        Self { key, random }
    }

    fn pem(&self) -> String {
        pem(&P256, self.key.public_key().as_ref())
    }

    fn sign(&self, payload: &str) -> Signature {
        Signature {
            payload: payload.as_bytes().to_vec(),
            signature: self
                .key
                .sign(&self.random, payload.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
        }
    }
}

fn payload(name: &str, digest: &Digest) -> String {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"{name}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
    )
}

fn policy(directory: &Path, text: &str) -> Policy {
    let path = directory.join("policy.json");
    base::file::write_atomic(&path, text.as_bytes(), 0o600, base::file::Durability::Crash).unwrap();
    Policy::load(&path, Presence::Required)
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn evidence(digest: &Digest, signatures: Vec<Signature>) -> Evidence {
    Evidence {
        subjects: vec![digest.clone()],
        signatures,
    }
}

fn reason(decided: Result<(), Refusal>) -> String {
    let refusal = decided.unwrap_err();
    format!("{}: {}", refusal.rule, refusal.reason)
}

#[test]
fn the_most_specific_scope_wins_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let policy = policy(
        directory.path(),
        r#"{"default":[{"type":"reject"}],"transports":{
            "docker":{
              "":[{"type":"reject"}],
              "*.example.com":[{"type":"insecureAcceptAnything"}],
              "bad.example.com":[{"type":"reject"}],
              "bad.example.com/good":[{"type":"insecureAcceptAnything"}],
              "bad.example.com/good/bad":[{"type":"reject"}],
              "bad.example.com/good/bad:1":[{"type":"insecureAcceptAnything"}],
              "[::1]:5000/x":[{"type":"insecureAcceptAnything"}],
              "docker.io/library":[{"type":"insecureAcceptAnything"}]},
            "docker-daemon":{"":[{"type":"insecureAcceptAnything"}]},
            "containers-storage":{"":[{"type":"insecureAcceptAnything"}]},
            "docker-archive":{"":[{"type":"insecureAcceptAnything"}]}}}"#,
    );
    assert_eq!(policy.problem(), None);
    let nothing = Evidence::default();
    for (text, rule) in [
        ("a.example.com/x:1", None),
        ("a.b.example.com:5000/x:1", None),
        ("example.com/x:1", Some("transports.docker.\"\" (reject)")),
        (
            "bad.example.com/x:1",
            Some("transports.docker.\"bad.example.com\" (reject)"),
        ),
        ("bad.example.com/good:1", None),
        (
            "bad.example.com/goodbye:1",
            Some("transports.docker.\"bad.example.com\" (reject)"),
        ),
        ("bad.example.com/good/x/y:1", None),
        ("bad.example.com/good/bad:1", None),
        (
            "bad.example.com/good/bad:2",
            Some("transports.docker.\"bad.example.com/good/bad\" (reject)"),
        ),
        ("[::1]:5000/x:1", None),
        ("busybox:latest", None),
        ("user/busybox:latest", Some("transports.docker.\"\" (reject)")),
    ] {
        let decided = policy.decide(&Source::Registry(&name(text)), &nothing);
        assert_eq!(
            decided.err().map(|refusal| refusal.rule).as_deref(),
            rule,
            "{text}"
        );
    }
    assert!(policy.decide(&Source::DockerArchive, &nothing).is_ok());
    assert_eq!(
        reason(policy.decide(&Source::OciArchive, &nothing)),
        "default (reject): nothing is accepted"
    );
    assert!(policy.decide(&Source::Tarball, &nothing).is_err());
    // What was made here may be used; not under a name that a scope stands for.
    assert!(policy.decide(&Source::Local(None), &nothing).is_ok());
    assert!(
        policy
            .decide(&Source::Local(Some(&name("example.com/x:1"))), &nothing)
            .is_ok()
    );
    assert!(
        policy
            .decide(&Source::Local(Some(&name("bad.example.com/x:1"))), &nothing)
            .is_err()
    );
}

#[test]
fn im_09_what_is_not_understood_refuses_everything() {
    let directory = tempfile::tempdir().unwrap();
    let key = base::base64::encode(Signer::new().pem().as_bytes());
    let signed =
        |more: &str| format!(r#"{{"default":[{{"type":"sigstoreSigned","keyData":"{key}"{more}}}]}}"#);
    let scoped = |transport: &str, scope: &str| {
        format!(
            r#"{{"default":[{{"type":"insecureAcceptAnything"}}],"transports":{{"{transport}":{{"{scope}":[{{"type":"reject"}}]}}}}}}"#
        )
    };
    for (text, problem) in [
        (String::new(), "EOF"),
        ("[]".into(), "invalid"),
        ("{}".into(), "missing field `default`"),
        (r#"{"default":[]}"#.into(), "default: at least one requirement is needed"),
        (r#"{"default":[{"type":"accept"}]}"#.into(), "unknown type of requirement \"accept\""),
        (r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/x"}]}"#.into(), "\"signedBy\" are not supported"),
        (r#"{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}"#.into(), "duplicate field"),
        (r#"{"default":[{"type":"reject"}],"defaults":1}"#.into(), "unknown field"),
        (r#"{"default":[{"type":"reject","x":1}]}"#.into(), "unknown field"),
        (r#"{"default":[{"type":"insecureAcceptAnything","keyPath":"/x"}]}"#.into(), "takes no other fields"),
        (r#"{"default":[{"type":"sigstoreSigned"}]}"#.into(), "exactly one of"),
        (r#"{"default":[{"type":"sigstoreSigned","keyPath":"/nonexistent"}]}"#.into(), "is missing"),
        (r#"{"default":[{"type":"sigstoreSigned","keyPath":"relative"}]}"#.into(), "is not absolute"),
        (r#"{"default":[{"type":"sigstoreSigned","keyData":"!"}]}"#.into(), "is not base64"),
        (r#"{"default":[{"type":"sigstoreSigned","keyData":"AAAA"}]}"#.into(), "PEM"),
        (r#"{"default":[{"type":"sigstoreSigned","keyDatas":[]}]}"#.into(), "at least one key"),
        (signed(r#","keyPath":"/x""#), "exactly one of"),
        (signed(r#","fulcio":{}"#), "\"fulcio\" is not supported"),
        (signed(r#","rekorPublicKeyPath":"/x""#), "\"rekorPublicKeyPath\" is not supported"),
        (signed(r#","signedIdentity":{"type":"matchAnything"}"#), "unknown type of identity"),
        (signed(r#","signedIdentity":{"type":"exactRepository"}"#), "needs \"dockerRepository\""),
        (signed(r#","signedIdentity":{"type":"exactReference","dockerReference":"x"}"#), "needs a tag or a digest"),
        (signed(r#","signedIdentity":{"type":"matchExact","prefix":"x"}"#), "does not belong to"),
        (scoped("dockr", ""), "unknown transport"),
        (scoped("docker-archive", "/x.tar"), "only the scope \"\""),
        (scoped("docker", "busybox"), "must be written in full"),
        (scoped("docker", "example.com/"), "must be written in full"),
        (scoped("docker", "*.example.com/x"), "a wildcard is"),
        (scoped("docker", "*example.com"), "must be written in full"),
        (
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"":[{"type":"reject"}],"":[{"type":"insecureAcceptAnything"}]}}}"#.into(),
            "given twice",
        ),
    ] {
        let policy = policy(directory.path(), &text);
        let found = policy.problem().unwrap_or_else(|| panic!("{text} is accepted")).to_owned();
        assert!(found.contains(problem), "{text}: {found}");
        for source in [Source::Registry(&name("busybox:latest")), Source::Tarball, Source::Local(None)] {
            let told = reason(policy.decide(&source, &Evidence::default()));
            assert!(told.starts_with("\"invalid policy\": "), "{told}");
        }
    }
    let missing = directory.path().join("missing");
    let decide = |presence| Policy::load(&missing, presence).decide(&Source::Tarball, &Evidence::default());
    assert!(decide(Presence::Optional).is_ok());
    assert!(reason(decide(Presence::Required)).contains("the file is missing"));
    // A directory, and a file that is too large.
    assert!(
        Policy::load(directory.path(), Presence::Optional)
            .problem()
            .is_some()
    );
}

#[test]
fn im_09_signatures_bind_a_key_a_digest_and_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let (signer, stranger) = (Signer::new(), Signer::new());
    let key = directory.path().join("key.pub");
    base::file::write_atomic(
        &key,
        signer.pem().as_bytes(),
        0o600,
        base::file::Durability::Crash,
    )
    .unwrap();
    let policy = policy(
        directory.path(),
        &format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"r.example/app":[
                {{"type":"sigstoreSigned","keyPath":"{}","signedIdentity":{{"type":"matchRepository"}}}}]}}}}}}"#,
            key.display()
        ),
    );
    assert_eq!(policy.problem(), None);
    let image = name("r.example/app:1");
    let source = Source::Registry(&image);
    assert!(policy.needs_signatures(&source));
    let (digest, other) = (Digest::sha256(b"manifest"), Digest::sha256(b"other"));
    let good = signer.sign(&payload("r.example/app", &digest));
    assert!(
        policy
            .decide(&source, &evidence(&digest, vec![good.clone()]))
            .is_ok()
    );
    // An index that was signed stands for the manifest that it names.
    let mut through_index = evidence(&other, vec![good.clone()]);
    assert!(policy.decide(&source, &through_index).is_err());
    through_index.subjects.push(digest.clone());
    assert!(policy.decide(&source, &through_index).is_ok());
    // One good signature among bad ones is enough.
    let bad = stranger.sign(&payload("r.example/app", &digest));
    assert!(
        policy
            .decide(&source, &evidence(&digest, vec![bad.clone(), good.clone()]))
            .is_ok()
    );
    let mut flipped = good.clone();
    flipped.payload[20] ^= 1;
    let mut cut = good.clone();
    cut.signature.pop();
    let retyped = payload("r.example/app", &digest).replace("cosign container", "atomic container");
    let more = payload("r.example/app", &digest).replace("\"critical\":{", "\"critical\":{\"more\":1,");
    for (signatures, problem) in [
        (vec![], "it has no signature"),
        (vec![bad], "none of its signatures is by a key of the rule"),
        (vec![flipped], "by a key of the rule"),
        (vec![cut], "by a key of the rule"),
        (
            vec![signer.sign(&payload("r.example/app", &other))],
            "the signature is for sha256:",
        ),
        (
            vec![signer.sign(&payload("r.example/other", &digest))],
            "the signature is for the name \"r.example/other\"",
        ),
        (vec![signer.sign(&payload("app", &digest))], "for the name"),
        (vec![signer.sign(&payload("../x", &digest))], "the signed name"),
        (
            vec![signer.sign(&payload(&"n".repeat(100_000), &digest))],
            "the signed name",
        ),
        (vec![signer.sign(&retyped)], "is not about an image"),
        (vec![signer.sign(&more)], "cannot be read"),
        (vec![signer.sign("{}")], "cannot be read"),
        (vec![signer.sign("")], "cannot be read"),
        (
            vec![Signature {
                payload: Vec::new(),
                signature: Vec::new(),
            }],
            "by a key of the rule",
        ),
    ] {
        let told = reason(policy.decide(&source, &evidence(&digest, signatures)));
        assert!(told.contains(problem), "{told}");
        assert!(
            told.starts_with("transports.docker.\"r.example/app\" (sigstoreSigned): ") && told.len() < 1000
        );
    }
    // The same name brought by an archive needs the signature as well.
    assert!(
        policy
            .decide(&Source::Local(Some(&image)), &Evidence::default())
            .is_err()
    );
    assert!(
        policy
            .decide(&Source::Local(Some(&image)), &evidence(&digest, vec![good]))
            .is_ok()
    );
}

#[test]
fn signed_identities_match_as_the_standard_says() {
    let directory = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    let key = base::base64::encode(signer.pem().as_bytes());
    let digest = Digest::sha256(b"manifest");
    let pinned = format!("r.example/app@{digest}");
    for (identity, image, signed, accepted) in [
        ("", "r.example/app:1", "r.example/app:1", true),
        ("", "r.example/app:1", "r.example/app:2", false),
        ("", "r.example/app:1", "r.example/app", false),
        ("", &pinned, "r.example/app:7", true),
        ("", &pinned, "r.example/other:7", false),
        (
            r#"{"type":"matchExact"}"#,
            "r.example/app:1",
            "r.example/app:1",
            true,
        ),
        (r#"{"type":"matchExact"}"#, &pinned, "r.example/app:1", false),
        (r#"{"type":"matchExact"}"#, &pinned, &pinned, true),
        (
            r#"{"type":"matchRepository"}"#,
            "r.example/app:1",
            "r.example/app",
            true,
        ),
        (
            r#"{"type":"exactReference","dockerReference":"x.example/y:3"}"#,
            "r.example/app:1",
            "x.example/y:3",
            true,
        ),
        (
            r#"{"type":"exactReference","dockerReference":"x.example/y:3"}"#,
            "r.example/app:1",
            "x.example/y:4",
            false,
        ),
        (
            r#"{"type":"exactRepository","dockerRepository":"x.example/y"}"#,
            "r.example/app:1",
            "x.example/y:4",
            true,
        ),
        (
            r#"{"type":"exactRepository","dockerRepository":"x.example/y"}"#,
            "r.example/app:1",
            "r.example/app:1",
            false,
        ),
        (
            r#"{"type":"remapIdentity","prefix":"r.example","signedPrefix":"up.example/m"}"#,
            "r.example/app:1",
            "up.example/m/app:1",
            true,
        ),
        (
            r#"{"type":"remapIdentity","prefix":"r.example/a","signedPrefix":"up.example/m"}"#,
            "r.example/app:1",
            "up.example/mpp:1",
            false,
        ),
        (
            r#"{"type":"remapIdentity","prefix":"other.example","signedPrefix":"up.example"}"#,
            "r.example/app:1",
            "r.example/app:1",
            true,
        ),
    ] {
        let identity = if identity.is_empty() {
            String::new()
        } else {
            format!(r#","signedIdentity":{identity}"#)
        };
        let policy = policy(
            directory.path(),
            &format!(r#"{{"default":[{{"type":"sigstoreSigned","keyDatas":["{key}"]{identity}}}]}}"#),
        );
        assert_eq!(policy.problem(), None);
        let image = name(image);
        let evidence = evidence(&digest, vec![signer.sign(&payload(signed, &digest))]);
        let decided = policy.decide(&Source::Registry(&image), &evidence);
        assert_eq!(
            decided.is_ok(),
            accepted,
            "{identity} {image} {signed}: {decided:?}"
        );
    }
}

#[test]
fn ed25519_keys_verify_and_others_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let digest = Digest::sha256(b"manifest");
    let text = payload("r.example/app:1", &digest);
    let key = |prefix: &[u8], point: &[u8]| base::base64::encode(pem(prefix, point).as_bytes());
    let write = |key: String| {
        policy(
            directory.path(),
            &format!(r#"{{"default":[{{"type":"sigstoreSigned","keyData":"{key}"}}]}}"#),
        )
    };
    let policy = write(key(&ED25519, pair.public_key().as_ref()));
    let signature = Signature {
        signature: pair.sign(text.as_bytes()).as_ref().to_vec(),
        payload: text.into_bytes(),
    };
    let image = name("r.example/app:1");
    let evidence = evidence(&digest, vec![signature]);
    assert!(policy.decide(&Source::Registry(&image), &evidence).is_ok());
    let short = write(key(&ED25519, &pair.public_key().as_ref()[..31]));
    assert!(
        short
            .problem()
            .unwrap()
            .contains("neither an ECDSA P-256 nor an Ed25519 key")
    );
}

#[test]
fn a_changed_policy_or_key_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.json");
    let key = directory.path().join("key");
    let put = |path: &Path, text: &str| {
        base::file::write_atomic(path, text.as_bytes(), 0o600, base::file::Durability::Crash).unwrap();
    };
    let file = PolicyFile::new(&path, Presence::Optional);
    let decide = || file.current().decide(&Source::Tarball, &Evidence::default());
    assert!(decide().is_ok() && file.current().is_absent());
    put(&path, r#"{"default":[{"type":"reject"}]}"#);
    assert!(decide().is_err());
    let same = (file.current(), file.current());
    assert!(Arc::ptr_eq(&same.0, &same.1));
    put(&key, &Signer::new().pem());
    put(
        &path,
        &format!(
            r#"{{"default":[{{"type":"insecureAcceptAnything"}}],"transports":{{"docker":{{"":[{{"type":"sigstoreSigned","keyPath":"{}"}}]}}}}}}"#,
            key.display()
        ),
    );
    assert!(decide().is_ok());
    put(&key, "no key");
    assert!(decide().is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(decide().is_ok());
}

#[test]
fn signatures_are_read_from_cosigns_manifest_and_kept() {
    let payload_bytes = payload("r.example/app", &Digest::sha256(b"m")).into_bytes();
    let digest = Digest::sha256(&payload_bytes);
    let layer = |kind: &str, size: u64, annotation: &str| {
        format!(
            r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size},"annotations":{{"dev.cosignproject.cosign/signature":"{annotation}"}}}}"#
        )
    };
    let signing = "application/vnd.dev.cosign.simplesigning.v1+json";
    let manifest = |layers: &[String]| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[{}]}}"#,
            layers.join(",")
        )
    };
    let good = layer(signing, 10, "AAEC");
    let hostile = [
        layer(signing, 10, "no*base64"),
        layer(signing, 10, &"A".repeat(5000)),
        layer(signing, 1 << 30, "AAEC"),
        layer("application/vnd.oci.image.layer.v1.tar", 10, "AAEC"),
        good.clone(),
    ];
    let found = signature_layers(manifest(&hostile).as_bytes()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].signature, [0, 1, 2]);
    assert_eq!(found[0].clone().with_payload(b"another".to_vec()), None);
    let signature = found[0].clone().with_payload(payload_bytes).unwrap();
    assert!(signature_layers(manifest(&vec![good; 65]).as_bytes()).is_err());
    assert!(signature_layers(b"{").is_err());
    assert_eq!(
        signature_tag(&Digest::sha256(b"")),
        "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sig"
    );

    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path()).unwrap();
    let (image, index) = (Digest::sha256(b"m"), Digest::sha256(b"i"));
    assert_eq!(store.evidence(&image).subjects, std::slice::from_ref(&image));
    let kept = Evidence {
        subjects: vec![image.clone(), index],
        signatures: vec![signature],
    };
    store.keep_evidence(&image, &kept).unwrap();
    assert_eq!(store.evidence(&image), kept);
    let path = directory
        .path()
        .join(format!("signatures/sha256-{}.json", image.hex()));
    base::file::write_atomic(&path, b"{damaged", 0o600, base::file::Durability::Crash).unwrap();
    assert_eq!(store.evidence(&image).signatures, []);
    store.sweep_evidence(|_| false);
    assert!(!path.exists());
}
