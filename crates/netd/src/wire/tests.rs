use proptest::prelude::*;

use super::*;

/// Returns a query as a client sends it.
pub(crate) fn query(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&CLASS_IN.to_be_bytes());
    if let Some(size) = edns {
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&size.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0x80, 0, 0, 0]);
    }
    packet
}

fn parsed(packet: &[u8]) -> Query<'_> {
    match parse(packet) {
        Parsed::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

fn refused(packet: &[u8]) -> Option<Code> {
    match parse(packet) {
        Parsed::Refuse(_, code) => Some(code),
        _ => None,
    }
}

#[test]
fn a_query_is_read() {
    let packet = query("WeB.Example", A, Some(1400));
    let query = parsed(&packet);
    assert_eq!(query.name.text(), Some(&b"web.example"[..]));
    assert_eq!((query.kind, query.udp_limit()), (A, 1400));
    assert!(query.edns.unwrap().signatures);
    assert!(!query.name.is_single_label());
    assert!(parsed(&self::query("web", A, None)).name.is_single_label());
    assert_eq!(parsed(&self::query("", A, None)).name.text(), None);
    assert_eq!(parsed(&self::query("a", A, Some(0))).udp_limit(), PLAIN_LIMIT);
    assert_eq!(parsed(&self::query("a", A, Some(65535))).udp_limit(), UDP_LIMIT);
}

#[test]
fn what_is_no_query_is_refused_or_ignored() {
    let good = query("web", A, Some(1232));
    let changed = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    // An answer, and what is shorter than a header.
    assert!(matches!(parse(&changed(2, 0x81)), Parsed::Ignore));
    for length in 0..HEADER {
        assert!(matches!(parse(&good[..length]), Parsed::Ignore));
    }
    for length in HEADER..good.len() {
        assert_eq!(refused(&good[..length]), Some(Code::Malformed), "{length}");
    }
    assert_eq!(refused(&changed(2, 0x28)), Some(Code::NotImplemented));
    for count in [0, 2, 255] {
        assert_eq!(refused(&changed(5, count)), Some(Code::Malformed));
    }
    // A pointer in a question, and a label of 64.
    for length in [0xc0, 0x40, 0x80, 0xff] {
        assert_eq!(refused(&changed(12, length)), Some(Code::Malformed));
    }
    // CHAOS, and a version of EDNS that is not there yet.
    assert_eq!(refused(&changed(20, 3)), Some(Code::Refused));
    assert_eq!(refused(&changed(27, 1)), Some(Code::BadVersion));
    assert_eq!(refused(&query("web", 252, None)), Some(Code::NotImplemented));
    // Two OPT records.
    let mut packet = changed(11, 2);
    packet.extend_from_slice(&good[21..]);
    assert_eq!(refused(&packet), Some(Code::Malformed));
}

#[test]
fn the_longest_name_and_not_one_more() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    let packet = query(&longest, A, None);
    assert_eq!(parsed(&packet).name.text().unwrap().len(), 253);
    let packet = query(&format!("{longest}b"), A, None);
    assert_eq!(refused(&packet), Some(Code::Malformed));
    let mut wire = [0; 255];
    assert_eq!(write_name(longest.as_bytes(), &mut wire), Some(255));
    for name in ["", ".", "a..b", "a.", &"a".repeat(64), &format!("{longest}b")] {
        assert_eq!(write_name(name.as_bytes(), &mut wire), None, "{name}");
    }
}

#[test]
fn a_label_with_a_dot_is_no_name_of_ours() {
    let mut packet = query("a-b", A, None);
    packet[14] = b'.';
    assert_eq!(parsed(&packet).name.text(), None);
}

#[test]
fn an_answer_echoes_the_question() {
    let packet = query("WeB", A, Some(1400));
    let mut out = [0; PLAIN_LIMIT];
    let mut writer = parsed(&packet).answer(Code::Success, &mut out);
    writer.record(A, &[10, 0, 0, 2]);
    let length = writer.finish();
    let mut expected = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1];
    expected.extend_from_slice(b"\x03WeB\0\0\x01\0\x01");
    expected.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04\x0a\0\0\x02");
    expected.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
    assert_eq!(out[..length], expected);
}

#[test]
fn what_does_not_fit_is_cut() {
    let packet = query("web", A, Some(512));
    let mut out = [0; PLAIN_LIMIT];
    let mut writer = parsed(&packet).answer(Code::Success, &mut out);
    for number in 0..100 {
        writer.record(A, &[10, 0, 0, number]);
    }
    let length = writer.finish();
    assert!(length <= PLAIN_LIMIT);
    // Header 12, question 9, OPT 11: 480 bytes are left for records of 16.
    assert_eq!(number(&out, 6), Some(30));
    assert_eq!(out[2] & 2, 2);
    let length = parsed(&packet).cut_answer(&mut out);
    assert_eq!((length, out[2] & 2), (32, 2));
}

#[test]
fn errors_have_their_code() {
    let mut packet = query("web", A, Some(512));
    packet[27] = 9;
    let Parsed::Refuse(query, code) = parse(&packet) else {
        panic!("accepted");
    };
    let mut out = [0; PLAIN_LIMIT];
    let length = query.short_answer(code, &mut out);
    assert_eq!((out[3] & 15, out[length - 6]), (0, 1));
    let Parsed::Refuse(query, code) = parse(&packet[..14]) else {
        panic!("accepted");
    };
    assert_eq!(query.short_answer(code, &mut out), HEADER);
    assert_eq!(out[..HEADER], [0x12, 0x34, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn only_its_own_reply_is_one() {
    let sent = query("web.example", A, None);
    let end = sent.len();
    let reply = |code: u8| {
        let mut reply = sent.clone();
        reply[..4].copy_from_slice(&[0xab, 0xcd, 0x81, 0x80 | code]);
        reply
    };
    assert_eq!(judge(&sent, end, 0xabcd, &reply(0)), Verdict::Answer);
    assert_eq!(judge(&sent, end, 0xabcd, &reply(3)), Verdict::Answer);
    assert_eq!(judge(&sent, end, 0xabce, &reply(0)), Verdict::Stray);
    for code in [1, 2, 4, 5, 9] {
        assert_eq!(judge(&sent, end, 0xabcd, &reply(code)), Verdict::NextServer);
    }
    let with = |at: usize, value: u8| {
        let mut reply = reply(0);
        reply[at] = value;
        judge(&sent, end, 0xabcd, &reply)
    };
    assert_eq!(with(13, b'W'), Verdict::Answer);
    assert_eq!(with(13, b'x'), Verdict::Stray);
    assert_eq!(with(2, 1), Verdict::Stray);
    assert_eq!(with(5, 0), Verdict::Stray);
    assert_eq!(with(end - 3, 28), Verdict::Stray);
    assert_eq!(with(end - 1, 3), Verdict::Stray);
    for length in 0..end {
        assert_eq!(judge(&sent, end, 0xabcd, &reply(0)[..length]), Verdict::Stray);
    }
    let mut empty = reply(4)[..HEADER].to_vec();
    empty[5] = 0;
    assert_eq!(judge(&sent, end, 0xabcd, &empty), Verdict::NextServer);
}

proptest! {
    #[test]
    fn nw_08_no_packet_panics(mut packet in prop::collection::vec(any::<u8>(), 0..600), tame in any::<bool>()) {
        if tame && packet.len() > HEADER {
            packet[2..HEADER].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        }
        let mut out = [0; PLAIN_LIMIT];
        match parse(&packet) {
            Parsed::Query(query) | Parsed::Refuse(query, _) => {
                let mut writer = query.answer(Code::Success, &mut out);
                writer.record(A, &[1, 2, 3, 4]);
                prop_assert!(writer.finish() <= PLAIN_LIMIT);
            }
            Parsed::Ignore => {}
        }
        judge(&packet, packet.len() / 2, 1, &packet);
    }

    #[test]
    fn names_come_back(labels in prop::collection::vec("[a-z0-9_-]{1,20}", 1..8)) {
        let name = labels.join(".");
        let packet = query(&name, PTR, Some(4096));
        let query = parsed(&packet);
        prop_assert_eq!(query.name.text(), Some(name.as_bytes()));
        let mut wire = [0; 255];
        let length = write_name(name.as_bytes(), &mut wire).unwrap();
        prop_assert_eq!(&wire[..length], &packet[HEADER..query.question_end() - 4]);
    }
}
