//! The tables, and how an older file becomes a present one.

use rusqlite::Connection;

/// One entry for each version of the schema; the file's `user_version` says how many were applied.
const MIGRATIONS: &[&str] = &[
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE containers (
         id TEXT PRIMARY KEY,
         name TEXT NOT NULL UNIQUE,
         slot INTEGER UNIQUE,
         config TEXT NOT NULL,
         state TEXT NOT NULL
     ) WITHOUT ROWID;
     CREATE TABLE volumes (name TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE quarantine (
         number INTEGER PRIMARY KEY,
         origin TEXT NOT NULL,
         key TEXT NOT NULL,
         problem TEXT NOT NULL,
         content TEXT NOT NULL
     );",
    "CREATE TABLE networks (
         id TEXT PRIMARY KEY,
         name TEXT NOT NULL UNIQUE,
         document TEXT NOT NULL
     ) WITHOUT ROWID;",
];

/// The schema's version.
pub(crate) fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Applies what is missing, each step in a transaction of its own. Returns the version that was found.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (step, number) in MIGRATIONS.iter().zip(1i64..) {
        if number <= found {
            continue;
        }
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(found)
}
