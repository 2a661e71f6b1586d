//! The client against registries on loopback that behave well, badly, and like docker's own.

mod auth;
mod lists;
mod pull;
mod push;
mod real;
mod safety;

use std::path::Path;
use std::time::Duration;

use oci::{Digest, Reference};
use testkit::registry::LyingRegistry;

use super::*;

/// Settings that touch nothing of the host, with short waits between attempts and long ones for a busy machine.
pub(super) fn config() -> ClientConfig {
    ClientConfig {
        certs_dirs: Vec::new(),
        proxies: Proxies::none(),
        timeouts: Timeouts {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(20),
            idle: Duration::from_secs(20),
            attempts: 3,
            back_off: Duration::from_millis(5),
            retry_after: Duration::from_secs(2),
        },
        names: NameSources {
            hosts: "/nonexistent/hosts".into(),
            resolv_conf: "/nonexistent/resolv.conf".into(),
        },
        ..ClientConfig::standard("test")
    }
}

/// Like [`config`], but gives up on a silent registry soon.
pub(super) fn impatient() -> ClientConfig {
    let mut config = config();
    config.timeouts.answer = Duration::from_millis(300);
    config.timeouts.idle = Duration::from_millis(300);
    config
}

pub(super) fn repository_of(
    registry: &LyingRegistry,
    config: ClientConfig,
    credentials: Credentials,
) -> Repository {
    let reference = Reference::parse(&format!("{}/a/b", registry.address())).unwrap();
    Client::new(config)
        .unwrap()
        .repository(&reference, credentials, Access::Push)
}

pub(super) fn repository(registry: &LyingRegistry) -> Repository {
    repository_of(registry, config(), Credentials::Anonymous)
}

pub(super) fn basic(username: &str, password: &str) -> Credentials {
    Credentials::Basic {
        username: username.to_owned(),
        password: base::secret::Secret::new(password),
    }
}

pub(super) fn parse(digest: &str) -> Digest {
    digest.parse().unwrap()
}

pub(super) fn tag(name: &str) -> Target {
    Target::Tag(name.to_owned())
}

/// Reads a body to its end, or to its error, which comes with what was read.
pub(super) async fn read(mut body: BlobBody) -> (Vec<u8>, Option<RegistryError>) {
    let mut bytes = Vec::new();
    loop {
        match body.chunk().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return (bytes, None),
            Err(error) => return (bytes, Some(error)),
        }
    }
}

pub(super) fn write(path: &Path, text: &str) {
    use std::io::Write as _;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    base::file::create_new(path, 0o600)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Everything that an error says, in all ways in which it can be printed.
pub(super) fn whole(error: &RegistryError) -> String {
    format!("{} {error:?} {error:#?}", base::error::chain(error))
}

pub(super) fn chain(error: &RegistryError) -> String {
    base::error::chain(error).to_string()
}

/// Bytes without a pattern that a mistake could repeat.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}
