//! docker's `config.json`: `auths`, `credsStore` and `credHelpers`; everything else in it is kept as it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use api_types::registry::AuthConfig;
use base::file::FileError;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::host_of;

/// Largest file that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileProblem {
    /// A step failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what docker writes.
    #[error("read \"{}\"", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// An entry of `auths` is not what docker writes. The entry is not shown.
    #[error("invalid auth configuration file \"{}\": the entry for \"{server}\" is damaged", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The registry.
        server: String,
    },
}

/// The file, as it was read and changed since.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    /// All keys but `auths`, as they were written.
    others: Members,
    /// The entries of `auths`, as they were written.
    auths: Members,
    stores: Stores,
}

/// Where credentials are kept, if not here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stores {
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
}

/// One entry of `auths`.
#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl ConfigFile {
    /// Reads the file; one that is not there is empty.
    pub(crate) fn read(path: &Path) -> Result<Self, FileProblem> {
        let parse = |source| FileProblem::Parse {
            path: path.to_owned(),
            source,
        };
        let text = base::file::read_optional(path, LIMIT)?.unwrap_or_default();
        let mut file = Self {
            path: path.to_owned(),
            others: Members::default(),
            auths: Members::default(),
            stores: Stores::default(),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(file);
        }
        file.stores = serde_json::from_slice(&text).map_err(parse)?;
        file.others = serde_json::from_slice(&text).map_err(parse)?;
        if let Some(auths) = file.others.remove("auths") {
            file.auths = serde_json::from_str::<Option<Members>>(auths.get())
                .map_err(parse)?
                .unwrap_or_default();
        }
        Ok(file)
    }

    /// Returns where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of the helper that keeps the credentials of a registry.
    pub(crate) fn helper_name(&self, server: &str) -> Option<String> {
        let helpers = self.stores.cred_helpers.iter().flatten();
        let own = helpers.filter(|(name, _)| *name == server || *name == host_of(server));
        own.map(|(_, helper)| helper)
            .chain(&self.stores.creds_store)
            .find(|helper| !helper.is_empty())
            .cloned()
    }

    /// Returns whether there is an entry of that name, also an empty one.
    pub(crate) fn has_auth(&self, server: &str) -> bool {
        self.auths.get(server).is_some()
    }

    /// Returns the credentials for a registry that are in the file itself.
    pub(crate) fn auth(&self, server: &str) -> Result<Option<AuthConfig>, FileProblem> {
        // Old versions of docker wrote URLs; the host decides.
        let by_host = || {
            let mut entries = self.auths.0.iter();
            entries.find(|(name, _)| host_of(name) == host_of(server))
        };
        let exact = self.auths.0.iter().find(|(name, _)| name == server);
        let Some((name, text)) = exact.or_else(by_host) else {
            return Ok(None);
        };
        let damaged = || FileProblem::Entry {
            path: self.path.clone(),
            server: name.clone(),
        };
        // serde's message would show a piece of the entry.
        let entry: Entry =
            serde_json::from_str(text.get()).map_err(|_shows_it: serde_json::Error| damaged())?;
        let mut auth = AuthConfig {
            username: entry.username.unwrap_or_default(),
            password: entry.password.unwrap_or_default(),
            serveraddress: server.to_owned(),
            identitytoken: entry.identitytoken.unwrap_or_default(),
            registrytoken: entry.registrytoken.unwrap_or_default(),
            ..AuthConfig::default()
        };
        if let Some(both) = entry.auth.filter(|both| !both.is_empty()) {
            let both = base::base64::decode(&both).and_then(|both| String::from_utf8(both).ok());
            let both = both.ok_or_else(damaged)?;
            let (username, password) = both.split_once(':').ok_or_else(damaged)?;
            auth.username = username.to_owned();
            auth.password = password.trim_matches('\0').to_owned();
        }
        let empty =
            auth.username.is_empty() && auth.identitytoken.is_empty() && auth.registrytoken.is_empty();
        Ok((!empty).then_some(auth))
    }

    /// Puts an entry in place: the credentials, or nothing where a helper has them.
    pub(crate) fn set_auth(&mut self, server: &str, auth: Option<&AuthConfig>) {
        let mut entry = BTreeMap::new();
        if let Some(auth) = auth {
            if !auth.username.is_empty() {
                let both = format!("{}:{}", auth.username, auth.password);
                entry.insert("auth", base::base64::encode(both.as_bytes()));
            }
            for (name, token) in [
                ("identitytoken", &auth.identitytoken),
                ("registrytoken", &auth.registrytoken),
            ] {
                if !token.is_empty() {
                    entry.insert(name, token.clone());
                }
            }
        }
        let lines: Vec<String> = entry
            .iter()
            .map(|(name, value)| format!("\t\t\t\"{name}\": {}", quote(value)))
            .collect();
        let text = if lines.is_empty() {
            "{}".to_owned()
        } else {
            format!("{{\n{}\n\t\t}}", lines.join(",\n"))
        };
        // Made of quoted strings just above.
        if let Ok(text) = RawValue::from_string(text) {
            self.auths.set(server, text);
        }
    }

    /// Takes an entry away.
    pub(crate) fn remove_auth(&mut self, server: &str) {
        self.auths.remove(server);
    }

    /// Writes the file at once, readable by its owner only. A link is followed, as docker does: people keep the file
    /// elsewhere.
    pub(crate) fn write(&self) -> Result<(), FileProblem> {
        let target = std::fs::read_link(&self.path).map_or_else(
            |_not_a_link| self.path.clone(),
            |target| self.path.parent().unwrap_or(Path::new(".")).join(target),
        );
        let directory = target.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| FileError::new("create", directory, error))?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = target.with_file_name(name);
        let failed = |error: io::Error| FileError::new("write", &temporary, error);
        let mut file = base::file::create_new(&temporary, 0o600)?;
        let written = self.write_to(&mut file, &target).map_err(failed);
        let shown = written.and_then(|()| {
            std::fs::rename(&temporary, &target).map_err(|error| FileError::new("replace", &target, error))
        });
        if let Err(error) = shown {
            let _left_over = std::fs::remove_file(&temporary);
            return Err(error.into());
        }
        Ok(base::file::sync_parent(&target)?)
    }

    fn write_to(&self, file: &mut std::fs::File, target: &Path) -> io::Result<()> {
        // Under sudo the file stays its owner's.
        if let Ok(old) = std::fs::metadata(target)
            && old.uid() != file.metadata()?.uid()
        {
            std::os::unix::fs::fchown(&*file, Some(old.uid()), Some(old.gid()))?;
        }
        file.write_all(self.text().as_bytes())?;
        file.sync_all()
    }

    fn text(&self) -> String {
        let mut members = Vec::new();
        if !self.auths.0.is_empty() {
            members.push(format!("\t\"auths\": {}", object(&self.auths, "\t")));
        }
        for (name, value) in &self.others.0 {
            members.push(format!("\t{}: {}", quote(name), value.get()));
        }
        if members.is_empty() {
            return "{}\n".to_owned();
        }
        format!("{{\n{}\n}}\n", members.join(",\n"))
    }
}

fn object(members: &Members, indent: &str) -> String {
    let lines: Vec<String> = members
        .0
        .iter()
        .map(|(name, value)| format!("{indent}\t{}: {}", quote(name), value.get()))
        .collect();
    format!("{{\n{}\n{indent}}}", lines.join(",\n"))
}

fn quote(text: &str) -> String {
    // A string always encodes.
    serde_json::to_string(text).unwrap_or_default()
}

/// The members of a JSON object in their order, each value as it was written. Values may be secrets.
#[derive(Default)]
struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    fn get(&self, name: &str) -> Option<&RawValue> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| &**value)
    }

    fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn remove(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.remove(at).1)
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_set()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = super::file::Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = super::file::Members::default();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.set(&name, value);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members)
    }
}
