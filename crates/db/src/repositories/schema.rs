//! The tables, and how an older file becomes a present one.

use rusqlite::Connection;

/// One entry for each version of the schema; the file's `user_version` says how many were applied.
const MIGRATIONS: &[&str] = &[
    "CREATE TABLE repositories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
     CREATE TABLE blobs (
         repository INTEGER NOT NULL,
         digest TEXT NOT NULL,
         size INTEGER NOT NULL,
         since INTEGER NOT NULL,
         PRIMARY KEY (repository, digest)
     ) WITHOUT ROWID;
     CREATE INDEX blobs_by_digest ON blobs (digest);
     CREATE TABLE manifests (
         repository INTEGER NOT NULL,
         digest TEXT NOT NULL,
         media_type TEXT NOT NULL,
         size INTEGER NOT NULL,
         subject TEXT,
         artifact_type TEXT,
         annotations TEXT,
         since INTEGER NOT NULL,
         PRIMARY KEY (repository, digest)
     ) WITHOUT ROWID;
     CREATE INDEX manifests_by_digest ON manifests (digest);
     CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;
     -- kind: 0 a blob, 1 a manifest
     CREATE TABLE children (
         repository INTEGER NOT NULL,
         manifest TEXT NOT NULL,
         digest TEXT NOT NULL,
         kind INTEGER NOT NULL,
         PRIMARY KEY (repository, manifest, digest, kind)
     ) WITHOUT ROWID;
     CREATE INDEX children_by_digest ON children (repository, digest, kind);
     CREATE TABLE tags (
         repository INTEGER NOT NULL,
         name TEXT NOT NULL,
         manifest TEXT NOT NULL,
         since INTEGER NOT NULL,
         PRIMARY KEY (repository, name)
     ) WITHOUT ROWID;
     CREATE INDEX tags_by_manifest ON tags (repository, manifest);
     CREATE TABLE leases (digest TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
     CREATE TABLE uploads (
         id TEXT PRIMARY KEY,
         repository TEXT NOT NULL,
         since INTEGER NOT NULL
     ) WITHOUT ROWID;",
];

/// The schema's version.
pub(super) fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Applies what is missing. Returns the version that was found.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    // Two processes may open a new file at once: who comes second finds the work done.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (step, number) in MIGRATIONS.iter().zip(1i64..) {
        if number > found {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
    }
    transaction.commit()?;
    Ok(found)
}
