//! Rows of lists.

use api_types::container::{ContainerSummary, SummaryHostConfig, SummaryNetworks};
use api_types::image::ImageSummary;
use api_types::mount::MountPoint;
use api_types::volume::{Volume, VolumeUsage};
use base::clock::Timestamp;
use engine::Engine;

use super::{network, signed};
use crate::version::ApiVersion;

/// Translates a container's row.
pub(crate) fn container(
    engine: &Engine,
    summary: &engine::container::Summary,
    version: ApiVersion,
) -> ContainerSummary {
    let view = &summary.view;
    ContainerSummary {
        id: view.id.to_string(),
        names: vec![format!("/{}", view.name)],
        image: view.config.image.clone(),
        image_id: view.image_id.clone(),
        command: summary.command.clone(),
        created: view.created.unix_seconds(),
        ports: network::port_list(engine, view),
        size_rw: signed(summary.size_rw.unwrap_or(0)),
        size_root_fs: signed(summary.size_root_fs.unwrap_or(0)),
        labels: view.config.labels.clone(),
        state: summary.status.as_str().to_owned(),
        status: summary.status_text.clone(),
        host_config: SummaryHostConfig {
            network_mode: engine::network::mode_of(engine, view).to_owned(),
            annotations: view.host.annotations.clone(),
        },
        network_settings: SummaryNetworks {
            networks: network::listed_networks(engine, view, version),
        },
        mounts: mounts(&summary.mounts),
    }
}

/// Translates mounts.
pub(crate) fn mounts(mounts: &[engine::container::MountPoint]) -> Vec<MountPoint> {
    let mounts = mounts.iter().map(|mount| MountPoint {
        kind: mount.kind.clone(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        rw: mount.rw,
        propagation: mount.propagation.clone(),
    });
    mounts.collect()
}

/// Translates an image's row.
pub(crate) fn image(summary: &engine::image::ImageSummary, version: ApiVersion) -> ImageSummary {
    ImageSummary {
        // Counted only for `system df`.
        containers: -1,
        created: summary.created.unix_seconds(),
        id: summary.id.clone(),
        labels: Some(summary.labels.clone()).filter(|labels| !labels.is_empty()),
        parent_id: summary.parent.clone(),
        repo_digests: names(&summary.digests, "<none>@<none>", version),
        repo_tags: names(&summary.references, "<none>:<none>", version),
        shared_size: -1,
        size: signed(summary.size),
        virtual_size: (version < ApiVersion::v1(44)).then(|| signed(summary.size)),
    }
}

/// Before API 1.43 images without a name had one that says so.
fn names(names: &[String], none: &str, version: ApiVersion) -> Vec<String> {
    if names.is_empty() && version < ApiVersion::v1(43) {
        return vec![none.to_owned()];
    }
    names.to_vec()
}

/// Returns a time as Go's `time.RFC3339`, which has no fractions.
fn whole_seconds(time: Timestamp) -> String {
    let text = time.to_string();
    text.split_once('.')
        .map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// Translates a volume; `size` is known for `system df` only.
pub(crate) fn volume(details: &engine::volume::VolumeDetails, size: Option<u64>) -> Volume {
    Volume {
        created_at: whole_seconds(details.created),
        driver: details.driver.clone(),
        labels: Some(details.labels.clone()).filter(|labels| !labels.is_empty()),
        mountpoint: details.mountpoint.clone(),
        name: details.name.clone(),
        options: Some(details.options.clone()).filter(|options| !options.is_empty()),
        scope: "local".to_owned(),
        status: None,
        usage_data: size.map(|size| VolumeUsage {
            ref_count: i64::try_from(details.users).unwrap_or(i64::MAX),
            size: signed(size),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_have_whole_seconds() {
        assert_eq!(
            whole_seconds(Timestamp::from_unix(5, 999_999_999)),
            "1970-01-01T00:00:05Z"
        );
        assert_eq!(whole_seconds(Timestamp::NEVER), "0001-01-01T00:00:00Z");
    }
}
