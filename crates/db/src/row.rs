//! What the tables hold.

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRow {
    /// Its id, 64 hex digits.
    pub id: String,
    /// Its name, unique.
    pub name: String,
    /// Its slot of host ids, unique; `None` without a user namespace of its own.
    pub slot: Option<u32>,
    /// What it was asked to be, as JSON; changes seldom.
    pub config: String,
    /// Where it is in its life, as JSON; changes often.
    pub state: String,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRow {
    /// Its name, unique.
    pub name: String,
    /// Everything else, as JSON.
    pub document: String,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRow {
    /// Its id, 64 hex digits.
    pub id: String,
    /// Its name, unique.
    pub name: String,
    /// Everything else, as JSON.
    pub document: String,
}

/// A row that cannot be used; it stays in its table under quarantine and the rest goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}
