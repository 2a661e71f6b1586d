//! The one image that tests need: busybox with all its applets, a few users, and the usual directories.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// Returns the host's static busybox.
pub fn busybox() -> Result<&'static str> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
        .context("busybox is needed: apt-get install busybox-static")
}

/// Makes a root file system of busybox in the new directory `directory`.
pub fn busybox_tree(directory: &Path) -> Result<()> {
    for name in [
        "", "bin", "etc", "proc", "sys", "dev", "root", "tmp", "var", "run", "home", "usr",
    ] {
        std::fs::create_dir(directory.join(name)).with_context(|| format!("make {name}/"))?;
    }
    std::fs::set_permissions(directory.join("tmp"), PermissionsExt::from_mode(0o1777))?;
    std::fs::copy(busybox()?, directory.join("bin/busybox")).context("copy busybox")?;
    let applets = command::run(Command::new(busybox()?).arg("--list"), b"")?.text()?;
    for applet in applets.lines().filter(|name| *name != "busybox") {
        symlink("busybox", directory.join("bin").join(applet))?;
    }
    put(
        &directory.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    put(
        &directory.join("etc/group"),
        "root:x:0:\ntty:x:5:\napp:x:1000:\nextra:x:2000:app\nnogroup:x:65534:\n",
    )
}

/// Returns a tar archive of [`busybox_tree`], made in `directory`.
pub fn busybox_tar(directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("busybox-tree");
    busybox_tree(&tree)?;
    let archive = directory.join("busybox.tar");
    let mut tar = Command::new("tar");
    tar.arg("--create")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(&tree)
        .arg(".");
    command::run(&mut tar, b"")?.expect(0)?;
    Ok(archive)
}

/// Writes a new file of a test.
pub fn put(path: &Path, content: &str) -> Result<()> {
    use std::io::Write;
    std::fs::File::create_new(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
