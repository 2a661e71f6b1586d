//! Where the dynamic loader looks for libraries.

use std::path::{Path, PathBuf};

/// Puts the place of the file itself into its search path; other variables of the loader are not known here.
pub(crate) fn directories(paths: &[Vec<u8>], origin: &Path) -> Vec<PathBuf> {
    let origin = origin.display().to_string();
    paths
        .iter()
        .map(|path| {
            String::from_utf8_lossy(path)
                .replace("${ORIGIN}", &origin)
                .replace("$ORIGIN", &origin)
        })
        .filter(|path| path.starts_with('/') && !path.contains('$'))
        .map(PathBuf::from)
        .collect()
}

/// Returns where this machine's loader looks: `/etc/ld.so.conf` and what it includes, then the built-in places.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    read_conf(Path::new("/etc/ld.so.conf"), &mut directories, 0);
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    for place in ["/lib", "/usr/lib"] {
        directories.push(Path::new(place).join(&multiarch));
    }
    directories.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(PathBuf::from));
    directories
}

/// Reads one file of the loader's configuration; what cannot be read names no directories.
fn read_conf(file: &Path, directories: &mut Vec<PathBuf>, depth: usize) {
    let Ok(Some(text)) = base::file::read_optional(file, 1 << 20) else {
        return;
    };
    for line in String::from_utf8_lossy(&text).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ").filter(|_| depth < 4) {
            let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern.trim());
            for included in matching(&pattern) {
                read_conf(&included, directories, depth + 1);
            }
        } else if line.starts_with('/') {
            directories.push(PathBuf::from(line));
        }
    }
}

/// Returns the files that a pattern with `*` in its last component means, sorted.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (
        pattern.parent(),
        pattern.file_name().and_then(|name| name.to_str()),
    ) else {
        return Vec::new();
    };
    let Some((start, end)) = name.split_once('*') else {
        return vec![pattern.to_owned()];
    };
    let fits =
        |name: &str| name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end);
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|item| item.file_name().to_str().is_some_and(fits))
        .map(|item| item.path())
        .collect();
    files.sort();
    files
}
