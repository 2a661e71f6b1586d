//! Extension headers: PAX records and GNU's long names, which say more about the member that follows them.

use crate::header::until_nul;
use crate::reader::MAX_PIECES;

/// Longest path and link target in bytes: the kernel's `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// Extension headers that apply to the next member.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    pub(crate) long_name: Option<Vec<u8>>,
    pub(crate) long_link: Option<Vec<u8>>,
    pub(crate) pax: Pax,
    has_pax: bool,
}

impl Extensions {
    pub(crate) fn any(&self) -> bool {
        self.has_pax || self.long_name.is_some() || self.long_link.is_some()
    }

    pub(crate) fn add(&mut self, flag: u8, data: Vec<u8>) -> Result<(), &'static str> {
        match flag {
            b'L' if self.long_name.is_none() => self.long_name = Some(c_string(data)?),
            b'K' if self.long_link.is_none() => self.long_link = Some(c_string(data)?),
            b'x' if !self.has_pax => {
                self.has_pax = true;
                self.pax = Pax::parse(&data)?;
            }
            b'g' => {
                // Other readers differ on global headers: Go ignores them, GNU tar applies them.
                let pax = Pax::parse(&data)?;
                if pax.changes_layout() {
                    return Err("a global header that renames or resizes members");
                }
            }
            _ => return Err("the same extension header twice"),
        }
        Ok(())
    }
}

/// The records of a PAX extended header that matter here.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse_version: Option<(u64, u64)>,
    pub(crate) sparse_name: Option<Vec<u8>>,
    pub(crate) sparse_size: Option<u64>,
    pub(crate) sparse_map: Option<Vec<(u64, u64)>>,
    sparse_offset: Option<u64>,
}

impl Pax {
    fn changes_layout(&self) -> bool {
        self.path.is_some()
            || self.link.is_some()
            || self.size.is_some()
            || self.sparse_version.is_some()
            || self.sparse_name.is_some()
            || self.sparse_map.is_some()
            || self.sparse_size.is_some()
    }

    /// Parses records of the form `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
    fn parse(mut data: &[u8]) -> Result<Self, &'static str> {
        const BROKEN: &str = "a broken PAX record";
        let mut pax = Self::default();
        while !data.is_empty() {
            let space = data.iter().take(8).position(|&byte| byte == b' ').ok_or(BROKEN)?;
            let length = usize::try_from(decimal(&data[..space]).ok_or(BROKEN)?).unwrap_or(usize::MAX);
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(BROKEN);
            }
            let record = &data[space + 1..length - 1];
            let equals = record.iter().position(|&byte| byte == b'=').ok_or(BROKEN)?;
            pax.set(&record[..equals], &record[equals + 1..])?;
            data = &data[length..];
        }
        if pax.sparse_offset.is_some() {
            return Err("a broken sparse map");
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        // An empty value takes a record back, except for attributes, which may be empty.
        let name = || path_value(value).map(|name| Some(name).filter(|name| !name.is_empty()));
        let number = || {
            if value.is_empty() {
                Ok(None)
            } else {
                decimal(value).map(Some).ok_or("a PAX number that is none")
            }
        };
        match key {
            b"path" => self.path = name()?,
            b"linkpath" => self.link = name()?,
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(timestamp(value).ok_or("a PAX time that is none")?),
            b"GNU.sparse.major" => {
                self.sparse_version =
                    Some((number()?.unwrap_or(0), self.sparse_version.unwrap_or_default().1));
            }
            b"GNU.sparse.minor" => {
                self.sparse_version =
                    Some((self.sparse_version.unwrap_or_default().0, number()?.unwrap_or(0)));
            }
            b"GNU.sparse.name" => self.sparse_name = name()?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse_size = number()?,
            b"GNU.sparse.offset" => self.sparse_offset = number()?,
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse_offset.take().ok_or("a broken sparse map")?;
                let map = self.sparse_map.get_or_insert_default();
                map.push((offset, number()?.ok_or("a broken sparse map")?));
            }
            b"GNU.sparse.map" => {
                let numbers: Option<Vec<u64>> = value.split(|&byte| byte == b',').map(decimal).collect();
                let numbers = numbers
                    .filter(|all| all.len() % 2 == 0)
                    .ok_or("a broken sparse map")?;
                self.sparse_map = Some(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
            }
            _ => {
                if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
                    if attribute.is_empty() || attribute.contains(&0) {
                        return Err("an extended attribute without a name");
                    }
                    self.xattrs.retain(|(name, _)| name != attribute);
                    self.xattrs.push((attribute.to_vec(), value.to_vec()));
                }
            }
        }
        if self.sparse_map.as_ref().is_some_and(|map| map.len() > MAX_PIECES) {
            return Err("too many pieces in a sparse file");
        }
        Ok(())
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &digit in text {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

/// A PAX time: `[-]SECONDS[.FRACTION]`.
fn timestamp(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"");
    let mut nanos = 0u32;
    for at in 0..9 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        nanos = nanos * 10 + u32::from(digit - b'0');
    }
    Some(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

/// GNU's long names are C strings.
fn c_string(data: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    path_value(until_nul(&data))
}

fn path_value(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    if value.len() > MAX_PATH {
        return Err("a name of more than 4096 bytes");
    }
    if value.contains(&0) {
        return Err("a name with a NUL");
    }
    Ok(value.to_vec())
}
