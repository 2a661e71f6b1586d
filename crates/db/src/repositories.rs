//! The repositories of a registry: which of them has which blob, manifest and tag, in one SQLite file of its own.
//!
//! The rows are the truth of what can be read through which repository; the bytes lie in a content store beside them.
//! Two rules keep both together, also when a process is killed between any two steps, and when one process collects
//! garbage while another serves:
//!
//! * a row is written before the file that it speaks of may be relied on, so a file without a row is garbage;
//! * files are only removed inside a write transaction that has seen that no row and no lease names them
//!   ([`Repositories::remove_files`]), and who has just written a row looks whether its file is there.
//!
//! Digests and names are texts here; their owner checks them. Times are seconds since the Unix epoch.

mod garbage;
mod row;
mod schema;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::store::{StoreError, statement};

pub use garbage::Garbage;
pub use row::{Child, ManifestRow, Put, Removal, TagRow, UploadRow};

/// Bytes of pages that SQLite may keep in memory for each connection.
const CACHE_KIB: i64 = 1024;

/// How long a write waits for one of another process.
const BUSY: Duration = Duration::from_secs(60);

/// The repositories of one registry.
#[derive(Debug)]
pub struct Repositories {
    writer: Mutex<Connection>,
    /// Reads never wait for a write: it may be waiting for the disk.
    reader: Mutex<Connection>,
}

impl Repositories {
    /// Opens the file at `path`, making it if it is missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let opening = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY)?;
            // What a client was told must survive a power cut: the upload is not repeated.
            connection.execute_batch(&format!(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA cache_size = -{CACHE_KIB};
                 PRAGMA temp_store = MEMORY;
                 PRAGMA journal_size_limit = 4194304;"
            ))?;
            connection.set_prepared_statement_cache_capacity(32);
            Ok(connection)
        };
        let mut writer = connect().map_err(opening)?;
        let found = schema::migrate(&mut writer).map_err(opening)?;
        if found > schema::version() {
            return Err(StoreError::TooNew {
                path: path.to_owned(),
                found,
                known: schema::version(),
            });
        }
        Ok(Self {
            writer: Mutex::new(writer),
            reader: Mutex::new(connect().map_err(opening)?),
        })
    }

    /// Returns whether there is such a repository.
    pub fn has_repository(&self, name: &str) -> Result<bool, StoreError> {
        self.find(
            "look for a repository",
            "SELECT 1 FROM repositories WHERE name = ?1",
            [name],
            |_| Ok(()),
        )
        .map(|found| found.is_some())
    }

    /// Returns the size of a blob that the repository has.
    pub fn blob(&self, repository: &str, digest: &str) -> Result<Option<u64>, StoreError> {
        self.find(
            "look for a blob",
            "SELECT blobs.size FROM blobs JOIN repositories ON repositories.id = blobs.repository
             WHERE repositories.name = ?1 AND blobs.digest = ?2",
            [repository, digest],
            |row| unsigned(row, 0),
        )
    }

    /// Returns a manifest that the repository has.
    pub fn manifest(&self, repository: &str, digest: &str) -> Result<Option<ManifestRow>, StoreError> {
        self.find(
            "look for a manifest",
            "SELECT digest, media_type, size, subject, artifact_type, annotations
             FROM manifests JOIN repositories ON repositories.id = manifests.repository
             WHERE repositories.name = ?1 AND digest = ?2",
            [repository, digest],
            manifest_row,
        )
    }

    /// Returns what a tag points at.
    pub fn tag(&self, repository: &str, tag: &str) -> Result<Option<TagRow>, StoreError> {
        self.find(
            "look for a tag",
            "SELECT manifest, tags.since FROM tags JOIN repositories ON repositories.id = tags.repository
             WHERE repositories.name = ?1 AND tags.name = ?2",
            [repository, tag],
            |row| {
                Ok(TagRow {
                    manifest: row.get(0)?,
                    since: row.get(1)?,
                })
            },
        )
    }

    /// Returns up to `limit` tags of a repository that come after `after`, sorted by their bytes.
    pub fn tags(&self, repository: &str, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        self.list(
            "list tags",
            "SELECT tags.name FROM tags JOIN repositories ON repositories.id = tags.repository
             WHERE repositories.name = ?1 AND tags.name > ?2 ORDER BY tags.name LIMIT ?3",
            params![repository, after, limit],
            |row| row.get(0),
        )
    }

    /// Returns up to `limit` names of repositories that have a manifest and come after `after`, sorted by their bytes.
    pub fn names(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        self.list(
            "list repositories",
            "SELECT name FROM repositories
             WHERE name > ?1 AND EXISTS (SELECT 1 FROM manifests WHERE repository = repositories.id)
             ORDER BY name LIMIT ?2",
            params![after, limit],
            |row| row.get(0),
        )
    }

    /// Returns how many repositories with a manifest have `text` in their name, and those from `offset` on.
    pub fn search(&self, text: &str, offset: u32, limit: u32) -> Result<(u64, Vec<String>), StoreError> {
        const MATCHES: &str = "instr(name, ?1) > 0
             AND EXISTS (SELECT 1 FROM manifests WHERE repository = repositories.id)";
        let count: Option<u64> = self.find(
            "count repositories",
            &format!("SELECT count(*) FROM repositories WHERE {MATCHES}"),
            [text],
            |row| unsigned(row, 0),
        )?;
        let names = self.list(
            "search repositories",
            &format!("SELECT name FROM repositories WHERE {MATCHES} ORDER BY name LIMIT ?2 OFFSET ?3"),
            params![text, limit, offset],
            |row| row.get(0),
        )?;
        Ok((count.unwrap_or(0), names))
    }

    /// Returns up to `limit` manifests whose subject is `subject`, after the digest `after`, sorted by digest.
    pub fn referrers(
        &self,
        repository: &str,
        subject: &str,
        artifact_type: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ManifestRow>, StoreError> {
        self.list(
            "list referrers",
            "SELECT digest, media_type, size, subject, artifact_type, annotations
             FROM manifests JOIN repositories ON repositories.id = manifests.repository
             WHERE repositories.name = ?1 AND subject = ?2 AND digest > ?3
                 AND (?4 IS NULL OR artifact_type = ?4)
             ORDER BY digest LIMIT ?5",
            params![repository, subject, after, artifact_type, limit],
            manifest_row,
        )
    }

    /// Returns an upload that has begun and not ended.
    pub fn upload(&self, id: &str) -> Result<Option<UploadRow>, StoreError> {
        self.find(
            "look for an upload",
            "SELECT id, repository, since FROM uploads WHERE id = ?1",
            [id],
            upload_row,
        )
    }

    /// Returns all uploads that began before `before`.
    pub fn uploads(&self, before: i64) -> Result<Vec<UploadRow>, StoreError> {
        self.list(
            "list uploads",
            "SELECT id, repository, since FROM uploads WHERE since < ?1",
            [before],
            upload_row,
        )
    }

    /// Returns how many uploads have begun and not ended.
    pub fn upload_count(&self) -> Result<u64, StoreError> {
        let count = self.find("count uploads", "SELECT count(*) FROM uploads", [], |row| {
            unsigned(row, 0)
        })?;
        Ok(count.unwrap_or(0))
    }

    /// Records that an upload has begun.
    pub fn begin_upload(&self, row: &UploadRow) -> Result<(), StoreError> {
        self.write("record an upload", |transaction| {
            transaction.execute(
                "INSERT INTO uploads (id, repository, since) VALUES (?1, ?2, ?3)",
                params![row.id, row.repository, row.since],
            )?;
            Ok(())
        })
    }

    /// Forgets an upload; true if there was one.
    pub fn end_upload(&self, id: &str) -> Result<bool, StoreError> {
        self.write("forget an upload", |transaction| {
            Ok(transaction.execute("DELETE FROM uploads WHERE id = ?1", [id])? > 0)
        })
    }

    /// Records that the repository has a blob, and forgets the upload that brought it.
    pub fn add_blob(
        &self,
        repository: &str,
        digest: &str,
        size: u64,
        upload: Option<&str>,
        now: i64,
    ) -> Result<(), StoreError> {
        self.write("record a blob", |transaction| {
            let id = repository_id(transaction, repository)?;
            transaction.execute(
                "INSERT INTO blobs (repository, digest, size, since) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET since = excluded.since, size = excluded.size",
                params![id, digest, signed(size), now],
            )?;
            if let Some(upload) = upload {
                transaction.execute("DELETE FROM uploads WHERE id = ?1", [upload])?;
            }
            Ok(())
        })
    }

    /// Records that `to` has a blob that `from` has; returns its size, or `None` if `from` has no such blob.
    pub fn mount(&self, from: &str, to: &str, digest: &str, now: i64) -> Result<Option<u64>, StoreError> {
        self.write("mount a blob", |transaction| {
            let size: Option<u64> = transaction
                .query_row(
                    "SELECT blobs.size FROM blobs JOIN repositories ON repositories.id = blobs.repository
                     WHERE repositories.name = ?1 AND blobs.digest = ?2",
                    [from, digest],
                    |row| unsigned(row, 0),
                )
                .optional()?;
            if let Some(size) = size {
                let id = repository_id(transaction, to)?;
                transaction.execute(
                    "INSERT INTO blobs (repository, digest, size, since) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET since = excluded.since",
                    params![id, digest, signed(size), now],
                )?;
            }
            Ok(size)
        })
    }

    /// Takes a blob from the repository, unless one of its manifests needs it.
    pub fn remove_blob(&self, repository: &str, digest: &str) -> Result<Removal, StoreError> {
        self.write("remove a blob", |transaction| {
            let Some(id) = find_repository(transaction, repository)? else {
                return Ok(Removal::Missing);
            };
            if let Some(manifest) = user_of(transaction, id, digest, 0)? {
                return Ok(Removal::NeededBy(manifest));
            }
            let removed = transaction.execute(
                "DELETE FROM blobs WHERE repository = ?1 AND digest = ?2",
                params![id, digest],
            )?;
            Ok(if removed > 0 {
                Removal::Done
            } else {
                Removal::Missing
            })
        })
    }

    /// Keeps the file of `digest` until `until`, though no row names it yet.
    pub fn lease(&self, digest: &str, until: i64) -> Result<(), StoreError> {
        self.write("lease a blob", |transaction| {
            transaction.execute(
                "INSERT INTO leases (digest, until) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
                params![digest, until],
            )?;
            Ok(())
        })
    }

    /// Records a manifest and what it needs, and points `tag` at it, all or nothing.
    pub fn put_manifest(
        &self,
        repository: &str,
        manifest: &ManifestRow,
        children: &[Child],
        tag: Option<&str>,
        now: i64,
    ) -> Result<Put, StoreError> {
        self.write("record a manifest", |transaction| {
            let id = repository_id(transaction, repository)?;
            let mut unknown = Vec::new();
            for child in children.iter().filter(|child| child.is_required) {
                if !has_child(transaction, id, child)? {
                    unknown.push(child.digest.clone());
                }
            }
            if !unknown.is_empty() {
                return Ok(Put::Unknown(unknown));
            }
            transaction.execute(
                "INSERT INTO manifests
                 (repository, digest, media_type, size, subject, artifact_type, annotations, since)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT DO UPDATE SET media_type = excluded.media_type, since = excluded.since",
                params![
                    id,
                    manifest.digest,
                    manifest.media_type,
                    signed(manifest.size),
                    manifest.subject,
                    manifest.artifact_type,
                    manifest.annotations,
                    now
                ],
            )?;
            for child in children {
                transaction.execute(
                    "INSERT OR IGNORE INTO children (repository, manifest, digest, kind) VALUES (?1, ?2, ?3, ?4)",
                    params![id, manifest.digest, child.digest, kind(child)],
                )?;
            }
            if let Some(tag) = tag {
                set_tag(transaction, id, tag, &manifest.digest, now)?;
            }
            transaction.execute("DELETE FROM leases WHERE digest = ?1", [&manifest.digest])?;
            Ok(Put::Stored)
        })
    }

    /// Points `tag` at a manifest that the repository has; false if it has none such.
    pub fn put_tag(&self, repository: &str, tag: &str, manifest: &str, now: i64) -> Result<bool, StoreError> {
        self.write("record a tag", |transaction| {
            let Some(id) = find_repository(transaction, repository)? else {
                return Ok(false);
            };
            let child = Child::manifest(manifest);
            if !has_child(transaction, id, &child)? {
                return Ok(false);
            }
            set_tag(transaction, id, tag, manifest, now)?;
            Ok(true)
        })
    }

    /// Forgets a tag; true if there was one.
    pub fn remove_tag(&self, repository: &str, tag: &str) -> Result<bool, StoreError> {
        self.write("remove a tag", |transaction| {
            let Some(id) = find_repository(transaction, repository)? else {
                return Ok(false);
            };
            Ok(transaction.execute(
                "DELETE FROM tags WHERE repository = ?1 AND name = ?2",
                params![id, tag],
            )? > 0)
        })
    }

    /// Forgets a manifest and the tags that point at it, unless an index needs it.
    pub fn remove_manifest(&self, repository: &str, digest: &str) -> Result<Removal, StoreError> {
        self.write("remove a manifest", |transaction| {
            let Some(id) = find_repository(transaction, repository)? else {
                return Ok(Removal::Missing);
            };
            if let Some(index) = user_of(transaction, id, digest, 1)? {
                return Ok(Removal::NeededBy(index));
            }
            let removed = transaction.execute(
                "DELETE FROM manifests WHERE repository = ?1 AND digest = ?2",
                params![id, digest],
            )?;
            for delete in [
                "DELETE FROM children WHERE repository = ?1 AND manifest = ?2",
                "DELETE FROM tags WHERE repository = ?1 AND manifest = ?2",
            ] {
                transaction.execute(delete, params![id, digest])?;
            }
            Ok(if removed > 0 {
                Removal::Done
            } else {
                Removal::Missing
            })
        })
    }

    fn find<T>(
        &self,
        doing: &'static str,
        query: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        lock(&self.reader)
            .prepare_cached(query)
            .and_then(|mut select| select.query_row(values, read).optional())
            .map_err(statement(doing))
    }

    fn list<T>(
        &self,
        doing: &'static str,
        query: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        lock(&self.reader)
            .prepare_cached(query)
            .and_then(|mut select| select.query_map(values, read)?.collect())
            .map_err(statement(doing))
    }

    /// Runs `change` in one transaction that no other process writes beside; nothing of it stays when it fails.
    fn write<T>(
        &self,
        doing: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = lock(&self.writer);
        (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })()
        .map_err(statement(doing))
    }
}

/// Locks; a panic of another holder has rolled its transaction back.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SQLite knows signed numbers only.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get(index)
        .map(|number: i64| u64::try_from(number).unwrap_or(0))
}

fn manifest_row(row: &Row<'_>) -> rusqlite::Result<ManifestRow> {
    Ok(ManifestRow {
        digest: row.get(0)?,
        media_type: row.get(1)?,
        size: unsigned(row, 2)?,
        subject: row.get(3)?,
        artifact_type: row.get(4)?,
        annotations: row.get(5)?,
    })
}

fn upload_row(row: &Row<'_>) -> rusqlite::Result<UploadRow> {
    Ok(UploadRow {
        id: row.get(0)?,
        repository: row.get(1)?,
        since: row.get(2)?,
    })
}

fn find_repository(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("SELECT id FROM repositories WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Returns the number of a repository, which is made if it is missing.
fn repository_id(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    if let Some(id) = find_repository(transaction, name)? {
        return Ok(id);
    }
    transaction.execute("INSERT INTO repositories (name) VALUES (?1)", [name])?;
    Ok(transaction.last_insert_rowid())
}

fn set_tag(
    transaction: &Transaction<'_>,
    repository: i64,
    tag: &str,
    manifest: &str,
    now: i64,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO tags (repository, name, manifest, since) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET manifest = excluded.manifest, since = excluded.since",
        params![repository, tag, manifest, now],
    )?;
    Ok(())
}

fn has_child(transaction: &Transaction<'_>, repository: i64, child: &Child) -> rusqlite::Result<bool> {
    let query = if child.is_manifest {
        "SELECT 1 FROM manifests WHERE repository = ?1 AND digest = ?2"
    } else {
        "SELECT 1 FROM blobs WHERE repository = ?1 AND digest = ?2"
    };
    transaction
        .prepare_cached(query)?
        .exists(params![repository, child.digest])
}

fn kind(child: &Child) -> i64 {
    i64::from(child.is_manifest)
}

/// Returns a manifest that needs the blob (kind 0) or manifest (kind 1).
fn user_of(
    transaction: &Transaction<'_>,
    repository: i64,
    digest: &str,
    kind: i64,
) -> rusqlite::Result<Option<String>> {
    transaction
        .query_row(
            "SELECT manifest FROM children WHERE repository = ?1 AND digest = ?2 AND kind = ?3 LIMIT 1",
            params![repository, digest, kind],
            |row| row.get(0),
        )
        .optional()
}

#[cfg(test)]
mod tests;
