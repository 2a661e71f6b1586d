//! Named volumes: directories that outlive containers.
//!
//! One driver, `local`, as docker's: a directory below the data root, or with options a directory of the host or
//! memory. Who uses a volume is the engine's knowledge; nothing here mounts, and ids in a volume are unshifted (the
//! runtime idmaps the bind). Start with [`Volumes, lost`].

mod name;
mod options;
mod volumes;

pub use options::Backing;
pub use volumes::{Create, Volume, VolumeError, Volumes, lost};
