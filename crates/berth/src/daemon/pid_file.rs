//! The pid file, which keeps a second daemon from starting by mistake and is gone when the daemon is.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use base::file::{Durability, read_optional, write_atomic};

/// A pid file of this process.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file, unless it names a daemon that lives.
    pub(crate) fn write(path: &Path) -> anyhow::Result<Self> {
        let old = read_optional(path, 64)?.unwrap_or_default();
        let old: Option<u32> = String::from_utf8_lossy(&old).trim().parse().ok();
        if let Some(pid) = old {
            let is_other = pid != std::process::id();
            ensure!(
                !is_other || !is_daemon(pid),
                "pid file \"{}\" names process {pid}, which is running",
                path.display()
            );
        }
        write_atomic(
            path,
            format!("{}\n", std::process::id()).as_bytes(),
            0o644,
            Durability::Crash,
        )?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another daemon may have replaced it by force.
        let content = read_optional(&self.path, 64).ok().flatten().unwrap_or_default();
        if String::from_utf8_lossy(&content).trim() == std::process::id().to_string() {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Returns whether `pid` is a `berth daemon`: after a reboot the number may be anybody's.
fn is_daemon(pid: u32) -> bool {
    let path = PathBuf::from(format!("/proc/{pid}/cmdline"));
    let line = read_optional(&path, 64 << 10).ok().flatten().unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"daemon")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_and_removed() {
        let path = std::env::temp_dir().join(format!("berth-pid-{}", std::process::id()));
        write_atomic(&path, b"1\n", 0o644, Durability::Crash).unwrap();
        // Process 1 lives, but is no daemon of ours.
        let file = PidFile::write(&path).unwrap();
        let content = read_optional(&path, 64).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(content).unwrap(),
            format!("{}\n", std::process::id())
        );
        drop(file);
        assert_eq!(read_optional(&path, 64).unwrap(), None);
    }
}
