//! `update`: changes limits and the restart policy of containers.

use api_types::host_config::UpdateRequest;

use crate::check;
use crate::create::{check_net_budget, check_net_rate, net_budget, net_rate, restart_policy};
use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State, one};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "update"],
    aliases: &[&["update"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Change limits and the restart policy of containers",
    flags: &[&[
        one(
            "blkio-weight",
            "uint16",
            "Block IO weight from 10 to 1000, or 0 for none",
        )
        .check(check::uint16),
        one("cpu-period", "int", "Period of the CPU limit in microseconds").check(check::integer),
        one("cpu-quota", "int", "CPU time in each period in microseconds").check(check::integer),
        one(
            "cpu-rt-period",
            "int",
            "Period of the real-time CPU limit in microseconds",
        )
        .check(check::integer),
        one(
            "cpu-rt-runtime",
            "int",
            "Real-time CPU time in each period in microseconds",
        )
        .check(check::integer),
        one("cpu-shares", "int", "CPU shares (relative weight)")
            .short('c')
            .check(check::integer),
        one("cpus", "decimal", "Number of CPUs").check(check::cpus),
        one("cpuset-cpus", "string", "CPUs in which to run (0-3, 0,1)"),
        one("cpuset-mems", "string", "Memory nodes in which to run (0-3, 0,1)"),
        one("kernel-memory", "bytes", "Kernel memory limit").never("Linux has no such limit any more"),
        one("memory", "bytes", "Memory limit")
            .short('m')
            .check(check::size),
        one("memory-reservation", "bytes", "Memory soft limit").check(check::size),
        one(
            "memory-swap",
            "bytes",
            "Limit of memory and swap together; -1 for no limit of swap",
        )
        .check(check::size_or_unlimited),
        one(
            "net-budget-in",
            "bytes[/time]",
            "How much the container may receive in a time (10g/24h), or none",
        )
        .check(check_net_budget),
        one(
            "net-budget-out",
            "bytes[/time]",
            "How much the container may send in a time (10g/24h), or none",
        )
        .check(check_net_budget),
        one(
            "net-rate-in",
            "rate",
            "How much the container may receive (8mbit), or none",
        )
        .check(check_net_rate),
        one(
            "net-rate-out",
            "rate",
            "How much the container may send (8mbit), or none",
        )
        .check(check_net_rate),
        one("pids-limit", "int", "Limit of processes; -1 for none").check(check::integer),
        one("restart", "string", "When to start the container again"),
        one("shm-size", "bytes", "Size of /dev/shm").check(check::size),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let request = request(arguments)?;
    let client = session.connect().await?;
    let mut code = 0;
    for id in &arguments.positionals {
        match client.update_container(id, &request).await {
            Ok(reply) => {
                output::out_line(id)?;
                for warning in reply.warnings.iter().flatten() {
                    output::err_line(warning);
                }
            }
            Err(error) => {
                output::err_line(&describe(&error));
                code = 1;
            }
        }
    }
    Ok(code)
}

fn request(arguments: &Arguments) -> Result<UpdateRequest, Failure> {
    let is_given = arguments
        .command()
        .all_flags()
        .any(|flag| arguments.is_set(flag.name));
    if !is_given {
        return Err(Failure::message(
            "you must provide one or more flags when using this command.",
        ));
    }
    let bytes = |name: &str| match arguments.text(name) {
        "" => Ok(0),
        "-1" => Ok(-1),
        text => base::size::parse_bytes(text)
            .ok()
            .and_then(|bytes| i64::try_from(bytes).ok())
            .ok_or_else(|| Failure::invalid(format!("invalid size: '{text}'"))),
    };
    Ok(UpdateRequest {
        cpu_shares: arguments.number("cpu-shares"),
        memory: bytes("memory")?,
        nano_cpus: match arguments.text("cpus") {
            "" => 0,
            text => check::parse_cpus(text).map_err(Failure::invalid)?,
        },
        blkio_weight: u16::try_from(arguments.number("blkio-weight")).unwrap_or_default(),
        cpu_period: arguments.number("cpu-period"),
        cpu_quota: arguments.number("cpu-quota"),
        cpu_realtime_period: arguments.number("cpu-rt-period"),
        cpu_realtime_runtime: arguments.number("cpu-rt-runtime"),
        cpuset_cpus: arguments.text("cpuset-cpus").to_owned(),
        cpuset_mems: arguments.text("cpuset-mems").to_owned(),
        memory_reservation: bytes("memory-reservation")?,
        memory_swap: bytes("memory-swap")?,
        pids_limit: arguments.number_if_set("pids-limit"),
        restart_policy: restart_policy(arguments.text("restart"))?,
        shm_size: bytes("shm-size")?,
        berth_net_rate_in: net_rate(arguments, "net-rate-in")?,
        berth_net_rate_out: net_rate(arguments, "net-rate-out")?,
        berth_net_budget_in: net_budget(arguments, "net-budget-in")?,
        berth_net_budget_out: net_budget(arguments, "net-budget-out")?,
        ..UpdateRequest::default()
    })
}
