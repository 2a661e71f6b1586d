//! Bytes and requests a second through an engine's networks: iperf3, and wrk with nginx. `--count N`: as many turns.
//!
//! iperf3 is told to use Reno's congestion control: BBR, which is some machines' default, sends from the timers of whichever
//! processor, so that packets of one connection overtake each other, and measures mostly that.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::lab::{Host, MACHINE};
use testkit::{binary, command, image};

use super::Effort;
use crate::site::Site;
use crate::table::Table;

const PROGRAMS: [&str; 3] = ["iperf3", "nginx", "wrk"];
/// nginx with one small answer, and no file of its own but the two that it must have.
const NGINX: &str = "user root root;
worker_processes 1;
daemon off;
error_log stderr crit;
pid /tmp/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server { listen 80; location / { return 200 \"hello from the container\\n\"; } }
}
";

/// A report to read, and the congestion control that every user may choose.
const IPERF: [&str; 3] = ["-J", "-C", "reno"];

/// Measures Berth and docker in turn.
pub fn measure(effort: Effort) -> Result<Table> {
    let mut table = Table::new(
        "throughput: iperf3 in Gbit/s, one connection; wrk in requests a second, 16 connections, one thread",
        &[
            "what",
            "engine",
            "median",
            "least",
            "most",
            "turns",
            "of docker's",
            "processor time",
            "of docker's",
        ],
    );
    if let Some(missing) = PROGRAMS.into_iter().find(|program| !binary::has(program)) {
        table.row([missing, "not installed"]);
        return Ok(table);
    }
    let sites = Site::both("tools", archive)?;
    let mut subjects = Vec::new();
    for site in &sites {
        subjects.push(Subject::new(site)?);
    }
    // Many short turns: a slow second of the machine then hits both, or neither's median.
    let seconds = "1";
    let turns = effort.many(2, 13);
    let mut results = vec![vec![Vec::new(); WAYS.len()]; subjects.len()];
    let mut costs = results.clone();
    for turn in 0..turns {
        for (way, (_, measure)) in WAYS.iter().enumerate() {
            let mut order: Vec<usize> = (0..subjects.len()).collect();
            // Who is first has no advantage.
            order.rotate_left(turn % subjects.len());
            for index in order {
                let before = busy()?;
                let rate = measure(&subjects[index], seconds)?;
                results[index][way].push(rate);
                costs[index][way].push((busy()? - before) / rate);
            }
        }
    }
    for (way, (name, _)) in WAYS.iter().enumerate() {
        let sorted = |of: &[Vec<Vec<f64>>], index: usize| {
            let mut sorted = of[index][way].clone();
            sorted.sort_unstable_by(f64::total_cmp);
            sorted
        };
        let middle = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        for (index, subject) in subjects.iter().enumerate() {
            let rates = sorted(&results, index);
            let of_docker = |of: &[Vec<Vec<f64>>]| {
                if index == 0 && subjects.len() > 1 {
                    format!("{:.2} ×", middle(&sorted(of, 0)) / middle(&sorted(of, 1)))
                } else {
                    String::new()
                }
            };
            let cost = middle(&sorted(&costs, index));
            let cell = |rate: Option<f64>| rate.map(show).unwrap_or_default();
            table.row([
                (*name).to_owned(),
                subject.site.name.to_owned(),
                show(middle(&rates)),
                cell(rates.first().copied()),
                cell(rates.last().copied()),
                turns.to_string(),
                of_docker(&results),
                // Of all processors, for a gigabit or a request.
                if cost < 1e-3 {
                    format!("{:.1} µs", cost * 1e6)
                } else {
                    format!("{:.1} ms", cost * 1e3)
                },
                of_docker(&costs),
            ]);
        }
    }
    drop(subjects);
    for site in sites {
        site.finish()?;
    }
    Ok(table)
}

/// What is measured: Gbit/s, or requests a second.
type Way = fn(&Subject<'_>, seconds: &str) -> Result<f64>;

const WAYS: [(&str, Way); 7] = [
    ("container to the machine", |subject, seconds| {
        subject.iperf_of_container(MACHINE, seconds, &[])
    }),
    ("machine to the container", |subject, seconds| {
        subject.iperf_of_container(MACHINE, seconds, &["--reverse"])
    }),
    ("container to container", |subject, seconds| {
        subject.iperf_of_container(&subject.address, seconds, &[])
    }),
    ("container to the outside", |subject, seconds| {
        subject.iperf_of_container(testkit::lab::NEIGHBOUR, seconds, &[])
    }),
    ("outside to a published port", |subject, seconds| {
        let words = ["iperf3", "-c", MACHINE, "-p", "15201", "-t", seconds];
        gigabits(&subject.site.outside.run(&[&words[..], &IPERF].concat())?.text()?)
    }),
    ("wrk, outside to a published nginx", |subject, seconds| {
        subject.wrk(&subject.site.outside, seconds, &[])
    }),
    ("wrk, a connection for each request", |subject, seconds| {
        subject.wrk(&subject.site.outside, seconds, &["-H", "Connection: close"])
    }),
];

/// An engine with its servers.
struct Subject<'a> {
    site: &'a Site,
    /// Of the container with the iperf3 server.
    address: String,
    /// iperf3 servers of the hosts.
    servers: Vec<Child>,
}

impl<'a> Subject<'a> {
    fn new(site: &'a Site) -> Result<Self> {
        let mut subject = Self {
            site,
            address: String::new(),
            servers: Vec::new(),
        };
        for host in [&site.machine, &site.outside] {
            let mut server = Command::new("iperf3");
            server.arg("-s").stdout(Stdio::null()).stderr(Stdio::null());
            subject.servers.push(host.spawn(&mut server)?);
            listens(host, 5201)?;
        }
        let (host, address) = site.start("server", &["-p", "15201:5201", "tools", "/bin/iperf3", "-s"])?;
        subject.address = address.to_string();
        listens(&host, 5201)?;
        let (host, _) = site.start(
            "web",
            &["-p", "8080:80", "tools", "/bin/nginx", "-c", "/etc/nginx.conf"],
        )?;
        listens(&host, 80)?;
        site.start("client", &["tools", "/bin/sleep", "100000"])?;
        Ok(subject)
    }

    fn iperf_of_container(&self, server: &str, seconds: &str, more: &[&str]) -> Result<f64> {
        let words = ["exec", "client", "/bin/iperf3", "-c", server, "-t", seconds];
        gigabits(&self.site.ok(&[&words[..], &IPERF, more].concat())?)
    }

    fn wrk(&self, from: &Host, seconds: &str, more: &[&str]) -> Result<f64> {
        let url = format!("http://{MACHINE}:8080/");
        let words = ["wrk", "-t", "1", "-c", "16", "-d", seconds];
        let said = from.run(&[&words[..], more, &[&url]].concat())?.text()?;
        let line = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        let errors = said
            .lines()
            .find(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
        if let Some(errors) = errors {
            anyhow::bail!("wrk: {errors}");
        }
        Ok(line.with_context(|| format!("wrk said {said}"))?.trim().parse()?)
    }
}

impl Drop for Subject<'_> {
    fn drop(&mut self) {
        for server in &mut self.servers {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// Waits until somebody listens on a port of a host.
fn listens(host: &Host, port: u16) -> Result<()> {
    let filter = format!("sport = :{port}");
    testkit::until(&format!("a listener on {port}"), Duration::from_secs(20), || {
        Ok(!host.run(&["ss", "-Hltn", &filter])?.text()?.is_empty())
    })
}

/// Returns what the receiver of iperf3's only connection got, from its report.
fn gigabits(report: &str) -> Result<f64> {
    let report: serde_json::Value = serde_json::from_str(report)?;
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("iperf3 says no rate")? / 1e9)
}

/// Returns how many seconds the processors have been busy since the machine began, together (proc_stat(5)).
fn busy() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // The fourth is idle, the fifth waits for a disk; the kernel counts in hundredths for programs.
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    Ok((fields.iter().sum::<f64>() - idle) / 100.0)
}

fn show(rate: f64) -> String {
    if rate < 1000.0 {
        format!("{rate:.2}")
    } else {
        format!("{rate:.0}")
    }
}

/// Makes a tar archive of busybox, iperf3 and nginx with their libraries.
fn archive(directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("tree");
    image::busybox_tree(&tree)?;
    for program in ["iperf3", "nginx"] {
        let path = binary::find(program).with_context(|| format!("{program} is not installed"))?;
        std::fs::copy(&path, tree.join("bin").join(program))?;
        let libraries = command::run(Command::new("ldd").arg(&path), b"")?.text()?;
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = tree.join(library.trim_start_matches('/'));
            std::fs::create_dir_all(copy.parent().context("a library without a directory")?)?;
            std::fs::copy(library, copy)?;
        }
    }
    std::fs::create_dir_all(tree.join("var/log/nginx"))?;
    image::put(&tree.join("etc/nginx.conf"), NGINX)?;
    let archive = directory.join("tools.tar");
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(&archive);
    tar.arg("--directory").arg(&tree).arg(".");
    command::run(&mut tar, b"")?.expect(0)?;
    Ok(archive)
}
