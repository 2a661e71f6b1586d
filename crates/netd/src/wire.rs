//! DNS messages on the wire (RFC 1035, RFC 6891): queries are read, answers are written.
//!
//! Only the header, the one question and the OPT record of a query are looked at, and nothing is allocated: that is why no
//! crate does this. What upstreams answer is passed on as it is, so records of others are never decoded.

/// Length of a header in bytes.
pub const HEADER: usize = 12;
/// The longest message without EDNS over UDP.
pub const PLAIN_LIMIT: usize = 512;
/// The longest message over UDP that netd sends, whatever a query allows.
pub const UDP_LIMIT: usize = 4096;
/// The longest message over TCP.
pub const TCP_LIMIT: usize = 65_535;
/// What netd says that it takes over UDP: what fits every path (the DNS flag day's value).
const OWN_UDP_SIZE: u16 = 1232;
/// How long an answer may be kept in seconds, as docker says.
const TIME_TO_LIVE: u32 = 600;
/// Length of an OPT record without options.
const OPT: usize = 11;

/// `IN`.
pub const CLASS_IN: u16 = 1;
/// `A`.
pub const A: u16 = 1;
/// `AAAA`.
pub const AAAA: u16 = 28;
/// `PTR`.
pub const PTR: u16 = 12;
/// `SRV`.
pub const SRV: u16 = 33;
const TYPE_OPT: u16 = 41;
/// Types that are no types of records: transfers and mailbox kinds, 251 to 254.
const TRANSFERS: std::ops::RangeInclusive<u16> = 251..=254;

/// The header's flags.
const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;

/// How a query went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `NOERROR`.
    Success,
    /// `FORMERR`.
    Malformed,
    /// `SERVFAIL`.
    Failure,
    /// `NXDOMAIN`; only ever somebody else's answer.
    NoSuchName,
    /// `NOTIMP`.
    NotImplemented,
    /// `REFUSED`.
    Refused,
    /// `BADVERS`, whose upper bits are in the OPT record.
    BadVersion,
}

impl Code {
    /// Returns the lower four bits.
    fn low(self) -> u16 {
        match self {
            Self::Success | Self::BadVersion => 0,
            Self::Malformed => 1,
            Self::Failure => 2,
            Self::NoSuchName => 3,
            Self::NotImplemented => 4,
            Self::Refused => 5,
        }
    }
}

/// What the OPT record of a query says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The longest answer over UDP.
    pub size: u16,
    /// The version; 0 is the only one.
    pub version: u8,
    /// Whether signatures are wanted.
    pub signatures: bool,
}

/// A name with dots, in lower case and without the one at the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; 255],
    length: usize,
    /// Whether a label has a dot of its own, so that the text is ambiguous.
    odd: bool,
}

impl Name {
    /// Returns the text; `None` for a name that cannot be one of ours.
    pub fn text(&self) -> Option<&[u8]> {
        let text = self.bytes.get(..self.length)?;
        (!self.odd && !text.is_empty()).then_some(text)
    }

    /// Returns whether it has one label.
    pub fn is_single_label(&self) -> bool {
        self.text().is_some_and(|text| !text.contains(&b'.'))
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.bytes.get(..self.length).unwrap_or_default();
        write!(formatter, "{:?}", String::from_utf8_lossy(text))
    }
}

/// A query that netd looks at.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    packet: &'a [u8],
    flags: u16,
    question_end: usize,
    /// Whom it asks for.
    pub name: Name,
    /// What it asks for.
    pub kind: u16,
    /// What its OPT record says.
    pub edns: Option<Edns>,
}

/// What a packet is.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// A question.
    Query(Query<'a>),
    /// Something that is answered with an error.
    Refuse(Query<'a>, Code),
    /// Nothing that is answered.
    Ignore,
}

/// Reads a packet of a client.
pub fn parse(packet: &[u8]) -> Parsed<'_> {
    let Some(flags) = number(packet, 2) else {
        return Parsed::Ignore;
    };
    // Two servers that answered each other's answers would never end.
    if packet.len() < HEADER || flags & QR != 0 {
        return Parsed::Ignore;
    }
    let mut query = Query {
        packet,
        flags,
        question_end: HEADER,
        name: Name {
            bytes: [0; 255],
            length: 0,
            odd: false,
        },
        kind: 0,
        edns: None,
    };
    if flags & OPCODE != 0 {
        return Parsed::Refuse(query, Code::NotImplemented);
    }
    let counts = [4, 6, 8, 10].map(|at| number(packet, at).unwrap_or(0));
    let [1, answers, authorities, additional] = counts else {
        return Parsed::Refuse(query, Code::Malformed);
    };
    let Some((name, after)) = read_name(packet, HEADER) else {
        return Parsed::Refuse(query, Code::Malformed);
    };
    let (Some(kind), Some(class)) = (number(packet, after), number(packet, after + 2)) else {
        return Parsed::Refuse(query, Code::Malformed);
    };
    query.question_end = after + 4;
    query.name = name;
    query.kind = kind;
    let others = u32::from(answers) + u32::from(authorities);
    match read_edns(packet, query.question_end, others, additional) {
        Ok(edns) => query.edns = edns,
        Err(Wrong) => return Parsed::Refuse(query, Code::Malformed),
    }
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Parsed::Refuse(query, Code::BadVersion);
    }
    if class != CLASS_IN {
        return Parsed::Refuse(query, Code::Refused);
    }
    if TRANSFERS.contains(&kind) {
        return Parsed::Refuse(query, Code::NotImplemented);
    }
    Parsed::Query(query)
}

impl<'a> Query<'a> {
    /// Returns the whole packet.
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Returns where its question ends.
    pub fn question_end(&self) -> usize {
        self.question_end
    }

    /// Returns how long its answer may be over UDP.
    pub fn udp_limit(&self) -> usize {
        self.edns.map_or(PLAIN_LIMIT, |edns| {
            usize::from(edns.size).clamp(PLAIN_LIMIT, UDP_LIMIT)
        })
    }

    /// Begins an answer in `out`, of which it uses all there is at most. `out` has room for [`PLAIN_LIMIT`] bytes.
    pub fn answer<'b>(&self, code: Code, out: &'b mut [u8]) -> Writer<'b> {
        let reserved = if self.edns.is_some() { OPT } else { 0 };
        let mut writer = Writer {
            limit: out.len().saturating_sub(reserved),
            out,
            at: 0,
            count: 0,
            is_cut: false,
            flags: QR | RA | self.flags & (OPCODE | RD) | code.low(),
            edns: self.edns,
            extended_code: u8::from(code == Code::BadVersion),
            has_question: self.question_end > HEADER,
        };
        writer.put(self.packet.get(..2).unwrap_or(&[0; 2]));
        // The rest of the header is written at the end.
        writer.put(&[0; 10]);
        writer.put(self.packet.get(HEADER..self.question_end).unwrap_or_default());
        writer
    }

    /// Writes an answer without records and returns its length.
    pub fn short_answer(&self, code: Code, out: &mut [u8]) -> usize {
        self.answer(code, out).finish()
    }

    /// Writes "ask again over TCP" and returns its length.
    pub fn cut_answer(&self, out: &mut [u8]) -> usize {
        let mut writer = self.answer(Code::Success, out);
        writer.is_cut = true;
        writer.finish()
    }
}

/// An answer that is being written.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    limit: usize,
    count: u16,
    is_cut: bool,
    flags: u16,
    edns: Option<Edns>,
    extended_code: u8,
    has_question: bool,
}

impl Writer<'_> {
    /// Adds a record of the question's name; one that does not fit makes the answer a cut one.
    pub fn record(&mut self, kind: u16, data: &[u8]) {
        let length = 12 + data.len();
        let Ok(data_length) = u16::try_from(data.len()) else {
            return;
        };
        if self.is_cut || self.at + length > self.limit || self.count == u16::MAX {
            self.is_cut = true;
            return;
        }
        // A pointer to the question, which follows the header at once.
        self.put(&[0xc0, 12]);
        self.put(&kind.to_be_bytes());
        self.put(&CLASS_IN.to_be_bytes());
        self.put(&TIME_TO_LIVE.to_be_bytes());
        self.put(&data_length.to_be_bytes());
        self.put(data);
        self.count += 1;
    }

    /// Completes the answer and returns its length.
    pub fn finish(mut self) -> usize {
        let mut additional = 0u16;
        if let Some(edns) = self.edns {
            additional = 1;
            self.put(&[0]);
            self.put(&TYPE_OPT.to_be_bytes());
            self.put(&OWN_UDP_SIZE.to_be_bytes());
            self.put(&[self.extended_code, 0, u8::from(edns.signatures) << 7, 0]);
            self.put(&[0, 0]);
        }
        if self.is_cut {
            self.flags |= TC;
        }
        let header = [
            self.flags,
            u16::from(self.has_question),
            self.count,
            0,
            additional,
        ];
        for (at, value) in (2..).step_by(2).zip(header) {
            if let Some(place) = self.out.get_mut(at..at + 2) {
                place.copy_from_slice(&value.to_be_bytes());
            }
        }
        self.at
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }
}

/// Writes `name` as labels to `out` and returns their length; `None` if it is no name for the wire.
pub fn write_name(name: &[u8], out: &mut [u8; 255]) -> Option<usize> {
    let mut at = 0;
    for label in name.split(|&byte| byte == b'.') {
        let length = u8::try_from(label.len()).ok()?;
        if !(1..64).contains(&length) {
            return None;
        }
        *out.get_mut(at)? = length;
        out.get_mut(at + 1..at + 1 + label.len())?.copy_from_slice(label);
        at += 1 + label.len();
    }
    *out.get_mut(at)? = 0;
    Some(at + 1)
}

/// What a reply of an upstream means for the query that it may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer.
    Answer,
    /// This server cannot say; another may.
    NextServer,
    /// It does not belong to this query.
    Stray,
}

/// Judges a reply to `query`, which was sent with `id` in place of its own.
pub fn judge(query: &[u8], question_end: usize, id: u16, reply: &[u8]) -> Verdict {
    let (Some(reply_id), Some(flags)) = (number(reply, 0), number(reply, 2)) else {
        return Verdict::Stray;
    };
    if reply.len() < HEADER || reply_id != id || flags & QR == 0 || flags & OPCODE != 0 {
        return Verdict::Stray;
    }
    let code = flags & 0xf;
    let has_question = number(reply, 4) == Some(1)
        && match (query.get(HEADER..question_end), reply.get(HEADER..question_end)) {
            // Also the type and the class are compared so: their bytes are no letters, or differ by more than case.
            (Some(ours), Some(theirs)) => same_question(ours, theirs),
            _ => false,
        };
    match code {
        0 | 3 if has_question => Verdict::Answer,
        // Servers that understand nothing leave the question out.
        1..=15 if has_question || number(reply, 4) == Some(0) && code != 3 => Verdict::NextServer,
        _ => Verdict::Stray,
    }
}

/// Names are compared without case, type and class exactly.
fn same_question(ours: &[u8], theirs: &[u8]) -> bool {
    let cut = ours.len().saturating_sub(4);
    match (ours.split_at_checked(cut), theirs.split_at_checked(cut)) {
        (Some((our_name, our_rest)), Some((their_name, their_rest))) => {
            our_name.eq_ignore_ascii_case(their_name) && our_rest == their_rest
        }
        _ => false,
    }
}

/// Returns the big-endian number at `at`.
pub fn number(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_be_bytes)
}

/// Returns a name without pointers, which no question has, and the place behind it.
fn read_name(packet: &[u8], start: usize) -> Option<(Name, usize)> {
    let mut name = Name {
        bytes: [0; 255],
        length: 0,
        odd: false,
    };
    let mut at = start;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        let label = packet.get(at..at + length)?;
        at += length;
        // RFC 1035, 2.3.4: 255 bytes with all length bytes.
        if at + 1 - start > 255 {
            return None;
        }
        if name.length > 0 {
            *name.bytes.get_mut(name.length)? = b'.';
            name.length += 1;
        }
        for &byte in label {
            name.odd |= byte == b'.';
            *name.bytes.get_mut(name.length)? = byte.to_ascii_lowercase();
            name.length += 1;
        }
    }
    Some((name, at))
}

/// The records behind the question make no sense.
struct Wrong;

fn read_edns(packet: &[u8], start: usize, others: u32, additional: u16) -> Result<Option<Edns>, Wrong> {
    let mut at = start;
    let mut found = None;
    for index in 0..others + u32::from(additional) {
        let is_root = packet.get(at) == Some(&0);
        at = skip_name(packet, at).ok_or(Wrong)?;
        let kind = number(packet, at).ok_or(Wrong)?;
        let size = number(packet, at + 2).ok_or(Wrong)?;
        let flags = packet.get(at + 4..at + 8).ok_or(Wrong)?;
        let length = usize::from(number(packet, at + 8).ok_or(Wrong)?);
        at += 10 + length;
        if at > packet.len() {
            return Err(Wrong);
        }
        if kind == TYPE_OPT && index >= others {
            if found.is_some() || !is_root {
                return Err(Wrong);
            }
            found = Some(Edns {
                size,
                version: flags.get(1).copied().unwrap_or(0),
                signatures: flags.get(2).is_some_and(|byte| byte & 0x80 != 0),
            });
        }
    }
    Ok(found)
}

/// Returns the place behind a name, which a pointer may end.
fn skip_name(packet: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match usize::from(*packet.get(at)?) {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + length,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
