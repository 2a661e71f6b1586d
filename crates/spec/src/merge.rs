//! The image's defaults under the caller's wishes, and what follows from both: arguments and environment.

use oci::image::RunConfig;

use crate::config::Config;

/// docker's `PATH` for Linux.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Fills what the caller left open from the image.
pub fn merge(config: &mut Config, image: &RunConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    config.exposed_ports.extend(image.exposed_ports.keys());
    for variable in image.env.iter().flatten() {
        let name = name_of(variable);
        if !config.env.iter().any(|own| name_of(own) == name) {
            config.env.push(variable.clone());
        }
    }
    for (key, value) in &image.labels {
        config.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    // An image's command belongs to its own entrypoint: another entrypoint starts without it.
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if config
        .entrypoint
        .as_ref()
        .is_some_and(|words| words.len() == 1 && words[0].is_empty())
    {
        config.entrypoint = None;
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    config.volumes.extend(image.volumes.keys().cloned());
    if config.stop_signal.is_empty() {
        config.stop_signal = image.stop_signal.clone().unwrap_or_default();
    }
    if config.stop_timeout.is_none() {
        config.stop_timeout = image.stop_timeout;
    }
}

/// Returns the program and its arguments; empty if there is nothing to execute.
pub fn command_line(config: &Config) -> Vec<String> {
    let words = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
    let mut line = words(&config.entrypoint);
    line.extend(words(&config.cmd));
    line
}

/// Returns the environment as docker builds it: `PATH`, `HOSTNAME`, `TERM` with a terminal, then the container's own.
pub fn environment(config: &Config, hostname: &str, extra: &[String]) -> Vec<String> {
    let mut environment = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        environment.push("TERM=xterm".to_owned());
    }
    for variable in config.env.iter().chain(extra) {
        let name = name_of(variable);
        let place = environment.iter().position(|known| name_of(known) == name);
        match (place, variable.contains('=')) {
            (Some(place), true) => environment[place].clone_from(variable),
            (None, true) => environment.push(variable.clone()),
            (Some(place), false) => drop(environment.remove(place)),
            (None, false) => {}
        }
    }
    environment
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn entrypoint_and_command_follow_dockers_rules() {
        let image = RunConfig {
            entrypoint: strings(&["/e"]),
            cmd: strings(&["c"]),
            ..RunConfig::default()
        };
        for (entrypoint, cmd, expected) in [
            (None, None, "/e c"),
            (None, strings(&["x"]), "/e x"),
            (strings(&["/o"]), None, "/o"),
            (strings(&["/o"]), strings(&["x", "y"]), "/o x y"),
            (strings(&[""]), strings(&["x"]), "x"),
            (strings(&[""]), None, ""),
        ] {
            let mut config = Config {
                entrypoint,
                cmd,
                ..Config::default()
            };
            merge(&mut config, &image);
            assert_eq!(command_line(&config).join(" "), expected);
        }
    }

    #[test]
    fn the_environment_replaces_and_removes() {
        let config = Config {
            tty: true,
            env: vec![
                "A=1".to_owned(),
                "TERM=vt100".to_owned(),
                "HOSTNAME".to_owned(),
                "A=2".to_owned(),
            ],
            ..Config::default()
        };
        let environment = environment(&config, "h", &["B=".to_owned()]);
        assert_eq!(environment, [DEFAULT_PATH, "TERM=vt100", "A=2", "B="]);
    }
}
