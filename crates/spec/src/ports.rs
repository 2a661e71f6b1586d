//! Ports that a container shows, and those that are to be reached. Neighbours are one entry, so that ten thousand ports
//! cost what one does, in memory as in a record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Returns docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl std::str::FromStr for Protocol {
    type Err = ();

    /// Reads docker's word in any case.
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
            .ok_or(())
    }
}

/// Neighbouring ports of the container that are to be reached by ports of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortRequest {
    /// The container's first port.
    pub port: u16,
    /// How many there are, at least 1.
    pub count: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address; `None`: the daemon's default, which is all of them.
    pub host_ip: Option<IpAddr>,
    /// Of one port: the first and the last port of the host, of which one that is free is taken. Of several: twice the
    /// port of the host for the first of them, the others get those behind it. `None`: any.
    pub host_ports: Option<(u16, u16)>,
}

impl Default for PortRequest {
    fn default() -> Self {
        Self {
            port: 0,
            count: 1,
            protocol: Protocol::default(),
            host_ip: None,
            host_ports: None,
        }
    }
}

impl PortRequest {
    /// Returns a request for each of the ports.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..self.count).map(move |at| Self {
            port: self.port.saturating_add(at),
            count: 1,
            host_ports: match self.host_ports {
                Some((first, last)) if self.count > 1 => {
                    Some((first.saturating_add(at), last.saturating_add(at)))
                }
                single => single,
            },
            ..self
        })
    }

    /// Returns whether a port is among them.
    pub fn has(&self, port: u16, protocol: Protocol) -> bool {
        self.protocol == protocol && port.checked_sub(self.port).is_some_and(|at| at < self.count)
    }

    /// Adds it to the end of `requests`, as a part of the last one if it goes on there.
    pub fn add_to(self, requests: &mut Vec<Self>) {
        match requests.last_mut() {
            Some(last) if last.goes_on_with(&self) => last.count += self.count,
            _ => requests.push(self),
        }
    }

    fn goes_on_with(&self, next: &Self) -> bool {
        let follows = |first: u16, next: u16| first.checked_add(self.count) == Some(next);
        let host_follows = match (self.host_ports, next.host_ports) {
            (None, None) => true,
            (Some((first, last)), Some((next, next_last))) => {
                first == last && next == next_last && follows(first, next)
            }
            _ => false,
        };
        (self.protocol, self.host_ip) == (next.protocol, next.host_ip)
            && host_follows
            && follows(self.port, next.port)
            && self.count.checked_add(next.count).is_some()
    }
}

/// Names of ports, such as `80/tcp`. Other names are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortNames {
    /// The last port of each run, by its protocol and first port. No two of them meet.
    runs: BTreeMap<(Protocol, u16), u16>,
    others: BTreeSet<String>,
}

/// What a name that is no port begins with in a record.
const OTHER: char = '=';

impl PortNames {
    /// Adds a name.
    pub fn insert(&mut self, name: &str) {
        match parse(name) {
            Some((port, protocol)) => self.insert_run(protocol, port, port),
            None => {
                self.others.insert(name.to_owned());
            }
        }
    }

    /// Returns whether a name is among them.
    pub fn contains(&self, name: &str) -> bool {
        match parse(name) {
            Some((port, protocol)) => self
                .runs
                .range(..=(protocol, port))
                .next_back()
                .is_some_and(|(&(its, _), &last)| its == protocol && last >= port),
            None => self.others.contains(name),
        }
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.others.is_empty()
    }

    /// Returns the ports that are named, also in unusual forms: `80` is `80/tcp`.
    pub fn ports(&self) -> impl Iterator<Item = (u16, Protocol)> {
        let others = self.others.iter().filter_map(|name| {
            let (port, protocol) = name.split_once('/').unwrap_or((name, "tcp"));
            Some((port.parse().ok()?, protocol.parse().ok()?))
        });
        self.usual().chain(others)
    }

    fn usual(&self) -> impl Iterator<Item = (u16, Protocol)> {
        let runs = self.runs.iter();
        runs.flat_map(|(&(protocol, first), &last)| (first..=last).map(move |port| (port, protocol)))
    }

    /// Returns the names.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        let ports = self
            .usual()
            .map(|(port, protocol)| format!("{port}/{}", protocol.as_str()));
        ports.chain(self.others.iter().cloned())
    }

    fn insert_run(&mut self, protocol: Protocol, mut first: u16, mut last: u16) {
        // Whatever meets it, or is next to it, becomes part of it.
        while let Some((&(its, from), &until)) =
            self.runs.range(..=(protocol, last.saturating_add(1))).next_back()
            && its == protocol
            && until.saturating_add(1) >= first
        {
            self.runs.remove(&(its, from));
            first = first.min(from);
            last = last.max(until);
        }
        self.runs.insert((protocol, first), last);
    }
}

/// Reads a name in its usual form.
fn parse(name: &str) -> Option<(u16, Protocol)> {
    let (digits, word) = name.split_once('/')?;
    let (port, protocol): (u16, Protocol) = (digits.parse().ok()?, word.parse().ok()?);
    // `+80`, `080` and `80/TCP` stay what they are.
    let is_usual = word == protocol.as_str()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    is_usual.then_some((port, protocol))
}

impl<S: AsRef<str>> Extend<S> for PortNames {
    fn extend<I: IntoIterator<Item = S>>(&mut self, names: I) {
        for name in names {
            self.insert(name.as_ref());
        }
    }
}

impl<S: AsRef<str>> FromIterator<S> for PortNames {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut all = Self::default();
        all.extend(names);
        all
    }
}

/// A list of texts: `80/tcp`, `8000-8099/udp`, and names that are no port behind an `=`.
impl Serialize for PortNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let runs = self.runs.iter().map(|(&(protocol, first), &last)| {
            let protocol = protocol.as_str();
            if first == last {
                format!("{first}/{protocol}")
            } else {
                format!("{first}-{last}/{protocol}")
            }
        });
        serializer.collect_seq(runs.chain(self.others.iter().map(|name| format!("{OTHER}{name}"))))
    }
}

impl<'de> Deserialize<'de> for PortNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Self::default();
        for text in Vec::<String>::deserialize(deserializer)? {
            if let Some(name) = text.strip_prefix(OTHER) {
                all.others.insert(name.to_owned());
            } else if let Some((first, rest)) = text.split_once('-')
                && let Some((last, protocol)) = parse(rest)
                && let Ok(first) = first.parse()
            {
                if first > last {
                    return Err(D::Error::custom(format!("{text:?} is no range of ports")));
                }
                all.insert_run(protocol, first, last);
            } else {
                all.insert(&text);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(names: &PortNames) -> String {
        serde_json::to_string(names).unwrap()
    }

    #[test]
    fn neighbours_are_one_entry_and_other_names_stay() {
        let names: PortNames = [
            "81/tcp", "80/tcp", "83/tcp", "80/udp", "82/tcp", "80", "080/tcp", "9/TCP", "1-2/tcp", "=x",
        ]
        .into_iter()
        .collect();
        assert_eq!(
            written(&names),
            r#"["80-83/tcp","80/udp","=080/tcp","=1-2/tcp","=80","=9/TCP","==x"]"#
        );
        assert_eq!(names.iter().count(), 10);
        let unusual: Vec<_> = names.ports().skip(5).collect();
        assert_eq!(
            unusual,
            [(80, Protocol::Tcp), (80, Protocol::Tcp), (9, Protocol::Tcp)]
        );
        assert!(names.contains("82/tcp") && names.contains("1-2/tcp") && !names.contains("84/tcp"));
        assert!(!names.contains("82/udp") && !names.contains("79/udp") && !names.is_empty());
        let read: PortNames = serde_json::from_str(&written(&names)).unwrap();
        assert_eq!(read, names);
        assert!(serde_json::from_str::<PortNames>(r#"["9-8/tcp"]"#).is_err());
        let all: PortNames = (0..=u16::MAX).map(|port| format!("{port}/sctp")).collect();
        assert_eq!(written(&all), r#"["0-65535/sctp"]"#);
    }

    #[test]
    fn what_was_recorded_before_is_read() {
        let names: PortNames = serde_json::from_str(r#"["80/tcp","81/tcp","weird"]"#).unwrap();
        assert_eq!(names.iter().collect::<Vec<_>>(), ["80/tcp", "81/tcp", "weird"]);
        let request: PortRequest =
            serde_json::from_str(r#"{"port":80,"protocol":"tcp","host_ip":null,"host_ports":[1,2]}"#)
                .unwrap();
        assert_eq!((request.count, request.host_ports), (1, Some((1, 2))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any ports in any order are those that a plain set would have, and each request is found again.
        #[test]
        fn runs_say_what_single_ports_would(ports in prop::collection::vec((0_u16..40, 0_u16..3, 0_u8..2), 0..80)) {
            let mut plain = BTreeSet::new();
            let mut names = PortNames::default();
            let mut singles = Vec::new();
            let mut requests = Vec::new();
            for (port, host, udp) in ports {
                let protocol = if udp == 1 { Protocol::Udp } else { Protocol::Tcp };
                let name = format!("{port}/{}", protocol.as_str());
                names.insert(&name);
                plain.insert(name);
                let request = PortRequest {
                    port,
                    protocol,
                    host_ports: [None, Some((port, port)), Some((port, port + 1))][usize::from(host)],
                    ..PortRequest::default()
                };
                singles.push(request);
                request.add_to(&mut requests);
            }
            prop_assert_eq!(names.iter().collect::<BTreeSet<_>>(), plain);
            let again: Vec<_> = requests.into_iter().flat_map(PortRequest::each).collect();
            prop_assert_eq!(again, singles);
        }
    }
}
