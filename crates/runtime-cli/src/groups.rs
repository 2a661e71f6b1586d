//! The container's cgroup: where it is, and opening it.

use cgroup::{Cgroup, CgroupError, Layout};
use oci_spec::runtime::Spec;

use crate::error::{CommandError, Context};
use crate::globals::Cgroups;

/// Returns the path of the container's cgroup, `None` if it is to have none of its own.
pub(crate) fn path(spec: &Spec, id: &str, cgroups: Cgroups) -> Result<Option<String>, CommandError> {
    if cgroups == Cgroups::Disabled {
        return Ok(None);
    }
    let given = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().as_ref())
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| !path.is_empty());
    let path = match given {
        None => format!("/berth/{id}"),
        Some(path) if cgroups == Cgroups::Systemd => systemd_path(&path)?,
        Some(path) if path.starts_with('/') => path,
        Some(path) => format!("/{path}"),
    };
    Ok(Some(path))
}

/// Returns the path that systemd gives the unit `slice:prefix:name`: dashes in a slice's name are levels.
fn systemd_path(text: &str) -> Result<String, CommandError> {
    let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else {
        return Err(CommandError::new(format!(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{text:.200}\" instead"
        )));
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let mut path = String::new();
    if slice != "-.slice" {
        let stem = slice.strip_suffix(".slice").filter(|stem| !stem.contains('/'));
        let stem =
            stem.ok_or_else(|| CommandError::new(format!("\"{slice:.200}\" is not the name of a slice")))?;
        for (at, _) in stem.match_indices('-').chain(std::iter::once((stem.len(), ""))) {
            path.push_str(&format!("/{}.slice", &stem[..at]));
        }
    }
    if name.ends_with(".slice") {
        return Ok(format!("{path}/{name}"));
    }
    let prefix = if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}-")
    };
    Ok(format!("{path}/{prefix}{name}.scope"))
}

/// Returns the host's hierarchies.
pub(crate) fn layout() -> Result<Layout, CommandError> {
    Layout::detect().plain()
}

/// Opens the cgroup `path`, `None` if it is gone.
pub(crate) fn open(path: &str) -> Result<Option<Cgroup>, CommandError> {
    match Cgroup::open(&layout()?, path) {
        Err(CgroupError::NotFound { .. }) => Ok(None),
        group => group.map(Some).plain(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_names_become_paths() {
        for (text, path) in [
            ("machine.slice:libpod:abc", "/machine.slice/libpod-abc.scope"),
            (
                "user-1000.slice:crio:x",
                "/user.slice/user-1000.slice/crio-x.scope",
            ),
            (":docker:x", "/system.slice/docker-x.scope"),
            ("-.slice::x", "/x.scope"),
        ] {
            assert_eq!(systemd_path(text).unwrap(), path);
        }
        for text in ["", "a", "a:b", "a:b:c:d", "a/b.slice:c:d", "x:y:z"] {
            assert!(systemd_path(text).is_err(), "{text}");
        }
    }
}
