//! One program with five faces: the command line, the daemon, the OCI runtime, the shim's zygote and netd.

mod daemon;
mod on_demand;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    match program(&arguments) {
        Program::Shim => shim::zygote_main(),
        Program::Netd => netd::netd_main(&arguments),
        Program::Oci => runtime_cli::main(arguments.into_iter().skip(2)),
        Program::Daemon => daemon::main(&arguments[2..]),
        Program::CommandLine => cli::run(arguments.split_off(1.min(arguments.len())), &on_demand::OnDemand),
    }
}

/// What the first words ask for.
#[derive(Debug, PartialEq, Eq)]
enum Program {
    Shim,
    Netd,
    Oci,
    Daemon,
    CommandLine,
}

fn program(arguments: &[OsString]) -> Program {
    let word = |index: usize| {
        arguments
            .get(index)
            .and_then(|word| word.to_str())
            .unwrap_or_default()
    };
    let name = word(0).rsplit('/').next().unwrap_or_default();
    match (name, word(1)) {
        ("berth-shim", _) | (_, "berth-shim") => Program::Shim,
        ("berth-netd", _) => Program::Netd,
        (_, "oci") => Program::Oci,
        (_, "daemon") => Program::Daemon,
        _ => Program::CommandLine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_choose_the_face() {
        for (line, expected) in [
            ("berth", Program::CommandLine),
            ("berth run x daemon", Program::CommandLine),
            ("/usr/bin/berth daemon -D", Program::Daemon),
            ("berth oci state x", Program::Oci),
            ("/proc/self/fd/3 berth-shim", Program::Shim),
            ("berth-shim", Program::Shim),
            ("berth-netd /run/berth/netd.sock /etc/resolv.conf", Program::Netd),
            ("", Program::CommandLine),
        ] {
            let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(program(&arguments), expected, "{line}");
        }
    }
}
