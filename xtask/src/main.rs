//! Development tasks: `cargo xtask tidy` checks what compilers and lints do not, `cargo xtask bench` compares Berth
//! with other engines.
#![expect(clippy::print_stdout, reason = "a development tool talks to the terminal")]

mod bench;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "\
usage: cargo xtask tidy
       cargo xtask bench [--quick] [ROW…]     (`cargo xtask bench --list` names the rows)";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy(),
        ["bench", rest @ ..] => bench::run(root(), rest),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The top directory of the source tree.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

fn tidy() -> Result<ExitCode> {
    let tree = tidy::Tree::load(root())?;
    let findings = tidy::check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    println!(
        "tidy: {} files, {errors} errors, {} warnings",
        tree.len(),
        findings.len() - errors
    );
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
