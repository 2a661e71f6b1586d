//! Tails, times and following.

use std::sync::mpsc;

use super::*;
use crate::writer::tests::{Directory, everything, read, text, writer};

#[test]
fn the_tail_is_found_across_files() {
    for (driver, compress) in [
        ("json-file", "false"),
        ("json-file", "true"),
        ("local", "false"),
        ("local", "true"),
    ] {
        let directory = Directory::new(&format!("tail-{driver}-{compress}"));
        let given = [("max-size", "3k"), ("max-file", "50"), ("compress", compress)];
        let mut writer = writer(&directory, driver, &given);
        let lines: Vec<String> = (0..200).map(|number| format!("line {number}\n")).collect();
        for line in &lines {
            writer.write(Stream::Stdout, line.as_bytes());
            writer.work();
        }
        writer.write(Stream::Stdout, b"unfinished");
        for count in [0, 1, 2, 30, 77, 199, 200, 201, u64::MAX] {
            let options = ReadOptions {
                tail: Some(count),
                ..everything()
            };
            let first = lines
                .len()
                .saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
            assert_eq!(
                text(&read(&directory, driver, options)),
                lines[first..].concat(),
                "{driver} {compress} {count}"
            );
        }
    }
}

#[test]
fn times_and_streams_choose() {
    let directory = Directory::new("times");
    let mut writer = writer(&directory, "local", &[]);
    for number in 0..6 {
        let stream = if number % 2 == 0 {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        writer.write(stream, format!("{number}\n").as_bytes());
    }
    let times: Vec<Timestamp> = read(&directory, "local", everything())
        .iter()
        .map(|record| record.time)
        .collect();
    let options = ReadOptions {
        since: Some(times[1]),
        until: Some(times[4]),
        ..everything()
    };
    assert_eq!(text(&read(&directory, "local", options.clone())), "1\n2\n3\n4\n");
    let options = ReadOptions {
        stdout: false,
        ..options
    };
    assert_eq!(text(&read(&directory, "local", options)), "1\n3\n");
}

#[test]
fn a_log_without_a_file_is_empty() {
    let directory = Directory::new("absent");
    assert!(read(&directory, "", everything()).is_empty());
    let tail = ReadOptions {
        tail: Some(3),
        ..everything()
    };
    assert!(read(&directory, "", tail).is_empty());
}

#[test]
fn damage_is_passed_over() {
    use std::io::Write;
    let directory = Directory::new("damage");
    writer(&directory, "", &[]).write(Stream::Stdout, b"one\n");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(directory.log())
        .unwrap();
    file.write_all(b"\0\0{\"log\nnull\n[]\n\xff\xfe\n").unwrap();
    writer(&directory, "", &[]).write(Stream::Stdout, b"two\n");
    assert_eq!(text(&read(&directory, "", everything())), "one\ntwo\n");
}

/// A reader on a thread that sends what it reads.
fn follow(
    directory: &Directory,
    driver: &str,
    options: ReadOptions,
) -> (Control, mpsc::Receiver<Record>, std::thread::JoinHandle<()>) {
    let control = Control::new().unwrap();
    let reader = Reader::open(&directory.log(), driver, options).unwrap();
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn({
        let control = control.clone();
        move || {
            reader
                .run(&control, |record| match sender.send(record) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                })
                .unwrap();
        }
    });
    (control, receiver, thread)
}

fn following() -> ReadOptions {
    ReadOptions {
        follow: true,
        ..everything()
    }
}

#[test]
fn following_survives_rotation_and_ends_with_the_container() {
    for (driver, compress) in [("json-file", "false"), ("json-file", "true"), ("local", "true")] {
        let directory = Directory::new(&format!("follow-{driver}-{compress}"));
        let given = [("max-size", "8k"), ("max-file", "1000"), ("compress", compress)];
        let mut writer = writer(&directory, driver, &given);
        writer.write(Stream::Stdout, b"before\n");
        let (control, receiver, thread) = follow(&directory, driver, following());
        assert_eq!(receiver.recv().unwrap().line, b"before\n");
        let mut expected = String::new();
        for number in 0..3000 {
            let line = format!("line {number}\n");
            writer.write(Stream::Stdout, line.as_bytes());
            writer.work();
            expected += &line;
        }
        writer.write(Stream::Stderr, b"last");
        writer.finish();
        control.container_stopped();
        let records: Vec<Record> = receiver.iter().collect();
        assert_eq!(text(&records), expected + "last", "{driver} {compress}");
        thread.join().unwrap();
    }
}

#[test]
fn following_begins_before_the_first_file_and_from_the_tail() {
    let directory = Directory::new("follow-first");
    let (control, receiver, thread) = follow(&directory, "", following());
    let mut writer = writer(&directory, "", &[]);
    writer.write(Stream::Stdout, b"first\n");
    assert_eq!(receiver.recv().unwrap().line, b"first\n");
    let options = ReadOptions {
        tail: Some(0),
        ..following()
    };
    let (second, from_now, second_thread) = follow(&directory, "", options);
    writer.write(Stream::Stdout, b"second\n");
    assert_eq!(receiver.recv().unwrap().line, b"second\n");
    assert_eq!(from_now.recv().unwrap().line, b"second\n");
    control.cancel();
    thread.join().unwrap();
    second.container_stopped();
    assert!(from_now.recv().is_err());
    second_thread.join().unwrap();
}

#[test]
fn following_ends_at_its_time() {
    let directory = Directory::new("follow-until");
    writer(&directory, "", &[]).write(Stream::Stdout, b"x\n");
    let soon = Timestamp::now().unix_nanos() + 50_000_000;
    let options = ReadOptions {
        until: Some(Timestamp::from_unix(
            soon / 1_000_000_000,
            u32::try_from(soon % 1_000_000_000).unwrap(),
        )),
        ..following()
    };
    let (_control, receiver, thread) = follow(&directory, "", options);
    assert_eq!(receiver.iter().count(), 1);
    thread.join().unwrap();
}

#[test]
fn a_damaged_compressed_file_is_read_as_far_as_it_goes_and_once() {
    let directory = Directory::new("damaged-gz");
    let given = [("max-size", "2k"), ("max-file", "9"), ("compress", "true")];
    let mut writer = writer(&directory, "", &given);
    for number in 0..60 {
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes());
        writer.work();
    }
    std::fs::remove_file(directory.log()).unwrap();
    let newest = crate::files::compressed(&directory.log(), 1);
    let file = std::fs::OpenOptions::new().write(true).open(newest).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let (control, receiver, thread) = follow(&directory, "", following());
    control.container_stopped();
    let lines = text(&receiver.iter().collect::<Vec<_>>());
    assert!(lines.starts_with("line 0\nline 1\n"), "{lines}");
    assert_eq!(lines.matches("line 0\n").count(), 1);
    thread.join().unwrap();
}

/// The reader may have looked at a file while it was empty and look for it again when it is not.
#[test]
fn a_file_is_known_again_after_its_first_entry_and_its_compression() {
    let directory = Directory::new("known");
    let given = [("max-size", "1k"), ("max-file", "9"), ("compress", "true")];
    let mut writer = writer(&directory, "", &given);
    std::fs::File::options()
        .create(true)
        .append(true)
        .open(directory.log())
        .unwrap();
    let open = |index| LogFile::open(&directory.log(), index).unwrap().unwrap();
    let source = Source::new(open(0), Driver::JsonFile);
    writer.write(Stream::Stdout, b"first\n");
    assert!(source.is_file(&open(0)).unwrap());
    while !crate::files::compressed(&directory.log(), 1).exists() {
        writer.write(Stream::Stdout, b"more\n");
        writer.work();
    }
    assert!(source.is_file(&open(1)).unwrap());
    assert!(!source.is_file(&open(0)).unwrap());
}

#[test]
fn a_gap_that_a_rotation_makes_hides_nothing() {
    let directory = Directory::new("gap");
    let given = [("max-size", "1k"), ("max-file", "9"), ("compress", "false")];
    let mut writer = writer(&directory, "", &given);
    let mut expected = String::new();
    for number in 0..60 {
        let line = format!("line {number}\n");
        writer.write(Stream::Stdout, line.as_bytes());
        expected += &line;
    }
    let rotated = |index| crate::files::rotated(&directory.log(), index);
    let count = (1..).find(|index| !rotated(*index).exists()).unwrap() - 1;
    assert!(count > 2, "{count}");
    // Each state between two renames of a rotation, the last with no current file.
    for index in (0..=count).rev() {
        let from = if index == 0 {
            directory.log()
        } else {
            rotated(index)
        };
        std::fs::rename(from, rotated(index + 1)).unwrap();
        assert_eq!(text(&read(&directory, "", everything())), expected, "{index}");
    }
}
