//! The ids of a container's user namespace.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::check::InvalidError;
use crate::config::{HostConfig, IdMap};

/// Which host ids are a container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Users.
    pub users: Vec<IdMap>,
    /// Groups.
    pub groups: Vec<IdMap>,
}

/// `UID_GID_MAP_MAX_EXTENTS` of linux/user_namespace.h.
const MOST_RANGES: usize = 340;

impl Ids {
    /// Returns the ids 0, 1, 2, … of a container that begin with the host's `base`.
    pub fn range(base: u32, count: u32) -> Self {
        let map = vec![IdMap {
            container: 0,
            host: base,
            size: count,
        }];
        Self {
            users: map.clone(),
            groups: map,
        }
    }

    /// Returns the maps that a request names, if it names any.
    pub fn requested(host: &HostConfig) -> Option<Self> {
        let (users, groups) = match (host.uid_maps.is_empty(), host.gid_maps.is_empty()) {
            (true, true) => return None,
            (false, true) => (&host.uid_maps, &host.uid_maps),
            (true, false) => (&host.gid_maps, &host.gid_maps),
            (false, false) => (&host.uid_maps, &host.gid_maps),
        };
        Some(Self {
            users: users.clone(),
            groups: groups.clone(),
        })
    }

    /// Returns the host's ids of the container's root.
    pub fn root(&self) -> (u32, u32) {
        (root(&self.users), root(&self.groups))
    }

    /// Returns how many ids from 0 on follow one another on the host as well.
    pub fn first_range(&self) -> u32 {
        let of = |maps: &[IdMap]| zero(maps).map_or(0, |map| map.size);
        of(&self.users).min(of(&self.groups))
    }

    /// Returns whether a group has this id.
    pub(crate) fn has_group(&self, id: u32) -> bool {
        self.groups.iter().any(|map| {
            id.checked_sub(map.container)
                .is_some_and(|offset| offset < map.size)
        })
    }

    /// Returns the largest host id.
    pub fn last_host_id(&self) -> u32 {
        let ends = self.users.iter().chain(&self.groups).map(end_on_host);
        ends.max().unwrap_or(0)
    }

    /// Returns `uidMappings` and `gidMappings` of the OCI document.
    pub(crate) fn to_oci(&self) -> (Value, Value) {
        let list = |maps: &[IdMap]| {
            maps.iter()
                .map(|map| json!({"containerID": map.container, "hostID": map.host, "size": map.size}))
                .collect()
        };
        (list(&self.users), list(&self.groups))
    }
}

fn zero(maps: &[IdMap]) -> Option<&IdMap> {
    maps.iter().find(|map| map.container == 0)
}

fn root(maps: &[IdMap]) -> u32 {
    zero(maps).map_or(0, |map| map.host)
}

fn end_on_host(map: &IdMap) -> u32 {
    map.host.saturating_add(map.size.saturating_sub(1))
}

/// Checks the maps of a request: id 0 has a place in each, no range is empty or leaves the numbers, none meets another.
pub(crate) fn check(host: &HostConfig) -> Result<(), InvalidError> {
    for (flag, maps) in [("--uidmap", &host.uid_maps), ("--gidmap", &host.gid_maps)] {
        let fail = |why: &str| Err(InvalidError::new(format!("invalid {flag}: {why}")));
        if maps.is_empty() {
            continue;
        }
        if maps.len() > MOST_RANGES {
            return fail("the kernel takes 340 ranges at most");
        }
        let fits = |first: u32, size: u32| size > 0 && first.checked_add(size).is_some();
        if !maps
            .iter()
            .all(|map| fits(map.container, map.size) && fits(map.host, map.size))
        {
            return fail("a range is empty or too large");
        }
        if zero(maps).is_none() {
            return fail("id 0 of the container is not mapped, and every container starts as its root");
        }
        let meets = |first: fn(&IdMap) -> u32| {
            let mut ranges: Vec<(u32, u32)> = maps.iter().map(|map| (first(map), map.size)).collect();
            ranges.sort_unstable();
            ranges
                .windows(2)
                .any(|pair| pair[0].0.saturating_add(pair[0].1) > pair[1].0)
        };
        if meets(|map| map.container) || meets(|map| map.host) {
            return fail("two ranges overlap");
        }
    }
    Ok(())
}

/// Checks `--time-offset`.
pub(crate) fn check_clocks(offsets: &BTreeMap<String, i64>) -> Result<(), InvalidError> {
    match offsets
        .keys()
        .find(|clock| !matches!(clock.as_str(), "boottime" | "monotonic"))
    {
        Some(clock) => Err(InvalidError::new(format!(
            "invalid time offset: clock \"{}\" cannot be shifted, only boottime and monotonic",
            crate::check::shown(clock)
        ))),
        None => Ok(()),
    }
}

/// Returns `timeOffsets` of the OCI document; its nanoseconds count upwards also before zero.
pub(crate) fn clocks_to_oci(offsets: &BTreeMap<String, i64>) -> Value {
    const SECOND: i64 = 1_000_000_000;
    let clocks = offsets.iter().map(|(clock, &nanos)| {
        let offset = json!({"secs": nanos.div_euclid(SECOND), "nanosecs": nanos.rem_euclid(SECOND)});
        (clock.clone(), offset)
    });
    Value::Object(clocks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(list: &[(u32, u32, u32)]) -> HostConfig {
        HostConfig {
            uid_maps: list
                .iter()
                .map(|&(container, host, size)| IdMap {
                    container,
                    host,
                    size,
                })
                .collect(),
            ..HostConfig::default()
        }
    }

    #[test]
    fn maps_are_checked() {
        for good in [
            &[(0, 100_000, 1000)][..],
            &[(1, 5, 10), (0, 4, 1)],
            &[(0, u32::MAX - 1, 1)],
            &[],
        ] {
            check(&maps(good)).unwrap();
        }
        for bad in [
            &[(1, 100_000, 1000)][..],
            &[(0, 1, 0)],
            &[(0, u32::MAX, 1)],
            &[(0, 1, u32::MAX)],
            &[(0, 10, 10), (5, 100, 1)],
            &[(0, 10, 10), (10, 19, 1)],
        ] {
            assert!(check(&maps(bad)).is_err(), "{bad:?}");
        }
        assert!(check(&maps(&vec![(0, 0, 1); 341])).is_err());
    }

    #[test]
    fn one_list_is_meant_for_both() {
        let ids = Ids::requested(&maps(&[(0, 100_000, 1000)])).unwrap();
        assert_eq!(ids.users, ids.groups);
        assert_eq!((ids.root(), ids.first_range()), ((100_000, 100_000), 1000));
        assert_eq!(ids.last_host_id(), 100_999);
        assert!(ids.has_group(5) && !ids.has_group(1000));
        assert!(Ids::requested(&HostConfig::default()).is_none());
    }

    #[test]
    fn nanoseconds_are_never_negative() {
        let offsets = BTreeMap::from([("boottime".to_owned(), -1_500_000_000)]);
        assert_eq!(
            clocks_to_oci(&offsets),
            json!({"boottime": {"secs": -2, "nanosecs": 500_000_000}})
        );
        assert!(check_clocks(&BTreeMap::from([("realtime".to_owned(), 1)])).is_err());
    }
}
