//! `GET /version`.

use api_types::system::{Component, Platform, Version};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn version(call: Call) -> Result<Reply, ApiError> {
    let host = engine::system::host_facts(call.engine());
    let facts = &call.shared.facts;
    let details = [
        ("ApiVersion", api_types::API_VERSION),
        ("Arch", &host.architecture),
        ("BuildTime", &facts.build_time),
        ("Experimental", "false"),
        ("GitCommit", &facts.git_commit),
        ("KernelVersion", &host.kernel_version),
        ("MinAPIVersion", api_types::MIN_API_VERSION),
        ("Os", "linux"),
    ];
    let engine = Component {
        name: "Engine".to_owned(),
        version: facts.version.clone(),
        details: details
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    };
    Ok(reply::ok(&Version {
        platform: Platform {
            name: "Berth".to_owned(),
        },
        components: vec![engine],
        version: facts.version.clone(),
        api_version: api_types::API_VERSION.to_owned(),
        min_api_version: api_types::MIN_API_VERSION.to_owned(),
        git_commit: facts.git_commit.clone(),
        go_version: String::new(),
        os: "linux".to_owned(),
        arch: host.architecture,
        kernel_version: host.kernel_version,
        experimental: false,
        build_time: facts.build_time.clone(),
    }))
}
