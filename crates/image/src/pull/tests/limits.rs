//! Every limit of an image's documents, on the way from a registry.

use super::*;
use crate::document::{MAX_CONFIG, MAX_INDEX_DEPTH, MAX_LAYERS};

impl Bench {
    /// Reads the documents of an image; nothing is fetched.
    async fn resolve(&self, rest: &str) -> Result<(), PullError> {
        let name = self.name(rest);
        let repository = self
            .client
            .repository(&name, Credentials::Anonymous, Access::Pull);
        self.puller.resolve(&repository, &name, None).await.map(drop)
    }

    /// Stores the documents of an image with so many layers, the configuration filled with blanks.
    fn documents(&self, layers: usize, size: usize) -> Vec<u8> {
        let layer = tar("a", 10);
        let mut config = config(&vec![layer.clone(); layers]);
        config.resize(config.len().max(size), b' ');
        self.registry.add_blob(&config);
        let packed = gzip(&layer);
        let descriptor =
            serde_json::json!({"mediaType": GZIP, "digest": digest(&packed), "size": packed.len()});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": vec![descriptor; layers],
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()
            },
        });
        manifest.to_string().into_bytes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn im_05_every_limit_of_pulled_documents() {
    let bench = Bench::new();
    let most = usize::try_from(MAX_CONFIG).unwrap();
    for (layers, size, refused) in [
        (MAX_LAYERS, 0, None),
        (MAX_LAYERS + 1, 0, Some("more than 500 layers")),
        (1, most, None),
        (1, most + 1, Some("a configuration of more than 8388608 bytes")),
    ] {
        let manifest = bench.documents(layers, size);
        bench.registry.add_manifest("r", "x", MANIFEST, &manifest);
        check(bench.resolve("r:x").await, refused);
    }
    // A registry that says another size of the configuration than it has.
    let manifest = String::from_utf8(bench.documents(1, most + 1)).unwrap();
    let lie = manifest.replace(&format!("\"size\":{}", most + 1), &format!("\"size\":{most}"));
    assert_ne!(lie, manifest);
    bench.registry.add_manifest("r", "x", MANIFEST, lie.as_bytes());
    check(
        bench.resolve("r:x").await,
        Some("exceeds the limit of 8388608 bytes"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn im_05_nested_indexes_are_counted() {
    let bench = Bench::new();
    let mut inner = bench.documents(1, 0);
    bench.registry.add_manifest("r", "x", MANIFEST, &inner);
    let mut kind = MANIFEST;
    for depth in 1..=MAX_INDEX_DEPTH + 1 {
        let entry = serde_json::json!({"mediaType": kind, "digest": digest(&inner), "size": inner.len()});
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        (inner, kind) = (index.to_string().into_bytes(), INDEX);
        bench.registry.add_manifest("r", "x", INDEX, &inner);
        let refused = (depth > MAX_INDEX_DEPTH).then_some("nests too many indexes");
        check(bench.resolve("r:x").await, refused);
    }
}

fn check(resolved: Result<(), PullError>, refused: Option<&str>) {
    match (resolved, refused) {
        (Ok(()), None) => {}
        (Err(error), Some(text)) => {
            let chain = base::error::chain(&error).to_string();
            assert!(chain.contains(text), "{chain}");
        }
        (resolved, _) => panic!("{resolved:?}, not {refused:?}"),
    }
}
