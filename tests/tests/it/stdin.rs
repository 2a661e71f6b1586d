//! Standard input: a pipe that stays open, is half-closed, or is not there.

use anyhow::Result;
use testkit::Daemon;

#[test]
fn a_megabyte_goes_through_unchanged() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let input: Vec<u8> = (0..1_048_576u32)
        .map(|n| b'a' + u8::try_from(n % 26).unwrap())
        .collect();
    let output = daemon
        .berth_with(&["run", "--rm", "-i", "busybox", "cat"], &input)?
        .expect(0)?;
    assert!(
        output.stdout.as_bytes() == input,
        "{} bytes came back",
        output.stdout.len()
    );
    daemon.finish()
}

#[test]
fn end_of_input_reaches_the_program() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "cat > /dev/null; echo end seen";
    let output = daemon.berth_with(&["run", "--rm", "-i", "busybox", "sh", "-c", program], b"x")?;
    assert_eq!(output.text()?, "end seen");
    daemon.finish()
}

#[test]
fn without_i_there_is_no_input() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let output = daemon.berth_with(
        &[
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "readlink /proc/self/fd/0; cat",
        ],
        b"lost",
    )?;
    assert_eq!(output.text()?, "/dev/null");
    daemon.finish()
}

#[test]
fn a_program_that_does_not_read_does_not_hang_the_client() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let input = vec![b'x'; 4 << 20];
    daemon
        .berth_with(&["run", "--rm", "-i", "busybox", "true"], &input)?
        .expect(0)?;
    daemon.finish()
}
