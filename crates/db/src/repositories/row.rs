//! What is read from and written to the tables.

/// One manifest of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRow {
    /// Its digest.
    pub digest: String,
    /// What it was pushed as.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the manifest that it speaks about.
    pub subject: Option<String>,
    /// What kind of artifact it is.
    pub artifact_type: Option<String>,
    /// Its annotations as a JSON object.
    pub annotations: Option<String>,
}

/// Something that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its digest.
    pub digest: String,
    /// Whether it is a manifest, or a blob.
    pub is_manifest: bool,
    /// Whether the repository must have it.
    pub is_required: bool,
}

impl Child {
    /// Returns a manifest that the repository must have.
    pub fn manifest(digest: &str) -> Self {
        Self {
            digest: digest.to_owned(),
            is_manifest: true,
            is_required: true,
        }
    }

    /// Returns a blob that the repository must have.
    pub fn blob(digest: &str) -> Self {
        Self {
            is_manifest: false,
            ..Self::manifest(digest)
        }
    }
}

/// What a tag points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRow {
    /// The manifest's digest.
    pub manifest: String,
    /// When it was last pointed there.
    pub since: i64,
}

/// An upload that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRow {
    /// Its id.
    pub id: String,
    /// The repository's name.
    pub repository: String,
    /// When it began.
    pub since: i64,
}

/// What became of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is recorded.
    Stored,
    /// Nothing was recorded: the repository does not have these.
    Unknown(Vec<String>),
}

/// What became of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Done,
    /// There was none.
    Missing,
    /// This manifest needs it.
    NeededBy(String),
}
