//! Archives: read, unpacked in all three ways, and loaded as images.

use std::cell::RefCell;
use std::io::Read;
use std::os::fd::AsFd;

use archive::{Entry, EntryKind, Limits, TarReader, TarWriter, UnpackOptions, Whiteouts};
use oci::Digest;

use crate::place;

const LIMITS: Limits = Limits {
    content_bytes: 8 << 20,
    stream_bytes: 16 << 20,
    ..Limits::LAYER
};

/// Makes the checksums of all headers right, so that a changed byte is looked at and not just counted.
fn mend(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    data
}

/// Splits the first byte off: it chooses how the rest is used.
fn choose(data: &[u8]) -> (u8, &[u8]) {
    data.split_first()
        .map_or((0, data), |(&first, rest)| (first, rest))
}

/// Reads every member and its content, twice: what is skipped and what is read must be the same archive.
pub fn tar_read(data: &[u8]) {
    let (choice, rest) = choose(data);
    let data = if choice & 1 == 0 {
        mend(rest)
    } else {
        rest.to_vec()
    };
    let skipped = entries(&data, false);
    let read = entries(&data, true);
    if let (Ok(skipped), Ok(read)) = (&skipped, &read) {
        assert_eq!(skipped, read);
    }
    assert_eq!(skipped.is_ok(), read.is_ok());
    drop(archive::inspect(&data[..], &LIMITS));
}

fn entries(data: &[u8], read: bool) -> Result<Vec<Entry>, ()> {
    let mut tar = TarReader::new(data, LIMITS);
    let mut entries = Vec::new();
    while let Some(entry) = tar.next_entry().map_err(drop)? {
        assert!(!entry.path.contains(&0) && !entry.link.contains(&0));
        if read {
            let bytes = std::io::copy(&mut Read::by_ref(&mut tar), &mut std::io::sink()).map_err(drop)?;
            assert_eq!(bytes, entry.stored_size());
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn unpack(data: &[u8], whiteouts: Whiteouts, owner_base: u32) {
    let options = UnpackOptions {
        whiteouts,
        limits: LIMITS,
        owner_base,
    };
    place::with(|place| {
        let root = place.root();
        drop(archive::unpack(data, root.as_fd(), &options));
        drop(root);
        place.check();
    });
}

fn way(choice: u8) -> Whiteouts {
    match choice % 3 {
        0 => Whiteouts::Overlay,
        1 => Whiteouts::Apply,
        _ => Whiteouts::Literal,
    }
}

/// Unpacks as root; nothing outside may change.
pub fn tar_unpack(data: &[u8]) {
    let (choice, rest) = choose(data);
    let data = if choice & 0x80 == 0 {
        mend(rest)
    } else {
        rest.to_vec()
    };
    unpack(&data, way(choice), if choice & 0x40 == 0 { 0 } else { 100_000 });
}

/// The data of a PAX header before a file and after it.
pub fn pax(data: &[u8]) {
    let (choice, records) = choose(data);
    let kind = [b'x', b'g', b'L', b'K'][usize::from(choice & 3)];
    let size = records.len();
    let mut archive = header(b"PaxHeaders/x", kind, size);
    archive.extend_from_slice(records);
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive.extend_from_slice(&header(
        b"file",
        [b'0', b'2', b'5', b'3'][usize::from(choice >> 2 & 3)],
        0,
    ));
    archive.extend_from_slice(&header(b"next", b'0', 3));
    archive.extend_from_slice(b"abc");
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    if let Ok(read) = entries(&archive, true) {
        assert!(read.len() <= 2);
    }
    if choice & 0x10 != 0 {
        unpack(&archive, way(choice >> 5), 0);
    }
}

fn header(name: &[u8], kind: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = kind;
    block[157..160].copy_from_slice(b"tgt");
    block[257..265].copy_from_slice(b"ustar\x0000");
    mend(&block)
}

/// A small language of members: two bytes and a name each, so that whiteouts, links and directories meet.
pub fn whiteouts(data: &[u8]) {
    const NAMES: [&str; 16] = [
        "a",
        "b",
        "c",
        ".wh.a",
        ".wh.b",
        ".wh.c",
        ".wh..wh..opq",
        ".wh..wh.plnk",
        ".wh.",
        ".wh..",
        ".wh...",
        "..",
        ".",
        "",
        "a/..",
        "../outside",
    ];
    const TARGETS: [&str; 8] = [
        "a",
        "b/c",
        "../outside",
        "/",
        "..",
        "../../outside/sub",
        "a/b/c",
        ".",
    ];
    let (choice, mut rest) = choose(data);
    let mut writer = TarWriter::new(Vec::new());
    for _ in 0..64 {
        let [how, first, second, third, tail @ ..] = rest else {
            break;
        };
        rest = tail;
        let mut path = String::new();
        for (byte, shift) in [(first, 4), (second, 0), (third, 0)] {
            if byte & 0x80 != 0 && shift == 0 {
                continue;
            }
            path += NAMES[usize::from(byte & 15)];
            path.push('/');
        }
        let kind = match how & 7 {
            0 | 1 => EntryKind::File,
            2 | 3 => EntryKind::Directory,
            4 => EntryKind::Symlink,
            5 => EntryKind::HardLink,
            6 => EntryKind::CharDevice,
            _ => EntryKind::Fifo,
        };
        let mut entry = Entry::new(path.trim_end_matches('/'), kind, 0o755);
        if matches!(kind, EntryKind::Symlink | EntryKind::HardLink) {
            entry.link = TARGETS[usize::from(how >> 3 & 7)].into();
        }
        if kind == EntryKind::CharDevice {
            entry.device = (u32::from(how >> 3 & 1), 0);
        }
        if writer.append(&entry, &mut &b""[..]).is_err() {
            break;
        }
    }
    if let Ok(archive) = writer.finish() {
        unpack(&archive, way(choice), 0);
    }
}

/// Nobody unpacks, nobody is told, everything is let in.
const LOAD: image::LoadOptions<'static> = image::LoadOptions {
    sink: None,
    report: &|_| {},
    check: &|_| Ok(()),
};

struct Images {
    store: image::Store,
    directory: std::path::PathBuf,
    uses: u32,
}

thread_local! {
    static IMAGES: RefCell<Option<Images>> = const { RefCell::new(None) };
}

impl Drop for Images {
    fn drop(&mut self) {
        drop(archive::remove_tree_at(&self.directory));
    }
}

/// Loads an archive of images: raw bytes, or one put together from documents that know each other's digests.
pub fn load(data: &[u8]) {
    let (choice, rest) = choose(data);
    let archive = match choice & 3 {
        0 => mend(rest),
        1 => rest.to_vec(),
        2 => docker_archive(rest),
        _ => oci_archive(rest),
    };
    IMAGES.with(|images| {
        let mut images = images.borrow_mut();
        if images.as_ref().is_none_or(|images| images.uses > 200) {
            *images = None;
            let base = std::env::var_os("BERTH_FUZZ_DIRECTORY").unwrap_or_else(|| "/dev/shm".into());
            let directory = std::path::Path::new(&base).join(format!(
                "berth-fuzz-store-{}-{:?}",
                std::process::id(),
                std::thread::current().id()
            ));
            archive::remove_tree_at(&directory).expect("removed");
            let (store, problems) = image::Store::open(&directory).expect("an empty store");
            assert!(problems.is_empty());
            *images = Some(Images {
                store,
                directory,
                uses: 0,
            });
        }
        let images = images.as_mut().expect("made above");
        images.uses += 1;
        if let Ok(loaded) = images.store.load(&archive[..], &LOAD) {
            for one in loaded {
                // What was accepted is an image whose blobs are what they are called.
                let found = images.store.get(&one.image.id).expect("it was loaded");
                for layer in &found.layers {
                    let mut reader =
                        oci::digest::HashReader::new(images.store.open_layer(layer).expect("its blob"));
                    std::io::copy(&mut reader, &mut std::io::sink()).expect("read");
                    assert_eq!(reader.finish().1, layer.blob.digest);
                }
            }
        }
    });
}

fn file(writer: &mut TarWriter<Vec<u8>>, path: &str, content: &[u8]) {
    let mut entry = Entry::new(path, EntryKind::File, 0o644);
    entry.size = content.len() as u64;
    drop(writer.append(&entry, &mut &content[..]));
}

/// Puts digests and sizes where a document has `@L`, `@C` and so on, and `@l`, `@c` for sizes.
fn filled(document: &[u8], parts: &[(char, &[u8])]) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(document).into_owned();
    for (letter, content) in parts {
        text = text.replace(&format!("@{letter}"), Digest::sha256(content).hex());
        text = text.replace(
            &format!("@{}", letter.to_ascii_lowercase()),
            &content.len().to_string(),
        );
    }
    text.into_bytes()
}

fn docker_archive(data: &[u8]) -> Vec<u8> {
    let mut parts = data.splitn(3, |&byte| byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (manifest, config, layer) = (part(), part(), mend(part()));
    let config = filled(config, &[('L', &layer)]);
    let mut writer = TarWriter::new(Vec::new());
    file(&mut writer, "l/layer.tar", &layer);
    file(&mut writer, "config.json", &config);
    file(
        &mut writer,
        "manifest.json",
        &filled(manifest, &[('C', &config), ('L', &layer)]),
    );
    writer.finish().unwrap_or_default()
}

fn oci_archive(data: &[u8]) -> Vec<u8> {
    let mut parts = data.splitn(4, |&byte| byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (index, manifest, config, layer) = (part(), part(), part(), mend(part()));
    let config = filled(config, &[('L', &layer)]);
    let manifest = filled(manifest, &[('C', &config), ('L', &layer)]);
    let index = filled(index, &[('M', &manifest), ('C', &config), ('L', &layer)]);
    let mut writer = TarWriter::new(Vec::new());
    file(&mut writer, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    file(&mut writer, "index.json", &index);
    for blob in [&manifest, &config, &layer, &index] {
        file(
            &mut writer,
            &format!("blobs/sha256/{}", Digest::sha256(blob).hex()),
            blob,
        );
    }
    writer.finish().unwrap_or_default()
}
