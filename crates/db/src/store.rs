//! The store: one connection, one writer.
//!
//! Reads happen at open only, so a mutex around one connection is enough; a write takes some tens of microseconds.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::error::{Kind, Kinded};
use base::file::Durability;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use crate::row::{ContainerRow, Damage, NetworkRow, VolumeRow};
use crate::schema;

/// Bytes of pages that SQLite may keep in memory: the daemon keeps what it needs itself.
const CACHE_KIB: i64 = 256;

/// Pages in the write-ahead log after which a checkpoint is due.
const CHECKPOINT_PAGES: i64 = 1000;

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened.
    #[error("open store \"{}\"", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A newer Berth wrote the file.
    #[error("store \"{}\" has version {found}; this Berth knows {known}", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is known.
        known: i64,
    },
    /// The file's structure is damaged.
    #[error("store \"{}\" is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        problem: String,
    },
    /// A name, id or slot is taken already.
    #[error("{doing}: already exists")]
    Exists {
        /// What was being done.
        doing: &'static str,
    },
    /// A statement failed.
    #[error("{doing}")]
    Statement {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
}

impl Kinded for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Exists { .. } => Kind::Conflict,
            Self::TooNew { .. } => Kind::Unsupported,
            Self::Open { .. } | Self::Damaged { .. } | Self::Statement { .. } => Kind::Internal,
        }
    }
}

impl StoreError {
    /// Returns whether the file's content is at fault, and not the disk, the rights or a newer version.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            // No version in a thousand years.
            Self::TooNew { found, .. } => *found > 10_000,
            Self::Open { source, .. } | Self::Statement { source, .. } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(
                        ErrorCode::DatabaseCorrupt
                            | ErrorCode::NotADatabase
                            | ErrorCode::SchemaChanged
                            | ErrorCode::TypeMismatch
                            | ErrorCode::Unknown
                    )
                ) || matches!(
                    source,
                    rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..)
                )
            }
            Self::Exists { .. } => false,
        }
    }
}

/// Returns whether an error is SQLite's that there is no room on the disk; its causes are not looked at.
pub fn is_no_room(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<rusqlite::Error>()
        .is_some_and(|error| error.sqlite_error_code() == Some(ErrorCode::DiskFull))
}

/// The store of one data root.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the file at `path`, making it (mode 0600) if it is missing, and checks it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let opening = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open(path).map_err(opening)?;
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = NORMAL;
                 PRAGMA cache_size = -{CACHE_KIB};
                 PRAGMA temp_store = MEMORY;
                 PRAGMA wal_autocheckpoint = 0;
                 PRAGMA journal_size_limit = 4194304;
                 PRAGMA locking_mode = EXCLUSIVE;"
            ))
            .map_err(opening)?;
        let problem: Option<String> = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .optional()
            .map_err(opening)?;
        if let Some(problem) = problem.filter(|problem| problem != "ok") {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                problem,
            });
        }
        let found = schema::migrate(&mut connection).map_err(opening)?;
        if found > schema::version() {
            return Err(StoreError::TooNew {
                path: path.to_owned(),
                found,
                known: schema::version(),
            });
        }
        connection.set_prepared_statement_cache_capacity(16);
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Returns all containers, and the rows that SQLite cannot read as such.
    pub fn containers(&self) -> Result<(Vec<ContainerRow>, Vec<Damage>), StoreError> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(ContainerRow {
                id: row.get(0)?,
                name: row.get(1)?,
                slot: row.get(2)?,
                config: row.get(3)?,
                state: row.get(4)?,
            })
        };
        self.rows(
            "containers",
            "SELECT id, name, slot, config, state FROM containers",
            read,
        )
    }

    /// Returns all volumes, and the rows that SQLite cannot read as such.
    pub fn volumes(&self) -> Result<(Vec<VolumeRow>, Vec<Damage>), StoreError> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(VolumeRow {
                name: row.get(0)?,
                document: row.get(1)?,
            })
        };
        self.rows(
            "volumes",
            "SELECT name, document FROM volumes ORDER BY name",
            read,
        )
    }

    /// Returns all networks, and the rows that SQLite cannot read as such.
    pub fn networks(&self) -> Result<(Vec<NetworkRow>, Vec<Damage>), StoreError> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(NetworkRow {
                id: row.get(0)?,
                name: row.get(1)?,
                document: row.get(2)?,
            })
        };
        self.rows("networks", "SELECT id, name, document FROM networks", read)
    }

    /// Returns a fact that was stored with [`Batch::set_meta`].
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.lock()
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(statement("read meta"))
    }

    /// Runs `change` in one transaction; when it returns an error nothing of it stays.
    pub fn write<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        if durability == Durability::Power {
            connection
                .execute_batch("PRAGMA synchronous = FULL")
                .map_err(statement("ask for a durable write"))?;
        }
        let result = (|| {
            let transaction = connection
                .transaction()
                .map_err(statement("begin a transaction"))?;
            let mut batch = Batch { transaction };
            let value = change(&mut batch)?;
            batch.transaction.commit().map_err(statement("commit"))?;
            Ok(value)
        })();
        if durability == Durability::Power {
            connection
                .execute_batch("PRAGMA synchronous = NORMAL")
                .map_err(statement("end a durable write"))?;
        }
        result
    }

    /// Moves a damaged row out of the way of everything but a person with the `sqlite3` program.
    pub fn quarantine(&self, damage: &Damage) -> Result<(), StoreError> {
        let key = match damage.table {
            "containers" | "networks" => "id",
            _ => "name",
        };
        let content = match damage.table {
            "containers" => {
                "coalesce(name, '') || char(10) || coalesce(config, '') || char(10) || coalesce(state, '')"
            }
            _ => "coalesce(document, '')",
        };
        let table = damage.table;
        let mut connection = self.lock();
        let transaction = connection
            .transaction()
            .map_err(statement("begin a transaction"))?;
        transaction
            .execute(
                &format!(
                    "INSERT INTO quarantine (origin, key, problem, content)
                     SELECT ?1, {key}, ?2, {content} FROM {table} WHERE {key} = ?3"
                ),
                params![table, damage.problem, damage.key],
            )
            .map_err(statement("quarantine a row"))?;
        transaction
            .execute(&format!("DELETE FROM {table} WHERE {key} = ?1"), [&damage.key])
            .map_err(statement("quarantine a row"))?;
        transaction.commit().map_err(statement("commit"))
    }

    /// Returns the keys of the rows of a table that were moved out of the way.
    pub fn quarantined(&self, table: &str) -> Result<Vec<String>, StoreError> {
        let connection = self.lock();
        let mut select = connection
            .prepare("SELECT key FROM quarantine WHERE origin = ?1")
            .map_err(statement("read the quarantine"))?;
        let keys = select
            .query_map([table], |row| row.get(0))
            .map_err(statement("read the quarantine"))?;
        keys.collect::<Result<_, _>>()
            .map_err(statement("read the quarantine"))
    }

    /// Moves the write-ahead log into the file if it has grown; syncs, so it is not for the hot path.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.lock()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(statement("checkpoint"))
    }

    /// Returns the number of pages after which [`Self::checkpoint`] should be called, for the caller's counter.
    pub fn checkpoint_pages() -> i64 {
        CHECKPOINT_PAGES
    }

    fn rows<T>(
        &self,
        table: &'static str,
        query: &str,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<(Vec<T>, Vec<Damage>), StoreError> {
        let connection = self.lock();
        let mut select = connection.prepare(query).map_err(statement("read a table"))?;
        let mut rows = select.query([]).map_err(statement("read a table"))?;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next().map_err(statement("read a row"))? {
            match read(row) {
                Ok(value) => good.push(value),
                Err(error) => bad.push(Damage {
                    table,
                    key: row.get(0).unwrap_or_default(),
                    problem: error.to_string(),
                }),
            }
        }
        Ok((good, bad))
    }

    /// Locks; a panic of another holder has rolled its transaction back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The statements of one transaction.
#[derive(Debug)]
pub struct Batch<'a> {
    transaction: Transaction<'a>,
}

impl Batch<'_> {
    /// Adds a container; its id, name and slot must be free.
    pub fn insert_container(&mut self, row: &ContainerRow) -> Result<(), StoreError> {
        self.run(
            "record a container",
            "INSERT INTO containers (id, name, slot, config, state) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![row.id, row.name, row.slot, row.config, row.state],
        )
    }

    /// Replaces a container's state.
    pub fn set_container_state(&mut self, id: &str, state: &str) -> Result<(), StoreError> {
        self.run(
            "record a container's state",
            "UPDATE containers SET state = ?2 WHERE id = ?1",
            params![id, state],
        )
    }

    /// Replaces a container's configuration.
    pub fn set_container_config(&mut self, id: &str, config: &str) -> Result<(), StoreError> {
        self.run(
            "record a container's configuration",
            "UPDATE containers SET config = ?2 WHERE id = ?1",
            params![id, config],
        )
    }

    /// Gives a container another name, which must be free.
    pub fn rename_container(&mut self, id: &str, name: &str) -> Result<(), StoreError> {
        self.run(
            "rename a container",
            "UPDATE containers SET name = ?2 WHERE id = ?1",
            params![id, name],
        )
    }

    /// Forgets a container; does nothing if there is none.
    pub fn remove_container(&mut self, id: &str) -> Result<(), StoreError> {
        self.run(
            "forget a container",
            "DELETE FROM containers WHERE id = ?1",
            params![id],
        )
    }

    /// Adds or replaces a volume.
    pub fn put_volume(&mut self, row: &VolumeRow) -> Result<(), StoreError> {
        self.run(
            "record a volume",
            "INSERT INTO volumes (name, document) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET document = excluded.document",
            params![row.name, row.document],
        )
    }

    /// Forgets a volume; does nothing if there is none.
    pub fn remove_volume(&mut self, name: &str) -> Result<(), StoreError> {
        self.run(
            "forget a volume",
            "DELETE FROM volumes WHERE name = ?1",
            params![name],
        )
    }

    /// Adds a network; its id and name must be free.
    pub fn insert_network(&mut self, row: &NetworkRow) -> Result<(), StoreError> {
        self.run(
            "record a network",
            "INSERT INTO networks (id, name, document) VALUES (?1, ?2, ?3)",
            params![row.id, row.name, row.document],
        )
    }

    /// Forgets a network; does nothing if there is none.
    pub fn remove_network(&mut self, id: &str) -> Result<(), StoreError> {
        self.run(
            "forget a network",
            "DELETE FROM networks WHERE id = ?1",
            params![id],
        )
    }

    /// Stores a fact under a key.
    pub fn set_meta(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.run(
            "record a fact",
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![key, value],
        )
    }

    fn run(
        &mut self,
        doing: &'static str,
        query: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<(), StoreError> {
        self.transaction
            .prepare_cached(query)
            .and_then(|mut prepared| prepared.execute(values))
            .map(drop)
            .map_err(|source| match source.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation) => StoreError::Exists { doing },
                _ => StoreError::Statement { doing, source },
            })
    }
}

pub(crate) fn statement(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Statement { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("berth-db-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
        fn file(&self) -> PathBuf {
            self.0.join("state.db")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            for entry in std::fs::read_dir(&self.0).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
            std::fs::remove_dir(&self.0).unwrap();
        }
    }

    fn container(id: &str, name: &str, slot: Option<u32>) -> ContainerRow {
        ContainerRow {
            id: id.to_owned(),
            name: name.to_owned(),
            slot,
            config: "{}".to_owned(),
            state: "{\"status\":\"created\"}".to_owned(),
        }
    }

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let directory = Directory::new("reopen");
        let first = container("a", "one", Some(0));
        {
            let store = Store::open(&directory.file()).unwrap();
            store
                .write(Durability::Crash, |batch| {
                    batch.insert_container(&first)?;
                    batch.set_meta("id", "x")
                })
                .unwrap();
            store
                .write(Durability::Power, |batch| {
                    batch.put_volume(&VolumeRow {
                        name: "v".to_owned(),
                        document: "1".to_owned(),
                    })
                })
                .unwrap();
            store.checkpoint().unwrap();
        }
        let store = Store::open(&directory.file()).unwrap();
        assert_eq!(store.containers().unwrap(), (vec![first], vec![]));
        assert_eq!(store.volumes().unwrap().0.len(), 1);
        assert_eq!(store.meta("id").unwrap().as_deref(), Some("x"));
    }

    #[test]
    fn a_failed_batch_leaves_nothing() {
        let directory = Directory::new("batch");
        let store = Store::open(&directory.file()).unwrap();
        store
            .write(Durability::Crash, |batch| {
                batch.insert_container(&container("a", "one", Some(1)))
            })
            .unwrap();
        for taken in [
            container("a", "two", None),
            container("b", "one", None),
            container("b", "two", Some(1)),
        ] {
            let error = store
                .write(Durability::Crash, |batch| {
                    batch.set_meta("x", "y")?;
                    batch.insert_container(&taken)
                })
                .unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
        }
        assert_eq!(store.meta("x").unwrap(), None);
        assert_eq!(store.containers().unwrap().0.len(), 1);
    }

    #[test]
    fn a_bad_row_is_named_and_moved_away() {
        let directory = Directory::new("bad");
        let store = Store::open(&directory.file()).unwrap();
        store
            .lock()
            .execute_batch("INSERT INTO containers (id, name, config, state) VALUES ('a', 'n', x'ff', 'y')")
            .unwrap();
        let (good, bad) = store.containers().unwrap();
        assert!(good.is_empty());
        assert_eq!((bad[0].table, bad[0].key.as_str()), ("containers", "a"));
        store.quarantine(&bad[0]).unwrap();
        assert_eq!(store.containers().unwrap(), (vec![], vec![]));
    }

    #[test]
    fn a_file_that_is_no_store_is_refused() {
        let directory = Directory::new("junk");
        base::file::write_atomic(&directory.file(), &[7; 4096], 0o600, Durability::Crash).unwrap();
        assert!(Store::open(&directory.file()).is_err());
    }
}
