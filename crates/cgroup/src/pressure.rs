//! Pressure stall information (kernel `Documentation/accounting/psi.rst`): how long the group waited for a resource.

use std::time::Duration;

use crate::error::CgroupError;
use crate::group::Cgroup;

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
    /// Block devices.
    Io,
}

/// The pressure on one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: PressureLine,
    /// All tasks waited at once; not measured for the CPU by old kernels.
    pub full: Option<PressureLine>,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureLine {
    /// Shares of time.
    pub averages: PressureAverages,
    /// The sum of all waiting.
    pub total: Duration,
}

/// Shares of time in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureAverages {
    /// Of the last 10 s.
    pub ten_seconds: f64,
    /// Of the last 60 s.
    pub minute: f64,
    /// Of the last 300 s.
    pub five_minutes: f64,
}

impl Cgroup {
    /// Returns the pressure on `resource`, `None` where this host does not measure it (no v2, or PSI switched off).
    pub fn pressure(&self, resource: Resource) -> Result<Option<Pressure>, CgroupError> {
        let file = match resource {
            Resource::Cpu => "cpu.pressure",
            Resource::Memory => "memory.pressure",
            Resource::Io => "io.pressure",
        };
        let Some(directory) = self.unified() else {
            return Ok(None);
        };
        let Some(text) = self.read_optional(directory, file)? else {
            return Ok(None);
        };
        parse(&text).map(Some).ok_or_else(|| CgroupError::Form {
            path: self.path_for_display(directory, file),
            text: text.chars().take(80).collect(),
        })
    }
}

/// Parses `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same for `full`.
fn parse(text: &str) -> Option<Pressure> {
    let line = |name: &str| -> Option<PressureLine> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        let value = |key: &str| {
            line.split(' ')
                .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
        };
        let average = |key: &str| value(key)?.parse::<f64>().ok();
        Some(PressureLine {
            averages: PressureAverages {
                ten_seconds: average("avg10")?,
                minute: average("avg60")?,
                five_minutes: average("avg300")?,
            },
            total: Duration::from_micros(value("total")?.parse().ok()?),
        })
    };
    Some(Pressure {
        some: line("some")?,
        full: line("full"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_kernels_lines() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        let pressure = parse(text).unwrap();
        assert_eq!(pressure.some.total, Duration::from_micros(123_456));
        assert!((pressure.some.averages.ten_seconds - 1.5).abs() < 1e-9);
        assert_eq!(pressure.full.unwrap().total, Duration::from_micros(9));
        assert!(parse("").is_none());
        assert!(parse("some avg10=x").is_none());
    }
}
