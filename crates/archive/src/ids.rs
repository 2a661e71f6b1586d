//! Ids on disk and ids in an archive: a container's user namespace stands between the two.

use crate::unpack::is_kept_attribute;

/// Who owns what the container's user namespace has no name for, as the kernel shows it inside (`overflowuid`).
const NOBODY: u32 = 65_534;

/// Some ids that follow one another, on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first one inside: in the container and in archives.
    pub inside: u32,
    /// The first one outside: on the disk and on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// How ids on disk are shifted; without ranges they are as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdShift {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

impl IdShift {
    /// Returns the shift that changes nothing.
    pub const fn none() -> Self {
        Self {
            users: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Returns the shift of ids from 0 on, for users and groups alike.
    pub fn range(outside: u32, count: u32) -> Self {
        let range = vec![IdRange {
            inside: 0,
            outside,
            count,
        }];
        Self {
            users: range.clone(),
            groups: range,
        }
    }

    /// Returns whether it changes nothing.
    pub fn is_none(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// Returns the user on the disk as the container knows it; nobody if it does not.
    pub fn user_inside(&self, outside: u32) -> u32 {
        inside(&self.users, outside).unwrap_or(NOBODY)
    }

    /// Returns the group on the disk as the container knows it; nobody if it does not.
    pub fn group_inside(&self, outside: u32) -> u32 {
        inside(&self.groups, outside).unwrap_or(NOBODY)
    }

    /// Returns the user of an archive as it is on the disk; `None` if the container cannot have it.
    pub fn user_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.users, inside)
    }

    /// Returns the group of an archive as it is on the disk; `None` if the container cannot have it.
    pub fn group_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.groups, inside)
    }

    /// Returns an attribute's value as it is inside; `None` if it means nothing there.
    pub fn attribute_inside(&self, name: &[u8], value: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_none() {
            return Some(value);
        }
        match name {
            b"security.capability" => self.capability_inside(value),
            _ => Some(map_acl(
                name,
                value,
                |id| self.user_inside(id),
                |id| self.group_inside(id),
            )),
        }
    }

    /// Returns an attribute's value as it is on the disk; `None` if the container cannot have it, or if it is none that
    /// archives may bring.
    pub fn attribute_outside(&self, name: &[u8], value: Vec<u8>) -> Option<Vec<u8>> {
        if !is_kept_attribute(name) {
            return None;
        }
        let unknown = std::cell::Cell::new(false);
        let map = |id: Option<u32>| {
            id.unwrap_or_else(|| {
                unknown.set(true);
                NOBODY
            })
        };
        let value = map_acl(
            name,
            value,
            |id| map(self.user_outside(id)),
            |id| map(self.group_outside(id)),
        );
        (!unknown.get()).then_some(value)
    }

    /// Version 3 names the root of the namespace that the capability is for (linux/capability.h, `vfs_ns_cap_data`);
    /// inside it is the ordinary version 2.
    fn capability_inside(&self, mut value: Vec<u8>) -> Option<Vec<u8>> {
        const REVISION: usize = 3;
        if value.len() != 24 || value[REVISION] != 3 {
            return Some(value);
        }
        let root = u32::from_le_bytes(value[20..24].try_into().ok()?);
        if inside(&self.users, root)? == 0 {
            value.truncate(20);
            value[REVISION] = 2;
            return Some(value);
        }
        None
    }
}

fn inside(ranges: &[IdRange], id: u32) -> Option<u32> {
    if ranges.is_empty() {
        return Some(id);
    }
    ranges.iter().find_map(|range| {
        let offset = id
            .checked_sub(range.outside)
            .filter(|offset| *offset < range.count)?;
        range.inside.checked_add(offset)
    })
}

fn outside(ranges: &[IdRange], id: u32) -> Option<u32> {
    if ranges.is_empty() {
        return Some(id);
    }
    ranges.iter().find_map(|range| {
        let offset = id
            .checked_sub(range.inside)
            .filter(|offset| *offset < range.count)?;
        range.outside.checked_add(offset)
    })
}

/// Shifts the ids of an access control list (linux/posix_acl_xattr.h: a version, then tag, permissions and id of each
/// entry). What is no such list stays as it is.
fn map_acl(
    name: &[u8],
    mut value: Vec<u8>,
    user: impl Fn(u32) -> u32,
    group: impl Fn(u32) -> u32,
) -> Vec<u8> {
    const USER: [u8; 2] = [0x02, 0];
    const GROUP: [u8; 2] = [0x08, 0];
    if !name.starts_with(b"system.posix_acl_") || value.len() < 4 {
        return value;
    }
    for entry in value[4..].chunks_exact_mut(8) {
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let id = match [entry[0], entry[1]] {
            USER => user(id),
            GROUP => group(id),
            _ => continue,
        };
        entry[4..].copy_from_slice(&id.to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shift() -> IdShift {
        let ranges = |outside| {
            vec![
                IdRange {
                    inside: 0,
                    outside,
                    count: 1000,
                },
                IdRange {
                    inside: 5000,
                    outside: outside + 5000,
                    count: 10,
                },
            ]
        };
        IdShift {
            users: ranges(100_000),
            groups: ranges(200_000),
        }
    }

    #[test]
    fn there_and_back_is_the_same() {
        let shift = shift();
        for id in (0..1000).chain(5000..5010) {
            assert_eq!(shift.user_inside(shift.user_outside(id).unwrap()), id);
            assert_eq!(shift.group_inside(shift.group_outside(id).unwrap()), id);
        }
        for id in [1000, 4999, 5010, u32::MAX] {
            assert_eq!(shift.user_outside(id), None);
        }
        assert_eq!(shift.user_inside(0), NOBODY);
        assert_eq!(IdShift::none().user_outside(7), Some(7));
        assert_eq!(IdShift::none().user_inside(u32::MAX), u32::MAX);
    }

    #[test]
    fn capabilities_of_a_namespace_become_ordinary_ones() {
        let mut value = vec![1, 0, 0, 3, 9, 9, 9, 9, 0, 0, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0];
        value.extend(100_000u32.to_le_bytes());
        let inside = shift().attribute_inside(b"security.capability", value.clone());
        let mut expected = value[..20].to_vec();
        expected[3] = 2;
        assert_eq!(inside, Some(expected.clone()));
        // One of another namespace means nothing here; one without a namespace stays.
        value[20] ^= 1;
        assert_eq!(shift().attribute_inside(b"security.capability", value), None);
        assert_eq!(
            shift().attribute_inside(b"security.capability", expected.clone()),
            Some(expected)
        );
    }

    #[test]
    fn ids_in_access_control_lists_are_shifted() {
        let entry = |tag: u16, id: u32| {
            let mut bytes = tag.to_le_bytes().to_vec();
            bytes.extend([7, 0]);
            bytes.extend(id.to_le_bytes());
            bytes
        };
        let list = |user: u32, group: u32| {
            let mut bytes = vec![2, 0, 0, 0];
            bytes.extend(entry(1, u32::MAX));
            bytes.extend(entry(2, user));
            bytes.extend(entry(8, group));
            bytes
        };
        let name = b"system.posix_acl_access";
        let outside = shift().attribute_outside(name, list(5, 5001)).unwrap();
        assert_eq!(outside, list(100_005, 205_001));
        assert_eq!(shift().attribute_inside(name, outside), Some(list(5, 5001)));
        assert_eq!(shift().attribute_outside(name, list(5, 2000)), None);
        assert_eq!(shift().attribute_outside(b"trusted.x", vec![]), None);
    }
}
