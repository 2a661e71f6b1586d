//! Between the documents of the wire and the engine's types.

pub(crate) mod config;
pub(crate) mod host_config;
pub(crate) mod network;
pub(crate) mod progress;
pub(crate) mod summary;

/// Returns `None` for an empty list: Docker writes `null`.
pub(crate) fn list<T: Clone>(values: &[T]) -> Option<Vec<T>> {
    if values.is_empty() {
        None
    } else {
        Some(values.to_vec())
    }
}

/// Returns bytes as Docker's signed number.
pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
