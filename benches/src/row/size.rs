//! The release binary: its size and what it needs at run time.

use std::process::Command;

use anyhow::Result;

use super::Effort;
use crate::memory::show;
use crate::table::Table;

/// Measures the program that the other rows use.
pub fn measure(_: Effort) -> Result<Table> {
    let mut table = Table::new("release binary", &["what", "value"]);
    let path = testkit::berth()?;
    let size = std::fs::metadata(path)?.len();
    table.row(["size".to_owned(), show(size.div_ceil(1024))]);
    let output = Command::new("ldd").arg(path).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    table.row(["shared libraries".to_owned(), libraries.join(", ")]);
    Ok(table)
}
