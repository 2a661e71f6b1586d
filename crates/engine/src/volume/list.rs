//! List volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::details;
use super::inspect::VolumeDetails;
use crate::Engine;
use crate::system::{FilterError, check_names, label_fits, switch};

/// Which volumes are wanted.
#[derive(Clone, Debug, Default)]
pub struct VolumeListRequest {
    /// docker's filters `dangling driver label name`.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// Lists volumes by name.
pub async fn list(
    engine: &Arc<Engine>,
    request: VolumeListRequest,
) -> Result<Vec<VolumeDetails>, FilterError> {
    let filters = &request.filters;
    check_names(filters, &["dangling", "driver", "label", "name"])?;
    let dangling = switch(filters, "dangling")?;
    let values = |key: &str| filters.get(key).map(Vec::as_slice).unwrap_or_default();
    let any =
        |key: &str, test: &dyn Fn(&String) -> bool| values(key).is_empty() || values(key).iter().any(test);
    let all = engine
        .volumes
        .list()
        .into_iter()
        .map(|volume| details(engine, volume));
    let fits = |volume: &VolumeDetails| {
        dangling.is_none_or(|dangling| (volume.users == 0) == dangling)
            && any("driver", &|driver| *driver == volume.driver)
            && any("name", &|name| volume.name.contains(name.as_str()))
            && values("label")
                .iter()
                .all(|label| label_fits(&volume.labels, label))
    };
    Ok(all.filter(fits).collect())
}
