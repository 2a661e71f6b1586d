//! `--mount` and `--volume`: docker's two languages for mounts.

use std::path::{Component, Path, PathBuf};

use api_types::mount::{BindOptions, ImageOptions, Mount, TmpfsOptions, VolumeDriver, VolumeOptions};

use crate::failure::Failure;
use crate::parse::parse_bool;

/// Wants a mount.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// Reads one `--mount`.
pub(crate) fn parse(text: &str) -> Result<Mount, String> {
    let mut mount = Mount {
        kind: "volume".to_owned(),
        ..Mount::default()
    };
    let mut bind_recursive = None;
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        if let (Some(flag), true) = (
            flag_of(&mut mount, &key),
            value.is_none_or(|value| parse_bool(value).is_some()),
        ) {
            *flag = value.and_then(parse_bool).unwrap_or(true);
            continue;
        }
        let Some(value) = value else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        match key.as_str() {
            "type" => mount.kind = value.to_ascii_lowercase(),
            "source" | "src" => mount.source = absolute_source(value),
            "target" | "dst" | "destination" => mount.target = value.to_owned(),
            "consistency" => mount.consistency = value.to_ascii_lowercase(),
            "bind-propagation" => bind(&mut mount).propagation = value.to_ascii_lowercase(),
            "bind-recursive" => {
                let wanted = value.to_owned();
                match value {
                    "enabled" => {}
                    "disabled" => bind(&mut mount).non_recursive = true,
                    "writable" => bind(&mut mount).read_only_non_recursive = true,
                    "readonly" => bind(&mut mount).read_only_force_recursive = true,
                    _ => {
                        return Err(format!(
                            "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                        ));
                    }
                }
                bind_recursive = Some(wanted);
            }
            "volume-subpath" => volume(&mut mount).subpath = value.to_owned(),
            "volume-driver" => driver(&mut mount).name = value.to_owned(),
            "volume-label" => {
                let (name, text) = value.split_once('=').unwrap_or((value, ""));
                volume(&mut mount).labels.insert(name.to_owned(), text.to_owned());
            }
            "volume-opt" => {
                let (name, text) = value.split_once('=').unwrap_or((value, ""));
                driver(&mut mount)
                    .options
                    .insert(name.to_owned(), text.to_owned());
            }
            "image-subpath" => {
                mount
                    .image_options
                    .get_or_insert_with(ImageOptions::default)
                    .subpath = value.to_owned();
            }
            "tmpfs-size" => {
                let size = base::size::parse_bytes(value)
                    .ok()
                    .and_then(|size| i64::try_from(size).ok());
                let size = size.ok_or_else(|| format!("invalid value for {key}: {value}"))?;
                tmpfs(&mut mount).size_bytes = size;
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8);
                let mode = mode.map_err(|_reason: std::num::ParseIntError| {
                    format!("invalid value for {key}: {value}")
                })?;
                tmpfs(&mut mount).mode = mode;
            }
            "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src" => {
                return Err(format!("invalid value for {key}: {value}"));
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    finish(mount, bind_recursive.as_deref())
}

/// Looks at the whole once all fields are known.
fn finish(mut mount: Mount, bind_recursive: Option<&str>) -> Result<Mount, String> {
    if mount.kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    let given = [
        ("volume", mount.volume_options.is_some()),
        ("bind", mount.bind_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
        ("image", mount.image_options.is_some()),
    ];
    for (kind, is_given) in given {
        if is_given && mount.kind != kind {
            return Err(format!(
                "cannot mix '{kind}-*' options with mount type '{}'",
                mount.kind
            ));
        }
    }
    if let Some(wish @ ("writable" | "readonly")) = bind_recursive {
        if !mount.read_only {
            return Err(format!(
                "option 'bind-recursive={wish}' requires 'readonly' to be specified in conjunction"
            ));
        }
        let propagation = mount
            .bind_options
            .as_ref()
            .map_or("", |options| options.propagation.as_str());
        if wish == "readonly" && propagation != "rprivate" {
            return Err("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction".to_owned());
        }
    }
    // Flags that were set to false leave nothing behind.
    mount.bind_options = mount
        .bind_options
        .filter(|options| *options != BindOptions::default());
    Ok(mount)
}

/// Returns where a key that needs no value keeps what it says.
fn flag_of<'a>(mount: &'a mut Mount, key: &str) -> Option<&'a mut bool> {
    match key {
        "readonly" | "ro" => Some(&mut mount.read_only),
        "volume-nocopy" => Some(&mut volume(mount).no_copy),
        "bind-nonrecursive" => Some(&mut bind(mount).non_recursive),
        "bind-create-src" => Some(&mut bind(mount).create_mountpoint),
        _ => None,
    }
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_with(BindOptions::default)
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_with(VolumeOptions::default)
}

fn driver(mount: &mut Mount) -> &mut VolumeDriver {
    volume(mount)
        .driver_config
        .get_or_insert_with(VolumeDriver::default)
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default)
}

/// Splits one line of comma-separated values; a value with a comma stands in double quotes (RFC 4180).
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut characters = text.trim().chars().peekable();
    loop {
        if characters.peek() == Some(&'"') {
            characters.next();
            loop {
                match (characters.next(), characters.peek()) {
                    (Some('"'), Some('"')) => {
                        characters.next();
                        field.push('"');
                    }
                    (Some('"'), Some(',') | None) => break,
                    (Some('"'), Some(_)) | (None, _) => {
                        return Err("parse error: extraneous or missing \" in quoted-field".to_owned());
                    }
                    (Some(character), _) => field.push(character),
                }
            }
        }
        match characters.next() {
            Some(',') => fields.push(std::mem::take(&mut field)),
            Some('"') => return Err("parse error: bare \" in non-quoted-field".to_owned()),
            Some(character) => field.push(character),
            None => break,
        }
    }
    fields.push(field);
    if fields == [""] {
        return Err("value is empty".to_owned());
    }
    Ok(fields)
}

/// What one `--volume` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A bind or a named volume, in the form that the API takes.
    Bind(String),
    /// A path that gets a new volume.
    Anonymous(String),
}

/// Reads one `--volume`; a source that begins with a dot is made absolute, for the daemon is in another directory.
pub(crate) fn parse_volume(text: &str) -> Result<Volume, Failure> {
    if text.is_empty() {
        return Err(Failure::invalid("berth: invalid empty volume spec"));
    }
    let Some((source, rest)) = text.split_once(':') else {
        return Ok(Volume::Anonymous(text.to_owned()));
    };
    if source.is_empty() || rest.split(':').any(str::is_empty) {
        return Err(Failure::invalid(format!(
            "berth: invalid spec: {text}: empty section between colons"
        )));
    }
    Ok(Volume::Bind(format!("{}:{rest}", absolute_source(source))))
}

/// Makes `.`, `..`, `./x` and `../x` absolute; everything else is an absolute path, a name, or for the daemon to refuse.
fn absolute_source(source: &str) -> String {
    let is_relative = [".", ".."].contains(&source) || source.starts_with("./") || source.starts_with("../");
    match std::env::current_dir() {
        Ok(directory) if is_relative => clean(&directory.join(source)).to_string_lossy().into_owned(),
        _ => source.to_owned(),
    }
}

/// Removes `.` and `..` by their text alone, as docker's client does.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                cleaned.pop();
            }
            component => cleaned.push(component),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields() {
        assert_eq!(fields("a=b,\"c=d,e\",f").unwrap(), ["a=b", "c=d,e", "f"]);
        assert_eq!(fields("\"a\"\"b\"").unwrap(), ["a\"b"]);
        for text in ["", "\"a", "\"a\"b", "a\"b"] {
            assert!(fields(text).is_err(), "{text}");
        }
    }

    #[test]
    fn relative_sources_become_absolute() {
        let here = std::env::current_dir().unwrap();
        let expected = format!("{}:/y", here.join("x").display());
        assert_eq!(parse_volume("./a/../x:/y").unwrap(), Volume::Bind(expected));
        assert_eq!(
            parse_volume("name:/y:ro").unwrap(),
            Volume::Bind("name:/y:ro".to_owned())
        );
        assert_eq!(parse_volume("/y").unwrap(), Volume::Anonymous("/y".to_owned()));
    }
}
