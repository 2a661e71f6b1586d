//! Headers that two readers read in two ways, or that one cannot read at all.

use super::members::KINDS;
use super::raw::{Raw, compressed, record, tar};
use super::{Case, Fate};

/// Headers that two readers read in two ways, or that one cannot read at all.
pub(super) fn desynchronised() -> Vec<Case> {
    let hidden = Raw::new(b'0', "../outside/hidden", "").bytes();
    let file = |name: &str| Raw::new(b'0', name, "").bytes();
    let x = |records: &[u8]| Raw::extension(b'x', records).bytes();
    let long = |kind: u8, text: &str| Raw::extension(kind, text).bytes();
    let carrier = |size: usize| {
        Raw::new(b'0', "carrier", "")
            .with_content(&hidden)
            .with_size(size)
            .bytes()
    };
    let mut cases: Vec<(String, Vec<Vec<u8>>, Fate)> = Vec::new();
    let mut case = |name: &str, members: Vec<Vec<u8>>, fate| cases.push((name.to_owned(), members, fate));
    // Sizes: what one reader takes for content is a member for another.
    case(
        "PAX size less than the header's",
        vec![x(&record("size", b"0")), carrier(1024)],
        Fate::Refused,
    );
    case(
        "header's size less than PAX's",
        vec![x(&record("size", b"1024")), carrier(0)],
        Fate::Contained,
    );
    case("no size, and content", vec![carrier(0)], Fate::Refused);
    case(
        "PAX size of 2^64 - 1",
        vec![x(&record("size", b"18446744073709551615")), carrier(1024)],
        Fate::Refused,
    );
    case(
        "PAX size of 2^64",
        vec![x(&record("size", b"18446744073709551616")), carrier(1024)],
        Fate::Refused,
    );
    case(
        "PAX size of 2^63",
        vec![x(&record("size", b"9223372036854775808")), carrier(1024)],
        Fate::Refused,
    );
    case(
        "PAX size with a sign",
        vec![x(&record("size", b"+0")), carrier(1024)],
        Fate::Refused,
    );
    case(
        "PAX size with a blank",
        vec![x(&record("size", b" 0")), carrier(1024)],
        Fate::Refused,
    );
    case(
        "PAX size in hex",
        vec![x(&record("size", b"0x400")), carrier(1024)],
        Fate::Refused,
    );
    case(
        "PAX size twice",
        vec![
            x(&[record("size", b"1024"), record("size", b"0")].concat()),
            carrier(1024),
        ],
        Fate::Refused,
    );
    for (kind, what) in KINDS.iter().skip(3) {
        let member = Raw::new(
            *kind,
            "carrier",
            if matches!(kind, b'1' | b'2') { "x" } else { "" },
        );
        case(
            &format!("{what} with content"),
            vec![member.clone().with_content(&hidden).bytes()],
            Fate::Refused,
        );
        let sized = vec![
            x(&record("size", b"1024")),
            member.with_content(&hidden).with_size(0).bytes(),
        ];
        case(&format!("{what} with content by PAX"), sized, Fate::Refused);
    }
    // Names told twice.
    case(
        "two PAX headers",
        vec![
            x(&record("path", b"a")),
            x(&record("path", b"../outside/file")),
            file("b"),
        ],
        Fate::Refused,
    );
    case(
        "two long names",
        vec![long(b'L', "a\0"), long(b'L', "../outside/file\0"), file("b")],
        Fate::Refused,
    );
    case(
        "two long targets",
        vec![
            long(b'K', "a\0"),
            long(b'K', "b\0"),
            Raw::new(b'2', "l", "x").bytes(),
        ],
        Fate::Refused,
    );
    case(
        "PAX and GNU differ",
        vec![
            x(&record("path", b"a")),
            long(b'L', "../outside/file\0"),
            file("b"),
        ],
        Fate::Refused,
    );
    case(
        "GNU and PAX differ",
        vec![
            long(b'L', "a\0"),
            x(&record("path", b"../outside/file")),
            file("b"),
        ],
        Fate::Refused,
    );
    case(
        "targets differ",
        vec![
            x(&record("linkpath", b"a")),
            long(b'K', "../outside/file\0"),
            Raw::new(b'1', "h", "x").bytes(),
        ],
        Fate::Refused,
    );
    case(
        "path twice in one header",
        vec![
            x(&[record("path", b"a"), record("path", b"../outside/file")].concat()),
            file("b"),
        ],
        Fate::Refused,
    );
    case(
        "a path that is taken back",
        vec![
            x(&[record("path", b"a"), record("path", b"")].concat()),
            file("../outside/file"),
        ],
        Fate::Refused,
    );
    case(
        "a long name with a NUL",
        vec![long(b'L', "a\0../outside/file\0"), file("b")],
        Fate::Contained,
    );
    case(
        "a PAX path with a NUL",
        vec![x(&record("path", b"a\0/../../outside/file")), file("b")],
        Fate::Refused,
    );
    case(
        "an empty long name",
        vec![long(b'L', "\0"), file("b")],
        Fate::Refused,
    );
    case(
        "a long name without a member",
        vec![long(b'L', "a\0")],
        Fate::Refused,
    );
    case(
        "a PAX header without a member",
        vec![x(&record("path", b"a"))],
        Fate::Refused,
    );
    case(
        "a name of 5000 bytes",
        vec![x(&record("path", &[b'n'; 5000])), file("b")],
        Fate::Refused,
    );
    case(
        "a target of 5000 bytes",
        vec![
            x(&record("linkpath", &[b'n'; 5000])),
            Raw::new(b'2', "l", "x").bytes(),
        ],
        Fate::Refused,
    );
    for (key, value) in [
        ("path", "../outside/file"),
        ("linkpath", "../outside/file"),
        ("size", "0"),
        ("GNU.sparse.name", "../outside/file"),
    ] {
        let global = Raw::extension(b'g', record(key, value.as_bytes())).bytes();
        case(&format!("global {key}"), vec![global, file("a")], Fate::Refused);
    }
    // Records that end elsewhere than they say.
    let broken: [(&str, &[u8]); 12] = [
        ("a length of 0", b"0 path=../outside/file\n"),
        ("a length that is negative", b"-9 path=a\n"),
        ("no length", b" path=a\n"),
        ("a length that is text", b"xx path=a\n"),
        ("a length beyond the header", b"99 path=a\n"),
        ("a length that wraps", b"18446744073709551626 path=a\n"),
        ("a length before the end", b"9 path=abc\n"),
        ("a length into the next record", b"14 path=a\n10 path=b\n"),
        ("no end of line", b"9 path=abc"),
        ("no equals sign", b"7 path\n"),
        ("only a blank", b" "),
        ("blanks at the end", b"10 path=a\n          "),
    ];
    for (what, records) in broken {
        case(what, vec![x(records), file("b")], Fate::Refused);
    }
    case(
        "a line end in a value",
        vec![x(&record("path", b"a\n19 path=../outside")), file("b")],
        Fate::Contained,
    );
    // Sparse maps.
    let sparse = |map: &[u8], size: &[u8]| {
        x(&[
            record("GNU.sparse.major", b"0"),
            record("GNU.sparse.map", map),
            record("GNU.sparse.size", size),
        ]
        .concat())
    };
    case(
        "a sparse map that wraps",
        vec![sparse(b"18446744073709551615,5", b"10"), file("s")],
        Fate::Refused,
    );
    case(
        "a sparse map backwards",
        vec![sparse(b"2,2,0,2", b"10"), file("s")],
        Fate::Refused,
    );
    case(
        "a sparse map beyond its size",
        vec![sparse(b"8,4", b"10"), file("s")],
        Fate::Refused,
    );
    case(
        "a sparse map of too little",
        vec![sparse(b"0,3", b"10"), file("s")],
        Fate::Refused,
    );
    case(
        "half a pair",
        vec![sparse(b"0,4,5", b"10"), file("s")],
        Fate::Refused,
    );
    case(
        "a sparse file of 2^63 bytes",
        vec![sparse(b"0,4", b"9223372036854775808"), file("s")],
        Fate::Refused,
    );
    let extended = Raw::new(b'S', "s", "").bytes_with(|block| block[482] = 1);
    case("an old sparse map that goes on", vec![extended], Fate::Contained);
    let one = [
        record("GNU.sparse.major", b"1"),
        record("GNU.sparse.minor", b"0"),
        record("GNU.sparse.realsize", b"9"),
    ]
    .concat();
    for text in [
        "99999999999999999999\n",
        "65537\n",
        "-1\n",
        "1\n",
        "",
        "2\n0\n1\n",
    ] {
        let member = Raw::new(b'0', "s", "").with_content(text).bytes();
        case(
            &format!("a sparse map {text:?} in the content"),
            vec![x(&one), member],
            Fate::Refused,
        );
    }
    // Headers.
    let changed = |change: fn(&mut [u8])| vec![Raw::new(b'0', "a", "").bytes_with(change)];
    case(
        "a size that is negative",
        changed(|block| block[124..136].fill(0xff)),
        Fate::Refused,
    );
    case(
        "a size of all bits",
        changed(|block| {
            block[124..136].fill(0xff);
            block[124] = 0x80;
        }),
        Fate::Refused,
    );
    case(
        "a size with letters",
        changed(|block| block[124..136].copy_from_slice(b"00000000zz9\0")),
        Fate::Refused,
    );
    case(
        "a GNU header with a prefix",
        changed(|block| {
            block[257..265].copy_from_slice(b"ustar  \0");
            block[345..355].copy_from_slice(b"../outside");
        }),
        Fate::Contained,
    );
    case(
        "a v7 header with a prefix",
        changed(|block| {
            block[257..265].fill(0);
            block[345..355].copy_from_slice(b"../outside");
        }),
        Fate::Contained,
    );
    for kind in *b"VMDNXAEZ" {
        case(
            &format!("a member of type '{}'", char::from(kind)),
            vec![Raw::new(kind, "a", "").bytes(), hidden.clone()],
            Fate::Refused,
        );
    }
    let mut unsealed = file("a");
    unsealed[0] = b'b';
    case("a wrong checksum", vec![unsealed], Fate::Refused);
    case(
        "one block of zeros",
        vec![vec![0; 512], hidden.clone()],
        Fate::Refused,
    );
    let mut cases: Vec<Case> = cases
        .into_iter()
        .map(|(name, members, fate)| Case {
            name,
            layers: vec![tar(&members)],
            fate,
        })
        .collect();
    let mut layer = |name: &str, bytes: Vec<u8>, fate| {
        cases.push(Case {
            name: name.to_owned(),
            layers: vec![bytes],
            fate,
        });
    };
    layer(
        "a second archive after the end",
        [tar(&[file("a")]), tar(std::slice::from_ref(&hidden))].concat(),
        Fate::Contained,
    );
    layer(
        "cut off in a header",
        tar(&[file("a")])[..100].to_vec(),
        Fate::Refused,
    );
    layer(
        "cut off in content",
        tar(&[file("a")])[..514].to_vec(),
        Fate::Refused,
    );
    layer(
        "cut off in an extension",
        x(&record("path", b"a"))[..514].to_vec(),
        Fate::Refused,
    );
    let packed = compressed(&tar(&[file("a")]));
    layer("gzip cut off", packed[..packed.len() - 9].to_vec(), Fate::Refused);
    layer(
        "two gzip members",
        [compressed(&file("a")), compressed(&tar(&[hidden]))].concat(),
        Fate::Refused,
    );
    layer("nothing", Vec::new(), Fate::Contained);
    layer(
        "a FIFO that is written",
        tar(&[
            Raw::new(b'6', "a", "").bytes(),
            file("a"),
            Raw::new(b'1', "b", "a").bytes(),
            file("b"),
        ]),
        Fate::Contained,
    );
    layer(
        "a FIFO through a hard link",
        tar(&[
            Raw::new(b'6', "a", "").bytes(),
            Raw::new(b'1', "b", "a").bytes(),
            file("b"),
            file("a"),
        ]),
        Fate::Contained,
    );
    layer(
        "a FIFO as a directory",
        tar(&[Raw::new(b'6', "a", "").bytes(), file("a/b")]),
        Fate::Refused,
    );
    cases
}
