//! Values of `--publish` and `--expose`, read as docker's client reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

use api_types::network::PortBinding;

/// What `--publish` asks for: by port of the container, such as `80/tcp`, the places on the host, in the order given.
pub(crate) type Published = BTreeMap<String, Option<Vec<PortBinding>>>;

/// Reads all values of `--publish`.
pub(crate) fn parse_publish(texts: &[&str]) -> Result<Published, String> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(parse_one(&short_form(text)?)?);
    }
    // A map that is made of what is sorted costs a tenth of one into which ten thousand ports are put one by one.
    all.sort_by(|(first, _), (second, _)| first.cmp(second));
    let mut published: Vec<(String, Option<Vec<PortBinding>>)> = Vec::with_capacity(all.len());
    for (port, binding) in all {
        match published.last_mut() {
            Some((last, Some(bindings))) if *last == port => bindings.push(binding),
            _ => published.push((port, Some(vec![binding]))),
        }
    }
    Ok(published.into_iter().collect())
}

/// Turns `published=8080,target=80,protocol=udp` into `8080:80/udp`; leaves the short form as it is.
fn short_form(text: &str) -> Result<String, String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for option in text.split(',') {
        let (name, value) = option
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| {
                format!("invalid publish opts format (should be name=value but got '{option}')")
            })?;
        match name {
            "published" => published = value,
            "target" => target = value,
            "protocol" => protocol = value,
            // A word of swarm's services, which compose files carry along; without a swarm there is one mode.
            "mode" if matches!(value, "host" | "ingress") => {}
            _ => {
                return Err(format!(
                    "--publish {option} is not supported: published, target and protocol are"
                ));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Reads `[IP:][HOST[-HOST]:]PORT[-PORT][/PROTOCOL]`.
fn parse_one(text: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let (ip, host, container) = split(text);
    let ip = address(ip)?;
    let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (first, last) = range(container).map_err(|_reason| format!("invalid containerPort: {container}"))?;
    let on_host = match host {
        "" => None,
        host => Some(range(host).map_err(|_reason| format!("invalid hostPort: {host}"))?),
    };
    // A range on the host for one port of the container: any of them.
    if let Some((host_first, host_last)) = on_host
        && host_last - host_first != last - first
        && first != last
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(format!("invalid proto: {protocol}")),
    };
    let bindings = (first..=last).map(|port| {
        let host_port = match on_host {
            None => String::new(),
            Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
            Some((from, _)) => (u32::from(from) + u32::from(port - first)).to_string(),
        };
        let binding = PortBinding {
            host_ip: ip.clone(),
            host_port,
        };
        (format!("{port}/{protocol}"), binding)
    });
    Ok(bindings.collect())
}

/// Splits at the last two colons: address, port of the host, port of the container.
fn split(text: &str) -> (&str, &str, &str) {
    match text.rsplit_once(':') {
        None => ("", "", text),
        Some((before, container)) => match before.rsplit_once(':') {
            None => ("", before, container),
            Some((ip, host)) => (ip, host, container),
        },
    }
}

fn address(text: &str) -> Result<String, String> {
    let bare = match text.strip_prefix('[') {
        None => text,
        Some(rest) => rest
            .strip_suffix(']')
            .ok_or_else(|| format!("invalid IP address {text}: address {text}:: missing ']' in address"))?,
    };
    if !bare.is_empty() && IpAddr::from_str(bare).is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    Ok(bare.to_owned())
}

/// Reads `PORT[-PORT]`; the texts are those of docker's library.
fn range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((first, last))
}

/// Reads the number of a port; the texts are those of docker's library.
pub(crate) fn number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let problem = if digits {
        "value out of range"
    } else {
        "invalid syntax"
    };
    let parsed = Some(text).filter(|_| digits).and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| format!("strconv.ParseUint: parsing \"{text}\": {problem}"))
}

/// Reads all values of `--expose`, `PORT[-PORT][/PROTOCOL]`, as the names of ports.
pub(crate) fn parse_expose(texts: &[&str]) -> Result<BTreeSet<String>, String> {
    let mut ports = BTreeSet::new();
    for text in texts {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        let (first, last) = range(port)
            .map_err(|reason| format!("invalid range format for --expose: {text}, error: {reason}"))?;
        ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<String, String> {
        let published = parse_publish(&[text])?;
        let all = published.iter().flat_map(|(port, bindings)| {
            bindings
                .iter()
                .flatten()
                .map(move |binding| format!("{}>{}>{port}", binding.host_ip, binding.host_port))
        });
        Ok(all.collect::<Vec<_>>().join(" "))
    }

    // What docker makes of a hundred spellings is in golden/docker-28.2.2.jsonl; here is where Berth is stricter.
    #[test]
    fn what_docker_reads_in_part_is_refused_as_a_whole() {
        for (text, problem) in [
            ("80-81-82", "invalid containerPort: 80-81-82"),
            ("80/tcp/udp", "invalid proto: tcp/udp"),
            (
                "published=1,target=2,host_ip=127.0.0.1",
                "--publish host_ip=127.0.0.1 is not supported: published, target and protocol are",
            ),
            (
                "published=1,target=2,mode=x",
                "--publish mode=x is not supported: published, target and protocol are",
            ),
        ] {
            assert_eq!(one(text).unwrap_err(), problem, "{text}");
        }
    }

    #[test]
    fn the_largest_ranges() {
        assert_eq!(parse_publish(&["1-65535:1-65535"]).unwrap().len(), 65535);
        assert_eq!(parse_expose(&["0-65535/udp"]).unwrap().len(), 65536);
        assert_eq!(one("65535:65535"), Ok(">65535>65535/tcp".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[0-9:\\[\\]./a-z=,-]{0,40}") {
            let _outcome = parse_publish(&[&text]);
            let _outcome = parse_expose(&[&text]);
        }
    }
}
