//! Every limit on archives: what is exactly as large is taken, one more is refused.

use super::*;

/// Small ones, no two of which are met by the same archive.
const LIMITS: Limits = Limits {
    entries: 10,
    content_bytes: 1000,
    stream_bytes: 64 << 10,
    sparse_bytes: 1 << 20,
    depth: 8,
    xattrs: 3,
    xattr_bytes: 100,
};

/// Returns the error of unpacking with [`LIMITS`], which both ways of unpacking and, if `by_reading`, inspection find.
fn refusal(bytes: &[u8], by_reading: bool) -> Option<String> {
    let inspected = inspect(bytes, &LIMITS).err().map(|error| error.to_string());
    let mut found = None;
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Apply, Whiteouts::Literal] {
        let target = TempDir::new().unwrap();
        let directory = std::fs::File::open(target.path()).unwrap();
        let options = UnpackOptions {
            limits: LIMITS,
            ..UnpackOptions::layer(whiteouts)
        };
        found = unpack(bytes, directory.as_fd(), &options).err().map(|error| {
            assert_eq!(base::error::Kinded::kind(&error), base::error::Kind::Invalid);
            base::error::chain(&error).to_string()
        });
    }
    if by_reading {
        assert_eq!(found, inspected);
    }
    found
}

fn files(count: usize) -> Vec<Member> {
    (0..count).map(|number| file(&number.to_string(), "")).collect()
}

fn deep(count: usize) -> Vec<Member> {
    vec![directory(&vec!["d"; count].join("/"), 0o755)]
}

fn sparse(size: u64) -> Vec<Member> {
    let mut member = file("s", "x");
    (member.0.size, member.0.sparse) = (size, Some(vec![(0, 1)]));
    vec![member]
}

fn with_attributes(count: usize, length: usize) -> Vec<Member> {
    let mut member = file("a", "x");
    member.0.xattrs = (0..count)
        .map(|number| (format!("user.{number}").into_bytes(), vec![b'x'; length]))
        .collect();
    vec![member]
}

#[test]
fn im_05_every_limit_of_archives() {
    let content = |count: usize| {
        vec![
            file("a", &"x".repeat(count / 2)),
            file("b", &"x".repeat(count - count / 2)),
        ]
    };
    let number = |limit: u64| usize::try_from(limit).unwrap();
    let cases = [
        (
            "members",
            files(number(LIMITS.entries)),
            files(number(LIMITS.entries) + 1),
        ),
        (
            "bytes of content",
            content(number(LIMITS.content_bytes)),
            content(number(LIMITS.content_bytes) + 1),
        ),
        (
            "bytes in a sparse file",
            sparse(LIMITS.sparse_bytes),
            sparse(LIMITS.sparse_bytes + 1),
        ),
        (
            "extended attributes on one member",
            with_attributes(LIMITS.xattrs, 1),
            with_attributes(LIMITS.xattrs + 1, 1),
        ),
        (
            "bytes in an extended attribute",
            with_attributes(1, LIMITS.xattr_bytes),
            with_attributes(1, LIMITS.xattr_bytes + 1),
        ),
    ];
    for (what, most, more) in cases {
        assert_eq!(refusal(&archive(&most), true), None, "{what}");
        let error = refusal(&archive(&more), true).expect(what);
        assert!(
            error.starts_with("archive has more than") && error.ends_with(what),
            "{error}"
        );
    }
    // Depth is a matter of the tree and not of the archive.
    assert_eq!(refusal(&archive(&deep(LIMITS.depth)), false), None);
    let error = refusal(&archive(&deep(LIMITS.depth + 1)), false).unwrap();
    assert!(error.contains("too deep"), "{error}");
    // What follows the end of the archive is a part of the stream.
    let mut stream = archive(&files(1));
    stream.resize(number(LIMITS.stream_bytes), 0);
    assert_eq!(refusal(&stream, true), None);
    stream.push(0);
    assert_eq!(
        refusal(&stream, true).unwrap(),
        "archive has more than 65536 bytes"
    );
    // And so is content.
    let mut stream = archive(&[file("a", &"x".repeat(900))]);
    stream.resize(number(LIMITS.stream_bytes) + 1, 0);
    assert!(refusal(&stream, true).is_some());
}

/// Names and targets by PAX and by GNU's long names, one name, an extension header, and the pieces of a sparse file:
/// these limits are the format's and the kernel's.
#[test]
fn im_05_every_limit_of_headers() {
    let read = |bytes: &[u8]| {
        inspect(bytes, &Limits::LAYER)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    // The kernel's PATH_MAX.
    for length in [4096, 4097] {
        let name = "n/".repeat(2000) + &"n".repeat(length - 4000);
        for bytes in [
            archive(&[file(&name, "x")]),
            archive(&[symlink("a", &name)]),
            [extension(b'L', name.as_bytes()), archive(&[file("a", "x")])].concat(),
            [extension(b'K', name.as_bytes()), archive(&[symlink("a", "b")])].concat(),
        ] {
            let read = read(&bytes);
            assert_eq!(read.is_ok(), length == 4096, "{length}: {read:?}");
        }
    }
    // The kernel's NAME_MAX.
    for length in [255, 256] {
        let target = TempDir::new().unwrap();
        let unpacked = unpack_with(
            &archive(&[file(&"n".repeat(length), "x")]),
            target.path(),
            Whiteouts::Overlay,
        );
        assert_eq!(unpacked.is_ok(), length == 255, "{unpacked:?}");
    }
    // The format's own: 1 MiB of extension.
    for length in [1 << 20, (1 << 20) + 1] {
        let value = "x".repeat(length - "1048576 comment=\n".len());
        let records = format!("{length} comment={value}\n");
        assert_eq!(records.len(), length);
        let read = read(&[extension(b'x', records.as_bytes()), archive(&[file("a", "x")])].concat());
        match length {
            0x10_0000 => assert_eq!(read, Ok(())),
            _ => assert_eq!(
                read.unwrap_err(),
                "archive has more than 1048576 bytes in an extension header"
            ),
        }
    }
    // 65,536 pieces.
    for pieces in [65_536, 65_537] {
        let map: Vec<(u64, u64)> = (0..pieces).map(|piece| (piece * 2, 1)).collect();
        let mut member = file("s", &"x".repeat(usize::try_from(pieces).unwrap()));
        (member.0.size, member.0.sparse) = (pieces * 2, Some(map));
        let read = read(&archive(&[member]));
        assert_eq!(read.is_ok(), pieces == 65_536, "{pieces}: {read:?}");
    }
}

/// An extension header of this content.
fn extension(flag: u8, content: &[u8]) -> Vec<u8> {
    let mut block = patched(|bytes| {
        bytes[156] = flag;
        bytes[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    });
    block.truncate(512);
    block.extend(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}
