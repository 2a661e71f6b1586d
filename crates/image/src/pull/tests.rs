//! Against a registry that lies: what is pulled is right, or it is not there; and every byte comes once.

mod limits;

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::error::Kind;
use registry::client::{Access, Client, ClientConfig, Credentials, Timeouts};
use tempfile::TempDir;
use testkit::registry::{Lie, LyingRegistry, Rule, digest};

use super::*;
use crate::sink::{Pin, SinkError, StagedLayer};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Remembers which layers were shown, with the sizes of their files.
#[derive(Debug, Default)]
struct Shown {
    layers: Arc<Mutex<HashMap<ChainId, u64>>>,
    unpacked: AtomicUsize,
}

struct NoPin;
impl Pin for NoPin {}

struct Staged {
    layers: Arc<Mutex<HashMap<ChainId, u64>>>,
    diff_id: Digest,
    size: u64,
}

impl LayerSink for Shown {
    fn pin(&self, _layers: &[ChainId]) -> Box<dyn Pin> {
        Box::new(NoPin)
    }

    fn present(&self, layer: &ChainId) -> Result<Option<u64>, SinkError> {
        Ok(self.layers.lock().unwrap().get(layer).copied())
    }

    fn needs_parent(&self) -> bool {
        false
    }

    fn unpack(
        &self,
        _parent: Option<&ChainId>,
        _label: &Digest,
        _known: Option<&Digest>,
        tar: &mut (dyn Read + Send),
    ) -> Result<Box<dyn StagedLayer>, SinkError> {
        let summary = archive::inspect(tar, &archive::Limits::LAYER).map_err(SinkError::new)?;
        self.unpacked.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Staged {
            layers: Arc::clone(&self.layers),
            diff_id: summary.diff_id,
            size: summary.content_bytes,
        }))
    }
}

impl StagedLayer for Staged {
    fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn show(
        self: Box<Self>,
        layer: &ChainId,
        parent: Option<&ChainId>,
        diff_id: &Digest,
    ) -> Result<(), SinkError> {
        assert_eq!(self.diff_id, *diff_id);
        let mut layers = self.layers.lock().unwrap();
        assert!(parent.is_none_or(|parent| layers.contains_key(parent)));
        layers.insert(layer.clone(), self.size);
        Ok(())
    }
}

/// A registry, a store and a puller.
struct Bench {
    directory: TempDir,
    registry: LyingRegistry,
    sink: Arc<Shown>,
    puller: Arc<Puller>,
    client: Client,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = LyingRegistry::start().unwrap();
        let config = ClientConfig {
            timeouts: Timeouts {
                idle: Duration::from_millis(300),
                attempts: 2,
                back_off: Duration::from_millis(1),
                ..Timeouts::standard()
            },
            ..ClientConfig::standard("test")
        };
        let sink = Arc::new(Shown::default());
        let mut bench = Self {
            puller: Self::open(&directory, &sink),
            client: Client::new(config).unwrap(),
            directory,
            registry,
            sink,
        };
        bench.restart();
        bench
    }

    fn open(directory: &TempDir, sink: &Arc<Shown>) -> Arc<Puller> {
        let (store, problems) = Store::open(&directory.path().join("content")).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        Arc::new(Puller::new(Arc::new(store), Arc::clone(sink) as _, 3))
    }

    /// Opens everything again, as the next daemon would.
    fn restart(&mut self) {
        self.puller = Self::open(&self.directory, &self.sink);
    }

    /// Makes the puller split what takes longer than a moment.
    fn fetch_in_parts(&mut self) {
        let puller = Arc::get_mut(&mut self.puller).unwrap();
        puller.split = Split {
            every: Duration::from_millis(20),
            longer_than: Duration::from_millis(50),
            smallest: 256 << 10,
        };
    }

    fn name(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.registry.address())).unwrap()
    }

    /// Stores an image of these layers' tars.
    fn publish(&self, tag: &str, tars: &[Vec<u8>]) -> Vec<String> {
        let layers: Vec<(&str, Vec<u8>)> = tars.iter().map(|tar| (GZIP, gzip(tar))).collect();
        let digests = layers.iter().map(|(_, bytes)| digest(bytes)).collect();
        self.registry.add_image("r", tag, &config(tars), &layers);
        digests
    }

    async fn pull(&self, rest: &str) -> Result<Pulled, PullError> {
        let (report, mut told) = mpsc::channel(64);
        let name = self.name(rest);
        let repository = self
            .client
            .repository(&name, Credentials::Anonymous, Access::Pull);
        let pull = async {
            let report = report;
            let resolved = self.puller.resolve(&repository, &name, None).await?;
            self.puller.fetch(&repository, &resolved, &name, &report).await
        };
        let listen = async { while told.recv().await.is_some() {} };
        tokio::join!(pull, listen).0
    }

    /// Returns how many bytes of a blob were sent.
    fn sent(&self, digest: &str) -> u64 {
        let seen = self.registry.seen();
        seen.iter()
            .filter(|seen| seen.target.contains(digest))
            .map(|seen| seen.sent)
            .sum()
    }

    fn blobs(&self) -> Vec<String> {
        let mut names = names(&self.directory.path().join("content/blobs/sha256"));
        names.sort();
        names
    }
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let list = std::fs::read_dir(directory).unwrap();
    list.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A tar with one file of bytes that do not compress.
fn tar(name: &str, size: usize) -> Vec<u8> {
    let mut state = u64::from_le_bytes(*b"not zero") ^ u64::try_from(name.len() + size).unwrap();
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(size)
    .collect();
    let mut writer = archive::TarWriter::new(Vec::new());
    let mut entry = archive::Entry::new(name, archive::EntryKind::File, 0o644);
    entry.size = u64::try_from(size).unwrap();
    writer.append(&entry, &mut &content[..]).unwrap();
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config(tars: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
    serde_json::json!({
        "architecture": oci::platform::Platform::host().architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

fn tars() -> Vec<Vec<u8>> {
    vec![tar("one", 3 << 20), tar("second", 100), tar("third", 700_000)]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_once_and_known_by_its_digest() {
    let bench = Bench::new();
    let layers = bench.publish("v1", &tars());
    let pulled = bench.pull("r:v1").await.unwrap();
    assert!(pulled.is_new);
    assert_eq!(pulled.image.layers.len(), 3);
    assert_eq!(bench.sink.unpacked.load(Ordering::SeqCst), 3);
    let manifest = bench.registry.manifest("r", "v1").unwrap().1;
    let by_digest = format!("{}/r@{}", bench.registry.address(), digest(&manifest));
    assert_eq!(pulled.image.repo_digests(), [by_digest.as_str()]);
    // The exact bytes are kept.
    let stored = bench
        .puller
        .store
        .content
        .read_document(&pulled.image.manifest.digest, 1 << 20);
    assert_eq!(stored.unwrap(), manifest);
    let again = bench.pull("r:v1").await.unwrap();
    assert!(!again.is_new);
    for layer in &layers {
        assert_eq!(bench.registry.count("GET", layer), 1);
    }
    let resolved = bench.puller.store.resolve(&by_digest).unwrap();
    assert_eq!(resolved.id, pulled.image.id);
    assert!(
        bench
            .pull(&format!("r@{}", digest(&manifest)))
            .await
            .is_ok_and(|pulled| !pulled.is_new)
    );
    assert!(names(&bench.directory.path().join("content/leases")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_shares_layers_fetches_only_the_others() {
    let bench = Bench::new();
    let mut layers = tars();
    let before = bench.publish("v1", &layers);
    bench.pull("r:v1").await.unwrap();
    layers.push(tar("the last", 1000));
    let after = bench.publish("v2", &layers);
    bench.registry.forget();
    bench.pull("r:v2").await.unwrap();
    assert!(before.iter().all(|layer| bench.registry.count("GET", layer) == 0));
    assert_eq!(bench.registry.count("GET", &after[3]), 1);
    assert_eq!(bench.sink.unpacked.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_is_resumed_there() {
    for (at, cut) in [0usize, 1, 511, 65_536, 1_000_003, 3_000_000]
        .into_iter()
        .enumerate()
    {
        let bench = Bench::new();
        let layers = bench.publish("v1", &tars());
        let size = bench.registry.blob(&layers[0]).unwrap().len();
        let lie = if at.is_multiple_of(2) {
            Lie::Reset(cut)
        } else {
            Lie::Stall(cut)
        };
        bench.registry.lie(Rule::once("GET", &layers[0], lie));
        bench.pull("r:v1").await.unwrap();
        let total = bench.sent(&layers[0]);
        assert!(
            total < u64::try_from(size + (1 << 20)).unwrap(),
            "{cut}: {total} of {size}"
        );
    }
}

/// What a kernel has when a connection is reset is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_costs_little_wherever_it_comes() {
    let bench = Bench::new();
    let layers = bench.publish("v1", &[tar("large", 24 << 20)]);
    let size = bench.registry.blob(&layers[0]).unwrap().len();
    for cut in [9_876_543, 1, 5_000_000, 3] {
        bench.registry.lie(Rule::once("GET", &layers[0], Lie::Reset(cut)));
    }
    bench.pull("r:v1").await.unwrap();
    let total = bench.sent(&layers[0]);
    assert!(
        total < u64::try_from(size + (1 << 20)).unwrap(),
        "{total} of {size}"
    );
    assert_eq!(bench.registry.count("GET", &layers[0]), 5);
}

/// A bench whose registry sends eight megabytes a second by each connection, at most `most` bytes by each; and the blob.
fn slow(most: usize) -> (Bench, String, u64) {
    let mut bench = Bench::new();
    let layers = bench.publish("v1", &[tar("large", 8 << 20)]);
    let size = bench.registry.blob(&layers[0]).unwrap().len();
    let pieces = Lie::Slow(16 << 10, Duration::from_millis(2), most);
    bench.registry.lie(Rule::times("GET", &layers[0], 6, pieces));
    bench.fetch_in_parts();
    (bench, layers[0].clone(), u64::try_from(size).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_blob_is_fetched_in_parts() {
    let (bench, layer, size) = slow(usize::MAX);
    bench.pull("r:v1").await.unwrap();
    let requests = bench.registry.count("GET", &layer);
    assert!((2..=6).contains(&requests), "{requests}");
    let total = bench.sent(&layer);
    assert!(total < size + (1 << 20), "{total} of {size}");
    assert!(names(&bench.directory.path().join("content/ingest")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_not_fetched_again_after_a_restart() {
    let (mut bench, layer, size) = slow(1_200_000);
    bench.registry.lie(Rule::always(
        "GET",
        &layer,
        Lie::error(404, "BLOB_UNKNOWN", "gone"),
    ));
    bench.pull("r:v1").await.unwrap_err();
    let left = names(&bench.directory.path().join("content/ingest"));
    assert!(left.iter().any(|name| name.ends_with(".ahead")), "{left:?}");
    bench.restart();
    bench.fetch_in_parts();
    bench.registry.be_honest();
    bench.pull("r:v1").await.unwrap();
    let total = bench.sent(&layer);
    assert!(total < size + (1 << 20), "{total} of {size}");
    assert!(names(&bench.directory.path().join("content/ingest")).is_empty());
}

/// Asked for a part, it sends the whole blob: what is right comes nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_only_says_it_has_ranges() {
    let (bench, layer, _) = slow(usize::MAX);
    bench.registry.lie(Rule::always("GET", &layer, Lie::NoRange));
    bench.pull("r:v1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_restart_is_not_fetched_again() {
    let mut bench = Bench::new();
    let layers = bench.publish("v1", &tars());
    let size = bench.registry.blob(&layers[0]).unwrap().len();
    bench
        .registry
        .lie(Rule::once("GET", &layers[0], Lie::Stall(2_000_000)));
    bench.registry.lie(Rule::always(
        "GET",
        &layers[0],
        Lie::error(503, "UNAVAILABLE", "later"),
    ));
    bench.pull("r:v1").await.unwrap_err();
    assert!(bench.puller.store.list().is_empty());
    bench.restart();
    bench.registry.be_honest();
    bench.pull("r:v1").await.unwrap();
    let total = bench.sent(&layers[0]);
    assert!(
        total < u64::try_from(size + (1 << 20)).unwrap(),
        "{total} of {size}"
    );
    assert_eq!(bench.registry.count("GET", &layers[1]), 1);
    assert!(names(&bench.directory.path().join("content/ingest")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_is_resumed_too() {
    let bench = Bench::new();
    let layers = bench.publish("v1", &tars());
    bench
        .registry
        .lie(Rule::once("GET", &layers[0], Lie::Reset(1_000_000)));
    bench.registry.lie(Rule::once("GET", &layers[0], Lie::NoRange));
    bench.pull("r:v1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn im_01_wrong_bytes_are_never_shown() {
    type Make = fn(usize) -> Lie;
    let lies: [(&str, Make); 4] = [
        ("flipped", |size| Lie::Flip(size / 2)),
        ("flipped at the end", |size| Lie::Flip(size - 1)),
        ("another body", |_| Lie::Body(gzip(&tar("other", 3)))),
        ("longer", |size| Lie::Body(vec![0x1f; size + 1])),
    ];
    for (what, lie) in lies {
        let bench = Bench::new();
        let layers = bench.publish("v1", &tars());
        let size = bench.registry.blob(&layers[2]).unwrap().len();
        bench.registry.lie(Rule::always("GET", &layers[2], lie(size)));
        let error = bench.pull("r:v1").await.unwrap_err();
        assert!(
            !matches!(error.kind(), Kind::NotFound | Kind::Busy),
            "{what}: {error:?}"
        );
        assert!(bench.puller.store.list().is_empty(), "{what}");
        let hex = layers[2].trim_start_matches("sha256:");
        assert!(!bench.blobs().iter().any(|blob| blob == hex), "{what}");
        // What is wrong does not stay in the way.
        bench.registry.be_honest();
        bench.pull("r:v1").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn im_01_a_layer_that_is_not_its_diff_id_is_refused() {
    let bench = Bench::new();
    let layers = [(GZIP, gzip(&tar("one", 10)))];
    bench
        .registry
        .add_image("r", "v1", &config(&[tar("two", 10)]), &layers);
    let error = bench.pull("r:v1").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let text = base::error::chain(&error).to_string();
    assert!(text.contains("filesystem layer verification failed"), "{text}");
    assert!(bench.sink.layers.lock().unwrap().is_empty());
    assert!(bench.puller.store.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn im_02_manifests_are_read_in_one_way_only() {
    let bench = Bench::new();
    let layer = gzip(&tar("one", 10));
    let good = config(&[tar("one", 10)]);
    let descriptor = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let base = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &good),
        "layers": [descriptor(GZIP, &layer)],
    });
    bench.registry.add_blob(&good);
    bench.registry.add_blob(&layer);
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change, Kind); 9] = [
        ("both", |m| m["manifests"] = serde_json::json!([]), Kind::Invalid),
        ("version", |m| m["schemaVersion"] = 1.into(), Kind::Invalid),
        ("type", |m| m["mediaType"] = INDEX.into(), Kind::Invalid),
        (
            "negative",
            |m| m["layers"][0]["size"] = (-1).into(),
            Kind::Invalid,
        ),
        (
            "digest",
            |m| m["layers"][0]["digest"] = "sha256:../../x".into(),
            Kind::Invalid,
        ),
        (
            "no layers",
            |m| m["layers"] = serde_json::json!([]),
            Kind::Invalid,
        ),
        (
            "foreign",
            |m| {
                m["layers"][0]["mediaType"] =
                    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
            },
            Kind::Unsupported,
        ),
        (
            "chart",
            |m| m["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into(),
            Kind::Invalid,
        ),
        ("config size", |m| m["config"]["size"] = 3.into(), Kind::Invalid),
    ];
    for (what, change, kind) in changes {
        let mut manifest = base.clone();
        change(&mut manifest);
        bench
            .registry
            .add_manifest("r", "bad", MANIFEST, manifest.to_string().as_bytes());
        let error = bench.pull("r:bad").await.expect_err(what);
        // The client refuses some of them already, as nothing that it supports.
        let refused = error.kind() == kind || error.kind() == Kind::Unsupported;
        assert!(refused, "{what}: {error:?}");
    }
    bench
        .registry
        .add_manifest("r", "good", MANIFEST, base.to_string().as_bytes());
    bench.pull("r:good").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn im_02_an_index_gives_the_platform_and_keeps_its_own_digest() {
    let bench = Bench::new();
    bench.publish("v1", &tars());
    let (_, manifest) = bench.registry.manifest("r", "v1").unwrap();
    let host = oci::platform::Platform::host();
    let entry = |architecture: &str| {
        serde_json::json!({"mediaType": MANIFEST, "digest": digest(&manifest), "size": manifest.len(),
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = |entries: Vec<serde_json::Value>| {
        serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
    };
    let text = index(vec![entry("s390x"), entry(&host.architecture)]);
    bench.registry.add_manifest("r", "multi", INDEX, text.as_bytes());
    let pulled = bench.pull("r:multi").await.unwrap();
    assert_eq!(
        pulled.image.repo_digests(),
        [format!(
            "{}/r@{}",
            bench.registry.address(),
            digest(text.as_bytes())
        )]
    );
    bench
        .registry
        .add_manifest("r", "other", INDEX, index(vec![entry("s390x")]).as_bytes());
    let error = bench.pull("r:other").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no matching manifest for linux/{} in the manifest list entries",
            host.architecture
        )
    );
    // An index that leads to an index without an end.
    let mut inner = text;
    for _ in 0..6 {
        let next = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": INDEX, "digest": digest(inner.as_bytes()), "size": inner.len()}]});
        inner = next.to_string();
        bench.registry.add_manifest("r", "deep", INDEX, inner.as_bytes());
    }
    assert_eq!(bench.pull("r:deep").await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_pulls_share_one_download() {
    let bench = Arc::new(Bench::new());
    let layers = bench.publish("v1", &tars());
    // Long enough for all to come together.
    bench
        .registry
        .lie(Rule::once("GET", &layers[0], Lie::Stall(500_000)));
    let pulls = (0..20).map(|_| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.pull("r:v1").await })
    });
    for pull in pulls.collect::<Vec<_>>() {
        pull.await.unwrap().unwrap();
    }
    assert_eq!(bench.registry.count("GET", &layers[0]), 2);
    assert_eq!(bench.registry.count("GET", &layers[1]), 1);
    assert_eq!(bench.sink.unpacked.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_leaves_the_others_alone_and_the_last_one_ends_the_download() {
    let bench = Arc::new(Bench::new());
    let layers = bench.publish("v1", &tars());
    bench
        .registry
        .lie(Rule::once("GET", &layers[0], Lie::Stall(500_000)));
    let pull = |bench: &Arc<Bench>| {
        let bench = Arc::clone(bench);
        tokio::spawn(async move { bench.pull("r:v1").await })
    };
    let (first, second) = (pull(&bench), pull(&bench));
    let registry = &bench.registry;
    registry
        .wait_for("GET", &layers[0], 1, Duration::from_secs(10))
        .unwrap();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    second.await.unwrap().unwrap();
    // The last one: nothing of the image is there, and what came is not fetched again.
    let other = bench.publish("v2", &[tar("another", 2 << 20)]);
    bench
        .registry
        .lie(Rule::once("GET", &other[0], Lie::Stall(1_000_000)));
    let bench_2 = Arc::clone(&bench);
    let last = tokio::spawn(async move { bench_2.pull("r:v2").await });
    registry
        .wait_for("GET", &other[0], 1, Duration::from_secs(10))
        .unwrap();
    last.abort();
    assert!(last.await.unwrap_err().is_cancelled());
    assert_eq!(bench.puller.store.list().len(), 1);
    bench.pull("r:v2").await.unwrap();
    assert_eq!(bench.puller.store.list().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn f_22_what_a_pull_needs_is_not_removed_under_it() {
    let bench = Arc::new(Bench::new());
    let mut layers = tars();
    bench.publish("v1", &layers);
    bench.pull("r:v1").await.unwrap();
    layers.push(tar("the last", 600_000));
    let digests = bench.publish("v2", &layers);
    bench
        .registry
        .lie(Rule::once("GET", &digests[3], Lie::Stall(300_000)));
    let pulling = {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.pull("r:v2").await })
    };
    bench
        .registry
        .wait_for("GET", &digests[3], 1, Duration::from_secs(10))
        .unwrap();
    // The image that has the other layers goes meanwhile.
    let name = bench.name("r:v1").familiar();
    let options = crate::RemoveOptions {
        force: true,
        prune: true,
    };
    bench
        .puller
        .store
        .remove(&name, &options, &|_| Vec::new())
        .unwrap();
    pulling.await.unwrap().unwrap();
    for digest in digests {
        assert!(bench.puller.store.content.has_blob(&digest.parse().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f_20_a_damaged_blob_is_healed_by_the_next_pull() {
    let bench = Bench::new();
    let layers = bench.publish("v1", &tars());
    bench.pull("r:v1").await.unwrap();
    let path = bench
        .puller
        .store
        .content
        .blob_path(&layers[0].parse().unwrap())
        .unwrap();
    // Cut off: seen by its size.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(1000).unwrap();
    bench.pull("r:v1").await.unwrap();
    assert_eq!(digest(&std::fs::read(&path).unwrap()), layers[0]);
    // Changed, and its layer is gone: seen when it is unpacked.
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"damage", 2_000_000).unwrap();
    bench.sink.layers.lock().unwrap().clear();
    bench.pull("r:v1").await.unwrap();
    assert_eq!(digest(&std::fs::read(&path).unwrap()), layers[0]);
    assert_eq!(bench.sink.layers.lock().unwrap().len(), 3);
    // The same content in another wrapping (the system that made it, RFC 1952): unpacked it is right, the blob is not.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[11], 9).unwrap();
    bench.sink.layers.lock().unwrap().clear();
    bench.pull("r:v1").await.unwrap();
    assert_eq!(digest(&std::fs::read(&path).unwrap()), layers[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_dockers() {
    let bench = Bench::new();
    bench.publish("v1", &tars());
    let text = |error: PullError| base::error::chain(&error).to_string();
    let error = bench.pull("r:nope").await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let expected = format!(
        "manifest for {}/r:nope not found: manifest unknown",
        bench.registry.address()
    );
    assert!(text(error).starts_with(&expected));
}
