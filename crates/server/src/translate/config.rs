//! `ContainerConfig` ↔ [`engine::config::Config`].

use std::collections::BTreeMap;

use api_types::config::{ContainerConfig, Healthcheck, Words};
use engine::config::Config;

use crate::status::ApiError;

/// Translates the configuration of a new container.
pub(crate) fn from_api(api: ContainerConfig) -> Result<Config, ApiError> {
    let ContainerConfig {
        hostname,
        domainname,
        user,
        attach_stdin,
        attach_stdout,
        attach_stderr,
        exposed_ports,
        tty,
        open_stdin,
        stdin_once,
        env,
        cmd,
        healthcheck,
        // Only Windows images set it.
        args_escaped: _,
        image,
        volumes,
        working_dir,
        entrypoint,
        network_disabled,
        mac_address,
        on_build,
        labels,
        stop_signal,
        stop_timeout,
        shell,
    } = api;
    if on_build.is_some_and(|steps| !steps.is_empty()) {
        return Err(ApiError::unsupported("OnBuild in a container's configuration"));
    }
    if shell.is_some_and(|words| !words.is_empty()) {
        return Err(ApiError::unsupported("Shell in a container's configuration"));
    }
    Ok(Config {
        hostname,
        domainname,
        user,
        attach_stdin,
        attach_stdout,
        attach_stderr,
        tty,
        open_stdin,
        stdin_once,
        env: env.unwrap_or_default(),
        // As in Docker, an empty command is no command.
        cmd: cmd.map(|words| words.0).filter(|words| !words.is_empty()),
        entrypoint: entrypoint.map(|words| words.0),
        image,
        volumes: volumes.unwrap_or_default().into_keys().collect(),
        working_dir,
        labels,
        exposed_ports: exposed_ports.into_keys().collect(),
        stop_signal,
        stop_timeout,
        healthcheck: healthcheck.map(test).transpose()?.flatten(),
        network_disabled,
        mac_address,
    })
}

fn test(healthcheck: Healthcheck) -> Result<Option<Vec<String>>, ApiError> {
    let Healthcheck {
        test,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    } = healthcheck;
    if let Some(test) = test.filter(|test| !test.is_empty()) {
        return Ok(Some(test.0));
    }
    for (value, flag) in [
        (interval, "--health-interval"),
        (timeout, "--health-timeout"),
        (start_period, "--health-start-period"),
        (start_interval, "--health-start-interval"),
        (retries, "--health-retries"),
    ] {
        if value != 0 {
            return Err(ApiError::unsupported(flag));
        }
    }
    Ok(None)
}

/// Translates back, for inspect.
pub(crate) fn to_api(config: &Config) -> ContainerConfig {
    ContainerConfig {
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        user: config.user.clone(),
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: config
            .exposed_ports
            .iter()
            .map(|port| (port, serde_json::Map::new()))
            .collect(),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: Some(config.env.clone()),
        cmd: config.cmd.clone().map(Words),
        healthcheck: config.healthcheck.clone().map(|test| Healthcheck {
            test: Some(Words(test)),
            ..Healthcheck::default()
        }),
        args_escaped: false,
        image: config.image.clone(),
        volumes: Some(
            config
                .volumes
                .iter()
                .map(|path| (path.clone(), serde_json::Map::new()))
                .collect(),
        )
        .filter(|volumes: &BTreeMap<_, _>| !volumes.is_empty()),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone().map(Words),
        network_disabled: config.network_disabled,
        mac_address: config.mac_address.clone(),
        on_build: None,
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        shell: None,
    }
}
