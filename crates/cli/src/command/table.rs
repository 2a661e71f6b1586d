//! All commands: those that are there, those that docker has and Berth not yet, and the groups.

use crate::command::{
    attach, commit, cp, create, dial_stdio, diff, events, exec, export, history, image, image_copy, info,
    inspect, kill, load, login, logout, logs, network, pack, pause, port, prune, ps, pull, push, registry,
    rename, restart, rm, rollback, run, save, search, start, stats, stop, system_check, top, update, version,
    volume, wait,
};
use crate::flag::{Command, Flag, Order, Positionals, State, many, one, switch};

/// Why flags of TLS are refused.
const TLS: &str = "the daemon is reached by its unix socket, or by tcp on this machine";

/// Flags before the command.
const GLOBAL_FLAGS: &[Flag] = &[
    one(
        "config",
        "string",
        "Directory of docker's config.json with the credentials",
    ),
    one("context", "string", "Name of the context to use")
        .short('c')
        .not_yet("contexts are not there; use --host"),
    switch("debug", "Say more").short('D'),
    many("host", "list", "Daemon socket to connect to").short('H'),
    one("log-level", "string", "How much the client itself logs")
        .short('l')
        .default("info"),
    switch("tls", "Use TLS").not_yet(TLS),
    one("tlscacert", "string", "Trust only this CA").not_yet(TLS),
    one("tlscert", "string", "TLS certificate").not_yet(TLS),
    one("tlskey", "string", "TLS key").not_yet(TLS),
    switch("tlsverify", "Use TLS and verify the daemon").not_yet(TLS),
    switch("version", "Print the version and quit").short('v'),
];

/// The program itself.
pub(crate) static PROGRAM: Command = Command {
    path: &[],
    aliases: &[],
    usage: "[OPTIONS] COMMAND",
    about: "Runs containers: docker's commands, without docker's daemon",
    flags: &[GLOBAL_FLAGS],
    positionals: Positionals::AtLeast(0),
    order: Order::FlagsFirst,
    state: State::Group,
};

macro_rules! group {
    ($($name:literal: $about:literal),* $(,)?) => {
        [$(&Command {
            path: &[$name],
            aliases: &[],
            usage: "COMMAND",
            about: $about,
            flags: &[],
            positionals: Positionals::AtLeast(0),
            order: Order::FlagsFirst,
            state: State::Group,
        }),*]
    };
}

macro_rules! not_yet {
    ($([$($path:literal),*] $(as [$($alias:literal),*])? $about:literal;)*) => {
        [$(&Command {
            path: &[$($path),*],
            aliases: &[$(&[$($alias),*])?],
            usage: "",
            about: $about,
            flags: &[],
            positionals: Positionals::AtLeast(0),
            order: Order::FlagsFirst,
            state: State::NotYet,
        }),*]
    };
}

static GROUPS: [&Command; 7] = group! {
    "container": "Manage containers",
    "image": "Manage images",
    "ip": "Manage addresses that move between containers",
    "network": "Manage networks",
    "registry": "Run a registry",
    "system": "Manage Berth",
    "volume": "Manage volumes",
};

static READY: [&Command; 74] = [
    &attach::COMMAND,
    &commit::COMMAND,
    &cp::COMMAND,
    &create::COMMAND,
    &diff::COMMAND,
    &exec::COMMAND,
    &export::COMMAND,
    &inspect::CONTAINER,
    &kill::COMMAND,
    &logs::COMMAND,
    &ps::COMMAND,
    &pause::PAUSE,
    &port::COMMAND,
    &prune::CONTAINERS,
    &rename::COMMAND,
    &restart::COMMAND,
    &rm::COMMAND,
    &rollback::COMMAND,
    &run::COMMAND,
    &start::COMMAND,
    &stats::COMMAND,
    &stop::COMMAND,
    &top::COMMAND,
    &pause::UNPAUSE,
    &update::COMMAND,
    &wait::COMMAND,
    &history::COMMAND,
    &save::COMMAND,
    &load::IMPORT,
    &inspect::IMAGE,
    &load::LOAD,
    &login::COMMAND,
    &logout::COMMAND,
    &image::LIST,
    &pack::COMMAND,
    &prune::IMAGES,
    &pull::COMMAND,
    &image_copy::COMMAND,
    &push::COMMAND,
    &image::REMOVE,
    &search::COMMAND,
    &image::TAG,
    &network::AUDIT,
    &network::MOVE,
    &network::RELEASE,
    &network::CONNECT,
    &network::CREATE,
    &network::DISCONNECT,
    &inspect::NETWORK,
    &network::LIST,
    &prune::NETWORKS,
    &network::REMOVE,
    &info::DISK_USAGE,
    &events::COMMAND,
    &dial_stdio::COMMAND,
    &info::INFO,
    &prune::SYSTEM,
    &system_check::COMMAND,
    &registry::COLLECT,
    &registry::SERVE,
    &volume::CREATE,
    &inspect::VOLUME,
    &volume::LIST,
    &prune::VOLUMES,
    &volume::REMOVE,
    &inspect::ANY,
    &version::COMMAND,
    GROUPS[0],
    GROUPS[1],
    GROUPS[2],
    GROUPS[3],
    GROUPS[4],
    GROUPS[5],
    GROUPS[6],
];

static NOT_YET: [&Command; 21] = not_yet! {
    ["build"] "Build an image from a Dockerfile";
    ["builder"] "Manage builds";
    ["buildx"] "Build with BuildKit";
    ["checkpoint"] "Manage checkpoints";
    ["compose"] "Run applications of several containers";
    ["config"] "Manage swarm configs";
    ["context"] "Manage contexts";
    ["image", "build"] "Build an image from a Dockerfile";
    ["manifest"] "Manage image manifests";
    ["node"] "Manage swarm nodes";
    ["plugin"] "Manage plugins";
    ["scout"] "Look for vulnerabilities";
    ["secret"] "Manage swarm secrets";
    ["service"] "Manage swarm services";
    ["stack"] "Manage swarm stacks";
    ["swarm"] "Manage swarms";
    ["swarm", "init"] "Start a swarm";
    ["swarm", "join"] "Join a swarm";
    ["swarm", "leave"] "Leave a swarm";
    ["trust"] "Manage trust in images";
    ["volume", "update"] "Update a cluster volume";
};

/// All commands in no particular order.
pub(crate) static COMMANDS: std::sync::LazyLock<Vec<&'static Command>> =
    std::sync::LazyLock::new(|| READY.iter().chain(&NOT_YET).copied().collect());

/// Finds the command that the words name; the longest name wins. Returns it with the number of words used.
pub(crate) fn find(words: &[String]) -> Option<(&'static Command, usize)> {
    // Two lists rather than the one above: no allocation on the way to `run`.
    let matches = READY.iter().chain(&NOT_YET).copied().flat_map(|command| {
        let names = std::iter::once(command.path).chain(command.aliases.iter().copied());
        names
            .filter(|name| starts_with(words, name))
            .map(move |name| (command, name.len()))
    });
    matches.max_by_key(|(_, length)| *length)
}

fn starts_with(words: &[String], name: &[&str]) -> bool {
    words.len() >= name.len() && name.iter().zip(words).all(|(part, word)| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::{Status, Value};

    fn find_text(text: &str) -> Option<String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        find(&words).map(|(command, used)| format!("{} {used}", command.path.join("/")))
    }

    #[test]
    fn names_long_and_short() {
        for (words, expected) in [
            ("run -it x", "container/run 1"),
            ("container run x", "container/run 2"),
            ("container", "container 1"),
            ("images", "image/ls 1"),
            ("image list", "image/ls 2"),
            ("ps", "container/ls 1"),
            ("network ls", "network/ls 2"),
        ] {
            assert_eq!(find_text(words).as_deref(), Some(expected), "{words}");
        }
        assert_eq!(find_text("bogus"), None);
    }

    #[test]
    fn tables_are_consistent() {
        let mut names = std::collections::BTreeSet::new();
        for command in COMMANDS.iter().chain([&&PROGRAM]) {
            for name in std::iter::once(&command.path).chain(command.aliases) {
                assert!(names.insert(name.to_vec()), "{name:?} twice");
            }
            let flags: Vec<&Flag> = command.all_flags().collect();
            for (index, flag) in flags.iter().enumerate() {
                for other in &flags[index + 1..] {
                    assert_ne!(flag.name, other.name, "{:?}", command.path);
                    assert!(
                        flag.short.is_none() || flag.short != other.short,
                        "{:?} -{:?}",
                        command.path,
                        flag.short
                    );
                }
                if let Status::AliasOf(name) = flag.status {
                    assert!(flags.iter().any(|other| other.name == name), "{name}");
                } else {
                    assert!(!flag.help.is_empty(), "{:?} --{}", command.path, flag.name);
                }
                if let (Value::One(_), Some(check), default) = (flag.value, flag.check, flag.default) {
                    assert!(default.is_empty() || check(default).is_ok(), "--{}", flag.name);
                }
            }
        }
    }
}
