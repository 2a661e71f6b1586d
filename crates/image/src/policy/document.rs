//! The policy's grammar. What is not known is an error: a rule that was misspelt must not be a rule that is not there.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use oci::Reference;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::signature::{Identity, PublicKey, Signed};

/// The whole file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) default: Vec<Requirement>,
    /// Transport, scope, requirements.
    pub(super) transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
    /// The files that keys were read from.
    pub(super) key_files: Vec<PathBuf>,
}

/// One thing that must hold; all of a list must.
#[derive(Debug)]
pub(super) enum Requirement {
    Accept,
    Reject,
    Signed(Signed),
}

impl Requirement {
    /// Returns its type as the file has it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Accept => "insecureAcceptAnything",
            Self::Reject => "reject",
            Self::Signed(_) => "sigstoreSigned",
        }
    }
}

/// Transports that containers-policy.json(5) and containers-transports(5) name.
const TRANSPORTS: [&str; 12] = [
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "dir",
    "atomic",
    "containers-storage",
    "tarball",
    "ostree",
    "sif",
    "test",
];
/// Transports of which Berth reads streams, so that a path cannot choose a rule, and images of its own.
const WITHOUT_SCOPES: [&str; 4] = ["docker-archive", "oci-archive", "tarball", "containers-storage"];
/// Largest key in bytes.
const MAX_KEY: u64 = 64 << 10;

impl Document {
    /// Reads a policy and the keys that it names; says what is wrong.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let raw: RawDocument = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let mut key_files = Vec::new();
        let default = requirements("default", raw.default, &mut key_files)?;
        let mut transports = BTreeMap::new();
        for (transport, scopes) in raw.transports.unwrap_or_default().0 {
            if !TRANSPORTS.contains(&transport.as_str()) {
                return Err(format!("unknown transport \"{}\"", short(&transport)));
            }
            let mut checked = BTreeMap::new();
            for (scope, list) in scopes.0 {
                let place = format!("transports.{transport}.\"{}\"", short(&scope));
                if !scope.is_empty() && WITHOUT_SCOPES.contains(&transport.as_str()) {
                    return Err(format!("{place}: only the scope \"\" is supported"));
                }
                if transport == "docker" {
                    super::scope::check(&scope).map_err(|problem| format!("{place}: {problem}"))?;
                }
                checked.insert(scope, requirements(&place, list, &mut key_files)?);
            }
            transports.insert(transport, checked);
        }
        Ok(Self {
            default,
            transports,
            key_files,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    default: Vec<RawRequirement>,
    transports: Option<Unique<Unique<Vec<RawRequirement>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawRequirement {
    #[serde(rename = "type")]
    kind: String,
    key_path: Option<PathBuf>,
    key_data: Option<String>,
    key_paths: Option<Vec<PathBuf>>,
    key_datas: Option<Vec<String>>,
    signed_identity: Option<RawIdentity>,
    // Known, so that they can be refused by their names.
    key_type: Option<serde_json::Value>,
    fulcio: Option<serde_json::Value>,
    pki: Option<serde_json::Value>,
    rekor_public_key_path: Option<serde_json::Value>,
    rekor_public_key_data: Option<serde_json::Value>,
    rekor_public_key_paths: Option<serde_json::Value>,
    rekor_public_key_datas: Option<serde_json::Value>,
    base_layer_identity: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawIdentity {
    #[serde(rename = "type")]
    kind: String,
    docker_reference: Option<String>,
    docker_repository: Option<String>,
    prefix: Option<String>,
    signed_prefix: Option<String>,
}

fn requirements(
    place: &str,
    list: Vec<RawRequirement>,
    key_files: &mut Vec<PathBuf>,
) -> Result<Vec<Requirement>, String> {
    if list.is_empty() {
        return Err(format!("{place}: at least one requirement is needed"));
    }
    let read = |raw| requirement(raw, key_files).map_err(|problem| format!("{place}: {problem}"));
    list.into_iter().map(read).collect()
}

fn requirement(raw: RawRequirement, key_files: &mut Vec<PathBuf>) -> Result<Requirement, String> {
    match raw.kind.as_str() {
        "insecureAcceptAnything" | "reject" => {
            if raw.has_more() {
                return Err(format!("\"{}\" takes no other fields", raw.kind));
            }
            Ok(if raw.kind == "reject" {
                Requirement::Reject
            } else {
                Requirement::Accept
            })
        }
        "sigstoreSigned" => signed(raw, key_files).map(Requirement::Signed),
        "signedBy" | "signedBaseLayer" => Err(format!(
            "requirements of the type \"{}\" are not supported, \"sigstoreSigned\" with a key is",
            raw.kind
        )),
        other => Err(format!("unknown type of requirement \"{}\"", short(other))),
    }
}

impl RawRequirement {
    fn has_keys(&self) -> bool {
        self.key_path.is_some()
            || self.key_data.is_some()
            || self.key_paths.is_some()
            || self.key_datas.is_some()
    }

    fn has_more(&self) -> bool {
        self.has_keys() || self.signed_identity.is_some() || self.unsupported().is_some()
    }

    fn unsupported(&self) -> Option<&'static str> {
        [
            ("keyType", &self.key_type),
            ("fulcio", &self.fulcio),
            ("pki", &self.pki),
            ("rekorPublicKeyPath", &self.rekor_public_key_path),
            ("rekorPublicKeyData", &self.rekor_public_key_data),
            ("rekorPublicKeyPaths", &self.rekor_public_key_paths),
            ("rekorPublicKeyDatas", &self.rekor_public_key_datas),
            ("baseLayerIdentity", &self.base_layer_identity),
        ]
        .into_iter()
        .find_map(|(name, value)| value.is_some().then_some(name))
    }
}

fn signed(raw: RawRequirement, key_files: &mut Vec<PathBuf>) -> Result<Signed, String> {
    if let Some(name) = raw.unsupported() {
        return Err(format!("\"{name}\" is not supported"));
    }
    let mut keys = Vec::new();
    let given = [
        raw.key_path.is_some(),
        raw.key_data.is_some(),
        raw.key_paths.is_some(),
        raw.key_datas.is_some(),
    ];
    if given.iter().filter(|&&given| given).count() != 1 {
        return Err(
            "exactly one of \"keyPath\", \"keyPaths\", \"keyData\" and \"keyDatas\" is needed".to_owned(),
        );
    }
    for path in raw.key_path.into_iter().chain(raw.key_paths.unwrap_or_default()) {
        keys.push(key_in_file(&path)?);
        key_files.push(path);
    }
    for data in raw.key_data.into_iter().chain(raw.key_datas.unwrap_or_default()) {
        let pem = base::base64::decode(data.trim()).ok_or("a key's data is not base64")?;
        keys.push(PublicKey::from_pem(&pem, "a key's data")?);
    }
    if keys.is_empty() {
        return Err("at least one key is needed".to_owned());
    }
    let identity = match raw.signed_identity {
        None => Identity::MatchRepoDigestOrExact,
        Some(raw) => identity(raw)?,
    };
    Ok(Signed { keys, identity })
}

fn key_in_file(path: &Path) -> Result<PublicKey, String> {
    if !path.is_absolute() {
        return Err(format!("the key's path \"{}\" is not absolute", path.display()));
    }
    let name = format!("the key \"{}\"", path.display());
    match base::file::read_optional(path, MAX_KEY) {
        Ok(Some(pem)) => PublicKey::from_pem(&pem, &name),
        Ok(None) => Err(format!("{name} is missing")),
        Err(error) => Err(base::error::chain(&error).to_string()),
    }
}

fn identity(raw: RawIdentity) -> Result<Identity, String> {
    let fields = [
        ("dockerReference", raw.docker_reference.is_some()),
        ("dockerRepository", raw.docker_repository.is_some()),
        ("prefix", raw.prefix.is_some()),
        ("signedPrefix", raw.signed_prefix.is_some()),
    ];
    let only = |wanted: &[&str]| match fields.iter().find(|(name, is)| *is && !wanted.contains(name)) {
        Some((name, _)) => Err(format!("\"{name}\" does not belong to \"{}\"", raw.kind)),
        None => Ok(()),
    };
    let name = |text: &Option<String>, field: &str| {
        let text = text
            .as_deref()
            .ok_or_else(|| format!("\"{}\" needs \"{field}\"", raw.kind))?;
        Reference::parse(text).map_err(|error| format!("\"{field}\": {error}"))
    };
    match raw.kind.as_str() {
        "matchExact" => only(&[]).map(|()| Identity::MatchExact),
        "matchRepoDigestOrExact" => only(&[]).map(|()| Identity::MatchRepoDigestOrExact),
        "matchRepository" => only(&[]).map(|()| Identity::MatchRepository),
        "exactReference" => {
            only(&["dockerReference"])?;
            let reference = name(&raw.docker_reference, "dockerReference")?;
            if reference.tag().is_none() && reference.digest().is_none() {
                return Err("\"dockerReference\" needs a tag or a digest".to_owned());
            }
            Ok(Identity::ExactReference(reference))
        }
        "exactRepository" => {
            only(&["dockerRepository"])?;
            let reference = name(&raw.docker_repository, "dockerRepository")?;
            if reference.tag().is_some() || reference.digest().is_some() {
                return Err("\"dockerRepository\" has a tag or a digest".to_owned());
            }
            Ok(Identity::ExactRepository(reference.repository()))
        }
        "remapIdentity" => {
            only(&["prefix", "signedPrefix"])?;
            match (raw.prefix, raw.signed_prefix) {
                (Some(prefix), Some(signed_prefix)) if !prefix.is_empty() && !signed_prefix.is_empty() => {
                    Ok(Identity::Remap {
                        prefix,
                        signed_prefix,
                    })
                }
                _ => Err("\"remapIdentity\" needs \"prefix\" and \"signedPrefix\"".to_owned()),
            }
        }
        other => Err(format!("unknown type of identity \"{}\"", short(other))),
    }
}

/// A map that refuses a key given twice: two readers could take two different rules.
struct Unique<T>(BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Unique<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique<T>, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry::<String, T>()? {
                    if map.contains_key(&key) {
                        return Err(A::Error::custom(format!("\"{}\" is given twice", short(&key))));
                    }
                    map.insert(key, value);
                }
                Ok(Unique(map))
            }
        }
        deserializer.deserialize_map(Map(PhantomData))
    }
}

fn short(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}
