//! `GET /images/{name}/json`.

use api_types::config::{ContainerConfig, Words};
use api_types::image::{ImageInspect, ImageMetadata, RootFs};
use api_types::inspect::GraphDriver;
use engine::image::{ImageConfig, ImageDetails};
use serde_json::Map;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::signed;
use crate::version::ApiVersion;

pub(crate) async fn inspect(call: Call) -> Result<Reply, ApiError> {
    for name in ["manifests", "platform"] {
        if call.query.get(name).is_some() && (name == "platform" || call.query.flag(name)) {
            return Err(ApiError::unsupported(format!("query parameter {name}")));
        }
    }
    let details = engine::image::inspect(call.engine(), call.name()).await?;
    Ok(reply::ok(&document(details, call.version)))
}

fn document(details: ImageDetails, version: ApiVersion) -> ImageInspect {
    ImageInspect {
        id: details.id,
        repo_tags: details.references,
        repo_digests: details.digests,
        parent: details.parent,
        comment: details.comment,
        created: details.created.to_string(),
        docker_version: details.docker_version,
        author: details.author,
        config: config(details.config),
        architecture: details.architecture,
        variant: details.variant,
        os: details.os,
        size: signed(details.size),
        virtual_size: (version < ApiVersion::v1(44)).then(|| signed(details.size)),
        container_config: (version < ApiVersion::v1(45)).then(ContainerConfig::default),
        graph_driver: GraphDriver {
            data: None,
            name: details.driver,
        },
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: details.layers,
        },
        metadata: ImageMetadata {
            last_tag_time: details.last_tagged.to_string(),
        },
    }
}

fn config(config: ImageConfig) -> ContainerConfig {
    let set = |names: std::collections::BTreeSet<String>| {
        names.into_iter().map(|name| (name, Map::new())).collect()
    };
    ContainerConfig {
        user: config.user,
        exposed_ports: set(config.exposed_ports),
        env: Some(config.env),
        entrypoint: config.entrypoint.map(Words),
        cmd: config.cmd.map(Words),
        volumes: Some(config.volumes)
            .filter(|volumes| !volumes.is_empty())
            .map(set),
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
        ..ContainerConfig::default()
    }
}
