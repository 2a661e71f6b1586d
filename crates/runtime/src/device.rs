//! The container's `/dev`: a tmpfs of the initial user namespace, so that its nodes work, owned by the container's
//! root, so that it can be used.
//!
//! The nodes are made by the parent before anything of the image is in reach: `/dev/null` here is the one that masks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;
use sys::mount::{Attributes, fsconfig_create, fsconfig_set_string, fsmount, fsopen};
use sys::path::Root;

use crate::error::{AtStep, CreateError, Result, Step};
use crate::mount::c_string;
use crate::namespace::Namespaces;
use crate::option::MountOptions;

/// The nodes that every container has (OCI runtime specification, "Default Devices"), as major and minor numbers.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Makes `/dev`, detached: the default nodes and those of the document.
pub(crate) fn make_dev(options: &MountOptions, namespaces: &Namespaces, spec: &Spec) -> Result<OwnedFd> {
    let root = namespaces.host_root();
    let config = fsopen(c"tmpfs").at(Step::Device)?;
    fsconfig_set_string(&config, c"source", c"tmpfs").at(Step::Device)?;
    let mut has_mode = false;
    for (key, value) in &options.data {
        has_mode |= key == "mode";
        let value = value.as_deref().unwrap_or_default();
        // Ids in options are the container's, but this mount is made outside of it.
        let mapped = match (key.as_str(), value.parse::<u32>()) {
            ("uid", Ok(id)) => namespaces.host_ids(id, 0).map(|(uid, _)| uid.to_string()),
            ("gid", Ok(id)) => namespaces.host_ids(0, id).map(|(_, gid)| gid.to_string()),
            _ => Some(value.to_owned()),
        };
        let mapped = mapped.ok_or_else(|| CreateError::spec(format!("/dev: {key}={value} is not mapped")))?;
        fsconfig_set_string(&config, &c_string(key)?, &c_string(&mapped)?).at(Step::Device)?;
    }
    if !has_mode {
        fsconfig_set_string(&config, c"mode", c"755").at(Step::Device)?;
    }
    for (key, id) in [(c"uid", root.0), (c"gid", root.1)] {
        if id != 0
            && !options
                .data
                .iter()
                .any(|(name, _)| name.as_bytes() == key.to_bytes())
        {
            fsconfig_set_string(&config, key, &c_string(&id.to_string())?).at(Step::Device)?;
        }
    }
    fsconfig_create(&config).at(Step::Device)?;
    let mut attributes = options.new_mount_attributes();
    // Made read-only, if asked, when the child has made its part; and a /dev whose nodes cannot be opened is useless.
    attributes.0 &= !(Attributes::RDONLY.0 | Attributes::NODEV.0);
    let dev = fsmount(&config, attributes).at(Step::Device)?;
    for (name, major, minor) in DEFAULT {
        make_node(
            dev.as_fd(),
            Path::new(name),
            FileType::CharacterDevice,
            0o666,
            makedev(major, minor),
            root,
        )?;
    }
    let linux = spec.linux().as_ref();
    for device in linux
        .and_then(|linux| linux.devices().as_deref())
        .unwrap_or_default()
    {
        make_extra(&dev, device, namespaces)?;
    }
    Ok(dev)
}

fn make_extra(dev: &OwnedFd, device: &LinuxDevice, namespaces: &Namespaces) -> Result<()> {
    let path = device.path();
    let refuse = |why: &str| CreateError::new(Step::Device, libc::EINVAL, format!("device {path:?}: {why}"));
    let below = path
        .strip_prefix("/dev")
        .ok()
        .filter(|below| !below.as_os_str().is_empty())
        .ok_or_else(|| refuse("it is not below /dev"))?;
    if !below
        .components()
        .all(|component| matches!(component, std::path::Component::Normal(_)))
    {
        return Err(refuse("it is not below /dev"));
    }
    let file_type = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(refuse("type \"a\" is for rules, not for nodes")),
    };
    let number = |number: i64| u32::try_from(number).map_err(|_range| refuse("bad number"));
    let number = if file_type == FileType::Fifo {
        0
    } else {
        makedev(number(device.major())?, number(device.minor())?)
    };
    let owner = namespaces
        .host_ids(device.uid().unwrap_or(0), device.gid().unwrap_or(0))
        .ok_or_else(|| refuse("its owner is not mapped"))?;
    let mode = device.file_mode().unwrap_or(0o666) & 0o7777;
    let Some(parent) = below.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return make_node(dev.as_fd(), below, file_type, mode, number, owner);
    };
    let root = Root::from_fd(dev.try_clone().map_err(|error| refuse(&error.to_string()))?);
    let directory = root.mkdir_all(parent, 0o755).at(Step::Device)?;
    let name = below.file_name().ok_or_else(|| refuse("it has no name"))?;
    make_node(directory.as_fd(), Path::new(name), file_type, mode, number, owner)
}

/// Makes a node, or gives one that exists the mode and owner asked for.
fn make_node(
    directory: BorrowedFd<'_>,
    name: &Path,
    file_type: FileType,
    mode: u32,
    number: Dev,
    owner: (u32, u32),
) -> Result<()> {
    let context = || format!("device {name:?}");
    match rustix::fs::mknodat(directory, name, file_type, Mode::from_raw_mode(mode), number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .at_with(Step::Device, context)?;
            if FileType::from_raw_mode(stat.st_mode) != file_type || stat.st_rdev != number {
                return Err(CreateError::new(
                    Step::Device,
                    libc::EEXIST,
                    format!("device {name:?}: there is another device of that name"),
                ));
            }
            rustix::fs::chmodat(directory, name, Mode::from_raw_mode(mode), AtFlags::empty())
                .at_with(Step::Device, context)?;
        }
        result => result.at_with(Step::Device, context)?,
    }
    if owner != (0, 0) {
        rustix::fs::chownat(
            directory,
            name,
            Some(Uid::from_raw(owner.0)),
            Some(Gid::from_raw(owner.1)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .at_with(Step::Device, context)?;
    }
    Ok(())
}

/// The links that every container's `/dev` has; made by the child, which owns the directory by then.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Makes the links in a `/dev` of our own.
pub(crate) fn make_links(dev: BorrowedFd<'_>) -> Result<()> {
    for (target, name) in LINKS {
        match rustix::fs::symlinkat(target, dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            result => result.at_with(Step::Device, || format!("link /dev/{name}"))?,
        }
    }
    Ok(())
}
