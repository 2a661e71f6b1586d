//! Garbage: rows that nothing needs any more, and files that no row names.

use rusqlite::{Transaction, TransactionBehavior, params};

use super::{Repositories, lock};
use crate::store::{StoreError, statement};

/// What is not needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Manifests without a tag.
    pub manifests: usize,
    /// Blobs of repositories in which no manifest needs them.
    pub blobs: usize,
    /// Repositories that have nothing.
    pub repositories: usize,
}

/// Manifests that stay: tagged ones, young ones, and what those name or are spoken of by.
const KEPT: &str = "WITH RECURSIVE kept (repository, digest) AS (
    SELECT repository, manifest FROM tags
    UNION SELECT repository, digest FROM manifests WHERE since >= ?1
    UNION SELECT children.repository, children.digest FROM children JOIN kept
        ON children.repository = kept.repository AND children.manifest = kept.digest WHERE children.kind = 1
    UNION SELECT manifests.repository, manifests.digest FROM manifests JOIN kept
        ON manifests.repository = kept.repository AND manifests.subject = kept.digest
)";

impl Repositories {
    /// Removes the rows of blobs that were added before `before` and that no manifest needs, with `untagged` those of
    /// older manifests without a tag first. Only counts them with `is_trial`.
    pub fn remove_garbage(&self, before: i64, untagged: bool, is_trial: bool) -> Result<Garbage, StoreError> {
        let mut connection = lock(&self.writer);
        (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let garbage = remove_rows(&transaction, before, untagged)?;
            if is_trial {
                transaction.rollback()?;
            } else {
                transaction.commit()?;
            }
            Ok(garbage)
        })()
        .map_err(statement("collect garbage"))
    }

    /// Calls `remove` for each of `digests` that no row and no lease after `now` names. Nothing is recorded meanwhile,
    /// by no process: what `remove` removes cannot have become needed.
    pub fn remove_files<E>(
        &self,
        digests: &[String],
        now: i64,
        mut remove: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        let mut connection = lock(&self.writer);
        (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM leases WHERE until <= ?1", [now])?;
            for digest in digests {
                if !is_named(&transaction, digest)?
                    && let Err(error) = remove(digest)
                {
                    return Ok(Err(error));
                }
            }
            transaction.commit()?;
            Ok(Ok(()))
        })()
        .map_err(statement("collect garbage"))
    }
}

fn remove_rows(transaction: &Transaction<'_>, before: i64, untagged: bool) -> rusqlite::Result<Garbage> {
    let mut garbage = Garbage::default();
    if untagged {
        garbage.manifests = transaction.execute(
            &format!(
                "{KEPT} DELETE FROM manifests
                 WHERE (repository, digest) NOT IN (SELECT repository, digest FROM kept)"
            ),
            [before],
        )?;
        transaction.execute(
            "DELETE FROM children WHERE NOT EXISTS (SELECT 1 FROM manifests
             WHERE manifests.repository = children.repository AND manifests.digest = children.manifest)",
            [],
        )?;
    }
    garbage.blobs = transaction.execute(
        "DELETE FROM blobs WHERE since < ?1 AND NOT EXISTS (SELECT 1 FROM children
         WHERE children.repository = blobs.repository AND children.digest = blobs.digest AND kind = 0)",
        [before],
    )?;
    garbage.repositories = transaction.execute(
        "DELETE FROM repositories WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE repository = id)
             AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository = id)",
        [],
    )?;
    Ok(garbage)
}

fn is_named(transaction: &Transaction<'_>, digest: &str) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached(
            "SELECT 1 FROM blobs WHERE digest = ?1
             UNION ALL SELECT 1 FROM manifests WHERE digest = ?1
             UNION ALL SELECT 1 FROM leases WHERE digest = ?1",
        )?
        .exists(params![digest])
}
