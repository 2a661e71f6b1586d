//! Which storage driver a data root uses.

use std::sync::Arc;

use storage::{Driver, DriverKind, StorageError};

use crate::EngineConfig;

/// Opens the driver that was asked for, else the one that the data root has layers of, else overlay.
///
/// Whether overlay works here shows at the first start: the mounts are the runtime's business. A file system that
/// cannot be an upper directory (overlay itself, NFS) gets vfs at once.
pub(crate) fn open(config: &EngineConfig) -> Result<Arc<dyn Driver>, StorageError> {
    let kind = match config.storage_driver.as_deref() {
        Some(name) => name.parse()?,
        None => {
            let has = |kind: DriverKind| config.data_root.join("layers").join(kind.name()).is_dir();
            if has(DriverKind::Overlay) {
                DriverKind::Overlay
            } else if has(DriverKind::Vfs) || !can_be_upper(config) {
                DriverKind::Vfs
            } else {
                DriverKind::Overlay
            }
        }
    };
    storage::open(kind, &config.data_root)
}

/// Magic numbers of statfs(2) of file systems that overlay refuses as upper: overlay, NFS, CIFS, ecryptfs, vfat.
const NO_UPPER: [u64; 5] = [0x794c_7630, 0x6969, 0xff53_4d42, 0xf15f, 0x4d44];

fn can_be_upper(config: &EngineConfig) -> bool {
    match rustix::fs::statfs(&config.data_root) {
        Ok(statistics) => !NO_UPPER.contains(&u64::from_ne_bytes(statistics.f_type.to_ne_bytes())),
        Err(_) => true,
    }
}
