//! Every kind of member with every trick of its path, and links with what comes after them.

use super::raw::{DELIVERIES, Raw, deliver, tar};
use super::{Case, Fate};

pub(super) const KINDS: [(u8, &str); 9] = [
    (b'0', "file"),
    (0, "old file"),
    (b'7', "contiguous file"),
    (b'1', "hard link"),
    (b'2', "symlink"),
    (b'3', "character device"),
    (b'4', "block device"),
    (b'5', "directory"),
    (b'6', "fifo"),
];

/// Every kind of member × every trick of a path, the name told in all ways in turn.
pub(super) fn paths(out: &str) -> Vec<Case> {
    let climb = "../".repeat(40);
    let link = |name: &str, target: &str| Raw::new(b'2', name, target).bytes();
    let directory = |name: &str| Raw::new(b'5', name, "").bytes();
    let tricks: Vec<(&str, String, Vec<Vec<u8>>, Fate)> = vec![
        ("absolute", format!("{out}/file"), vec![], Fate::Contained),
        (
            "absolute with dots",
            format!("//.{out}//./file"),
            vec![],
            Fate::Contained,
        ),
        ("up", "../outside/file".into(), vec![], Fate::Refused),
        (
            "up from a directory",
            "a/../../outside/file".into(),
            vec![directory("a")],
            Fate::Refused,
        ),
        (
            "up from far below",
            format!("{climb}{out}/file"),
            vec![],
            Fate::Refused,
        ),
        (
            "up at the end",
            "a/..".into(),
            vec![directory("a")],
            Fate::Refused,
        ),
        ("only up", "..".into(), vec![], Fate::Refused),
        ("the root", "./".into(), vec![], Fate::Contained),
        (
            "through a link",
            "l/file".into(),
            vec![link("l", out)],
            Fate::Refused,
        ),
        (
            "through a relative link",
            "l/new".into(),
            vec![link("l", "../outside")],
            Fate::Refused,
        ),
        (
            "through a chain",
            "c/sub/secret".into(),
            vec![link("l", out), link("c", "l")],
            Fate::Refused,
        ),
        (
            "through a link below",
            "d/l/file".into(),
            vec![directory("d"), link("d/l", "../../outside")],
            Fate::Refused,
        ),
        (
            "through /proc",
            "l/file".into(),
            vec![link("l", &format!("/proc/self/root{out}"))],
            Fate::Refused,
        ),
        (
            "through a working directory",
            "l/outside/file".into(),
            vec![link("l", "/proc/self/cwd")],
            Fate::Refused,
        ),
        (
            "over a link",
            "l".into(),
            vec![link("l", &format!("{out}/file"))],
            Fate::Contained,
        ),
        (
            "over a link with a slash",
            "l/".into(),
            vec![link("l", out)],
            Fate::Contained,
        ),
        (
            "over a link with a dot",
            "l/.".into(),
            vec![link("l", out)],
            Fate::Contained,
        ),
        ("over a loop", "l/x".into(), vec![link("l", "l")], Fate::Refused),
        ("a whiteout of dots", ".wh...".into(), vec![], Fate::Contained),
        (
            "a whiteout through a link",
            "l/.wh.file".into(),
            vec![link("l", out)],
            Fate::Contained,
        ),
        (
            "opaque through a link",
            "l/.wh..wh..opq".into(),
            vec![link("l", out)],
            Fate::Contained,
        ),
        (
            "below a whiteout",
            ".wh.x/../../outside/file".into(),
            vec![],
            Fate::Refused,
        ),
    ];
    let mut cases = Vec::new();
    for (row, (trick, path, before, fate)) in tricks.iter().enumerate() {
        for (column, (kind, what)) in KINDS.iter().enumerate() {
            let target = match kind {
                b'1' | b'2' => format!("{out}/file"),
                _ => String::new(),
            };
            let delivery = DELIVERIES[(row + column) % DELIVERIES.len()];
            let mut members = before.clone();
            members.push(deliver(&Raw::new(*kind, path, &target), delivery));
            // What was made is used once more: written, and its attributes set.
            members.push(Raw::new(b'0', path, "").bytes());
            cases.push(Case {
                name: format!("{what} {trick} ({delivery})"),
                layers: vec![tar(&members)],
                fate: *fate,
            });
        }
    }
    cases
}

/// Both kinds of links × targets outside × what comes after, in one archive and in two layers.
pub(super) fn links(out: &str) -> Vec<Case> {
    let climb = format!("{}{out}", "../".repeat(40).trim_end_matches('/'));
    let targets = [
        out.to_owned(),
        format!("{out}/file"),
        format!("{out}/sub/secret"),
        "../outside".to_owned(),
        "../outside/file".to_owned(),
        climb,
        format!("/proc/self/root{out}/file"),
        "/dev/stdin".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
    ];
    let after: [(&str, Vec<Vec<u8>>); 8] = [
        ("file", vec![Raw::new(b'0', "l", "").bytes()]),
        (
            "directory",
            vec![
                Raw::new(b'5', "l", "").bytes(),
                Raw::new(b'0', "l/file", "").bytes(),
            ],
        ),
        ("file below", vec![Raw::new(b'0', "l/file", "").bytes()]),
        (
            "hard link to it",
            vec![Raw::new(b'1', "h", "l").bytes(), Raw::new(b'0', "h", "").bytes()],
        ),
        (
            "hard link below",
            vec![
                Raw::new(b'1', "h", "l/file").bytes(),
                Raw::new(b'0', "h", "").bytes(),
            ],
        ),
        (
            "whiteout",
            vec![Raw::new(b'0', "l/.wh.file", "").with_content("").bytes()],
        ),
        (
            "opaque",
            vec![Raw::new(b'0', "l/.wh..wh..opq", "").with_content("").bytes()],
        ),
        (
            "own whiteout",
            vec![Raw::new(b'0', ".wh.l", "").with_content("").bytes()],
        ),
    ];
    let mut cases = Vec::new();
    for kind in [b'1', b'2'] {
        for (row, target) in targets.iter().enumerate() {
            for (column, (what, members)) in after.iter().enumerate() {
                let delivery = DELIVERIES[(row + column) % DELIVERIES.len()];
                let link = deliver(&Raw::new(kind, "l", target), delivery);
                let layers = if (row + column) % 2 == 0 {
                    vec![tar(&[&[link][..], members].concat())]
                } else {
                    vec![tar(&[link]), tar(members)]
                };
                cases.push(Case {
                    name: format!(
                        "link '{}' to {target}, then {what} ({delivery})",
                        char::from(kind)
                    ),
                    layers,
                    fate: Fate::Contained,
                });
            }
        }
    }
    cases
}
