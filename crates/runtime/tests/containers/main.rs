//! Containers for real: needs root, busybox-static and this kernel's namespaces.
//!
//! One process, one thread, one test after the other; each has a scratch directory of its own that is removed also
//! after a failure. `cargo test -p runtime --test containers -- WORD` runs the tests whose name has WORD in it.
#![expect(clippy::print_stdout, reason = "the test harness's own report")]
#![expect(clippy::unwrap_used, reason = "tests: a failure is a panic")]

mod basics;
mod execs;
mod fixture;
mod isolation;

type Test = (&'static str, fn());

fn main() -> std::process::ExitCode {
    let filter: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let all: Vec<Test> = [basics::TESTS, execs::TESTS, isolation::TESTS].concat();
    // The protocol of the standard harness, which nextest speaks: it lists, then runs each test alone.
    if has("--list") {
        for (name, _) in all.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return std::process::ExitCode::SUCCESS;
    }
    let is_wanted = |name: &str, word: &str| {
        if has("--exact") {
            name == word
        } else {
            name.contains(word)
        }
    };
    let (mut passed, mut failed, mut filtered) = (0u32, Vec::new(), 0u32);
    for (name, test) in all {
        if !filter.is_empty() && !filter.iter().any(|word| is_wanted(name, word)) {
            filtered += 1;
            continue;
        }
        match std::panic::catch_unwind(test) {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(_) => {
                println!("test {name} ... FAILED");
                failed.push(name);
            }
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; {filtered} filtered out",
        failed.len()
    );
    std::process::ExitCode::from(u8::from(!failed.is_empty()))
}
