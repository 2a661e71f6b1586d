//! The durable store: what the engine must know again after a crash, in one SQLite file.
//!
//! Typed by table, not by content: rows carry ids, names and JSON documents that their owners encode, so a new field
//! needs no migration. A write goes through [`Store::write`], one transaction for each call: it survives `kill -9`
//! when the call returns, and a power cut too with [`Durability::Power`]. Nothing here knows what a container is.
//! Start with [`Store::open`].
//!
//! A registry has a file and tables of its own: [`Repositories`].

mod repositories;
mod row;
mod schema;
mod store;

pub use base::file::Durability;
pub use repositories::{Child, Garbage, ManifestRow, Put, Removal, Repositories, TagRow, UploadRow};
pub use row::{ContainerRow, Damage, NetworkRow, VolumeRow};
pub use store::{Batch, Store, StoreError, is_no_room};
