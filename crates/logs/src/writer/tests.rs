//! What is written is read back, also across rotations, restarts and faults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::reader::{ReadOptions, Reader, Step};
use crate::record::Record;

/// A directory that goes away with the test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("berth-logs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("container.log")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            std::fs::remove_file(entry.path()).ok();
        }
        std::fs::remove_dir(&self.0).ok();
    }
}

pub(crate) fn options(driver: &str, given: &[(&str, &str)]) -> Options {
    let given: BTreeMap<String, String> = given
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Options::parse(driver, &given).unwrap()
}

pub(crate) fn writer(directory: &Directory, driver: &str, given: &[(&str, &str)]) -> Writer {
    Writer::open(&directory.log(), &options(driver, given), &BTreeMap::new())
}

pub(crate) fn everything() -> ReadOptions {
    ReadOptions {
        tail: None,
        since: None,
        until: None,
        follow: false,
        stdout: true,
        stderr: true,
    }
}

pub(crate) fn read(directory: &Directory, driver: &str, options: ReadOptions) -> Vec<Record> {
    let mut reader = Reader::open(&directory.log(), driver, options).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.step().unwrap() {
            Step::Record(record) => records.push(record),
            Step::End => return records,
            Step::Wait => panic!("nothing to wait for"),
        }
    }
}

pub(crate) fn text(records: &[Record]) -> String {
    let bytes: Vec<u8> = records.iter().flat_map(|record| record.line.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn lines_of_both_streams_in_their_order() {
    for driver in ["json-file", "local"] {
        let directory = Directory::new(&format!("order-{driver}"));
        let mut writer = writer(&directory, driver, &[]);
        writer.write(Stream::Stdout, b"one\ntw");
        writer.write(Stream::Stderr, b"err\n");
        writer.write(Stream::Stdout, b"o\n\nrest");
        writer.finish();
        let records = read(&directory, driver, everything());
        assert_eq!(text(&records), "one\nerr\ntwo\n\nrest");
        let streams: Vec<Stream> = records.iter().map(|record| record.stream).collect();
        assert_eq!(streams[1], Stream::Stderr, "{driver}");
        // A line has the time of its beginning.
        assert!(records[2].time <= records[1].time);
    }
}

#[test]
fn long_lines_are_cut_at_16_kib_and_between_characters() {
    let directory = Directory::new("long");
    let mut writer = writer(&directory, "json-file", &[]);
    let line = format!("x{}\n", "é".repeat(40_000));
    for piece in line.as_bytes().chunks(1000) {
        writer.write(Stream::Stdout, piece);
    }
    let whole = format!("{}\n", "y".repeat(3 * MAXIMUM_LINE));
    writer.write(Stream::Stdout, whole.as_bytes());
    let records = read(&directory, "json-file", everything());
    assert_eq!(text(&records), line.clone() + &whole);
    assert!(records.iter().all(|record| record.line.len() <= MAXIMUM_LINE));
    assert_eq!(records.len(), line.len().div_ceil(MAXIMUM_LINE - 1) + 4);
    assert_eq!(records[0].time, records[3].time);
}

#[test]
fn attributes_are_written_to_each_line() {
    let directory = Directory::new("attributes");
    let attributes = BTreeMap::from([("label".to_owned(), "value".to_owned())]);
    let mut writer = Writer::open(&directory.log(), &options("", &[]), &attributes);
    writer.write(Stream::Stdout, b"x\n");
    assert_eq!(read(&directory, "", everything())[0].attributes, attributes);
}

#[test]
fn rotation_keeps_every_line_of_the_kept_files() {
    for (driver, compress) in [("json-file", "false"), ("json-file", "true"), ("local", "true")] {
        let directory = Directory::new(&format!("rotation-{driver}-{compress}"));
        let given = [("max-size", "20k"), ("max-file", "3"), ("compress", compress)];
        let mut writer = writer(&directory, driver, &given);
        for number in 0..2000 {
            writer.write(
                Stream::Stdout,
                format!("line number {number} {}\n", "-".repeat(20)).as_bytes(),
            );
            if writer.needs_work().is_some() {
                writer.work();
            }
        }
        let suffix = if compress == "true" { ".gz" } else { "" };
        assert_eq!(
            directory.names(),
            [
                "container.log".to_owned(),
                format!("container.log.1{suffix}"),
                format!("container.log.2{suffix}")
            ]
        );
        for name in directory.names() {
            assert!(std::fs::metadata(directory.0.join(name)).unwrap().len() <= 20_000);
        }
        let records = read(&directory, driver, everything());
        let numbers: Vec<u32> = records
            .iter()
            .map(|record| {
                let line = String::from_utf8(record.line.clone()).unwrap();
                line.split(' ').nth(2).unwrap().parse().unwrap()
            })
            .collect();
        assert_eq!(numbers.last(), Some(&1999));
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{driver}");
        assert!(numbers.len() > 250, "{}", numbers.len());
        assert_eq!(writer.dropped(), 0);
    }
}

#[test]
fn one_file_only_starts_anew() {
    let directory = Directory::new("single");
    let mut writer = writer(&directory, "json-file", &[("max-size", "1k"), ("max-file", "1")]);
    for number in 0..100 {
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    assert_eq!(directory.names(), ["container.log"]);
    assert!(text(&read(&directory, "", everything())).ends_with("line 99\n"));
}

#[test]
fn a_new_writer_goes_on_and_cuts_a_torn_entry() {
    use std::io::Write;
    for driver in ["json-file", "local"] {
        let directory = Directory::new(&format!("torn-{driver}"));
        let mut first = writer(&directory, driver, &[]);
        first.write(Stream::Stdout, b"one\ntwo\n");
        drop(first);
        let mut torn = Vec::new();
        encode(
            options(driver, &[]).driver,
            &mut torn,
            Stream::Stdout,
            Timestamp::now(),
            b"torn\n",
            "",
        );
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(directory.log())
            .unwrap();
        file.write_all(&torn[..torn.len() - 3]).unwrap();
        assert_eq!(text(&read(&directory, driver, everything())), "one\ntwo\n");
        let mut second = writer(&directory, driver, &[]);
        second.write(Stream::Stdout, b"three\n");
        assert_eq!(
            text(&read(&directory, driver, everything())),
            "one\ntwo\nthree\n",
            "{driver}"
        );
    }
}

#[test]
fn lost_entries_are_counted_and_marked() {
    let directory = Directory::new("lost");
    // No entry fits in: the directory in place of the file makes every open fail.
    std::fs::create_dir(directory.log()).unwrap();
    let mut writer = writer(&directory, "json-file", &[]);
    writer.write(Stream::Stdout, b"a\nb\n");
    assert_eq!(writer.dropped(), 2);
    std::fs::remove_dir(directory.log()).unwrap();
    writer.write(Stream::Stdout, b"c\n");
    let records = read(&directory, "", everything());
    let lines = text(&records);
    assert!(lines.starts_with("berth: 2 log entries were lost: "), "{lines}");
    assert!(lines.ends_with("\nc\n"));
    assert_eq!(records.len(), 2);
    assert_eq!(writer.dropped(), 2);
}

#[test]
fn non_blocking_mode_writes_the_same() {
    let directory = Directory::new("non-blocking");
    let given = [("mode", "non-blocking"), ("max-size", "50k"), ("max-file", "100")];
    let mut writer = writer(&directory, "json-file", &given);
    let mut expected = String::new();
    for number in 0..5000 {
        let line = format!("line {number}\n");
        writer.write(Stream::Stdout, line.as_bytes());
        expected += &line;
    }
    writer.finish();
    assert_eq!(writer.needs_work(), None);
    assert_eq!(text(&read(&directory, "", everything())), expected);
}

#[test]
fn none_keeps_nothing() {
    let directory = Directory::new("none");
    let mut writer = writer(&directory, "none", &[]);
    writer.write(Stream::Stdout, b"x\n");
    writer.finish();
    assert!(directory.names().is_empty());
    assert!(Reader::open(&directory.log(), "none", everything()).is_err());
}
