//! Export: a container's whole file system as an archive, without what is mounted in it.

use std::sync::Arc;

use base::error::chain;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use super::changes::{FilesError, difference_options, require_snapshot};
use super::finish;
use crate::Engine;

/// Bytes that wait for a slow client.
const BUFFER: usize = 256 << 10;

/// Returns an archive of a container's files, with the ids as they are inside. The container may run. A failure after the
/// first byte shows as an archive that is cut off.
pub async fn export(
    engine: &Arc<Engine>,
    name: &str,
) -> Result<Box<dyn AsyncRead + Send + Unpin>, FilesError> {
    let container = engine.registry.find(name)?;
    require_snapshot(&container)?;
    finish::tell(engine, &container, "export", &[]);
    let (reader, writer) = tokio::io::duplex(BUFFER);
    let worker = Arc::clone(engine);
    let mut writer = SyncIoBridge::new(writer);
    drop(tokio::task::spawn_blocking(move || {
        let options = difference_options(&container.record());
        let packed = storage::pack_all(&*worker.storage, &container.id, &options, &mut writer);
        if let Err(error) = packed {
            tracing::warn!(container = %container.id, error = %chain(&error), "an archive was not written to its end");
        }
    }));
    Ok(Box::new(reader))
}
