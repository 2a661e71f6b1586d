//! Every limit of policies and signatures: what is exactly as large is taken, one more is not.

use super::*;

/// 4 MiB of policy, 64 KiB of a key.
#[test]
fn im_05_policies_and_keys_have_limits() {
    let directory = tempfile::tempdir().unwrap();
    let text = |size: usize| {
        let text = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        format!("{text}{}", " ".repeat(size - text.len()))
    };
    assert_eq!(policy(directory.path(), &text(4 << 20)).problem(), None);
    assert!(policy(directory.path(), &text((4 << 20) + 1)).problem().is_some());
    let key = directory.path().join("key.pub");
    let signed = format!(
        r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"r.example":[{{"type":"sigstoreSigned","keyPath":"{}"}}]}}}}}}"#,
        key.display()
    );
    let pem = Signer::new().pem();
    for (size, is_read) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        let padded = format!("{pem}{}", "\n".repeat(size - pem.len()));
        base::file::write_atomic(&key, padded.as_bytes(), 0o600, base::file::Durability::Crash).unwrap();
        let loaded = policy(directory.path(), &signed);
        assert_eq!(
            loaded.problem().is_none(),
            is_read,
            "{size}: {:?}",
            loaded.problem()
        );
    }
}

#[test]
fn im_05_signatures_have_limits() {
    let digest = Digest::sha256(b"payload");
    let layer = |size: u64, length: usize| {
        serde_json::json!({
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest.to_string(), "size": size,
            "annotations": {"dev.cosignproject.cosign/signature": "A".repeat(length)}
        })
    };
    let found = |layers: Vec<serde_json::Value>| {
        let config = serde_json::json!({
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest.to_string(), "size": 2
        });
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        signature_layers(manifest.to_string().as_bytes())
            .ok()
            .map(|found| found.len())
    };
    // Signatures of one image.
    assert_eq!(found(vec![layer(10, 4); 64]), Some(64));
    assert_eq!(found(vec![layer(10, 4); 65]), None);
    // Bytes of what is signed, characters of the signature (base64 comes in fours).
    assert_eq!(found(vec![layer(65_536, 4), layer(65_537, 4)]), Some(1));
    assert_eq!(found(vec![layer(10, 4096), layer(10, 4100)]), Some(1));
    // Signatures that are kept.
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path()).unwrap();
    let one = Signature {
        payload: b"payload".to_vec(),
        signature: vec![1],
    };
    for (count, is_kept) in [(512, true), (513, false)] {
        let kept = evidence(&digest, vec![one.clone(); count]);
        assert_eq!(store.keep_evidence(&digest, &kept).is_ok(), is_kept, "{count}");
        assert_eq!(store.evidence(&digest).signatures.len(), 512);
    }
}
