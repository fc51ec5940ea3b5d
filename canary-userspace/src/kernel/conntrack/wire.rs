//! What ctnetlink's messages say, read where they lie.

use canary_common::endpoint::{Address, Endpoint, TCP, UDP};

use super::table::{Entry, Tuple};

/// `nlmsghdr::nlmsg_type` of one entry of conntrack: `NFNL_SUBSYS_CTNETLINK`, `IPCTNL_MSG_CT_NEW`.
pub(super) const ENTRY: u16 = 1 << 8;
/// `nlmsghdr::nlmsg_type` of a question: `IPCTNL_MSG_CT_GET`.
const GET: u16 = 1 << 8 | 1;

/// Bytes of `nlmsghdr`.
const HEADER_LEN: usize = 16;
/// Bytes of `nfgenmsg`, which stands before the attributes.
const FAMILY_LEN: usize = 4;
/// Bytes of `nlattr`.
const ATTRIBUTE_LEN: usize = 4;
/// The bits of an attribute's type that are not flags.
const TYPE_MASK: u16 = 0x3fff;
/// The flag of an attribute made of attributes.
const NESTED: u16 = 1 << 15;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const TIMEOUT: u16 = 7;
const ZONE: u16 = 18;
const STATUS_MASK: u16 = 26;

const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const TUPLE_ZONE: u16 = 3;

const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;

const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;

const PROTOINFO_TCP: u16 = 1;
const PROTOINFO_TCP_STATE: u16 = 1;

/// A message or an attribute contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of conntrack contradicts itself")]
pub(super) struct Malformed;

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// `nlmsg_flags`.
    pub(super) flags: u16,
    /// `nlmsg_seq`: that of the question.
    pub(super) sequence: u32,
    /// What follows the header.
    pub(super) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the next message off `datagram`; `None` at its end.
    pub(super) fn next(datagram: &mut &'a [u8]) -> Result<Option<Self>, Malformed> {
        if datagram.is_empty() {
            return Ok(None);
        }
        let len = u32::from_ne_bytes(at(datagram, 0)?);
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let message = Self {
            kind: u16::from_ne_bytes(at(datagram, 4)?),
            flags: u16::from_ne_bytes(at(datagram, 6)?),
            sequence: u32::from_ne_bytes(at(datagram, 8)?),
            payload: datagram.get(HEADER_LEN..len).ok_or(Malformed)?,
        };
        *datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
        Ok(Some(message))
    }

    /// The error number that `NLMSG_DONE` or `NLMSG_ERROR` bears, 0 if none.
    pub(super) fn error(&self) -> i32 {
        at(self.payload, 0).map_or(0, i32::from_ne_bytes).saturating_neg().max(0)
    }

    /// The entry that a message of the kind [`ENTRY`] tells of; `None` if it is neither of TCP nor
    /// of UDP.
    pub(super) fn entry(&self) -> Result<Option<Entry>, Malformed> {
        let (mut original, mut reply) = (Half::default(), Half::default());
        let (mut status, mut zone, mut timeout, mut tcp_state) = (0, 0, None, None);
        each(self.payload.get(FAMILY_LEN..).ok_or(Malformed)?, |kind, value| {
            match kind {
                TUPLE_ORIG => original = Half::read(value)?,
                TUPLE_REPLY => reply = Half::read(value)?,
                STATUS => status = u32::from_be_bytes(at(value, 0)?),
                TIMEOUT => timeout = Some(u32::from_be_bytes(at(value, 0)?)),
                ZONE => zone = u16::from_be_bytes(at(value, 0)?),
                PROTOINFO => tcp_state = read_tcp_state(value)?,
                _ => {}
            }
            Ok(())
        })?;
        let protocol = original.protocol.ok_or(Malformed)?;
        if protocol != TCP && protocol != UDP {
            return Ok(None);
        }
        let zone = original.zone.unwrap_or(zone);
        let (original, reply) = (original.whole()?, reply.whole()?);
        Ok(Some(Entry { original, reply, status, zone, timeout, tcp_state }))
    }
}

/// A tuple as far as it has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    source: Option<Address>,
    destination: Option<Address>,
    ports: [Option<[u8; 2]>; 2],
    protocol: Option<u8>,
    /// An entry may have a zone in this direction only.
    zone: Option<u16>,
}

impl Half {
    fn read(tuple: &[u8]) -> Result<Self, Malformed> {
        let mut half = Self::default();
        each(tuple, |kind, value| match kind {
            TUPLE_IP => each(value, |kind, value| half.read_address(kind, value)),
            TUPLE_PROTO => each(value, |kind, value| half.read_protocol(kind, value)),
            TUPLE_ZONE => {
                half.zone = Some(u16::from_be_bytes(at(value, 0)?));
                Ok(())
            }
            _ => Ok(()),
        })?;
        Ok(half)
    }

    fn read_address(&mut self, kind: u16, value: &[u8]) -> Result<(), Malformed> {
        match kind {
            IP_V4_SRC => self.source = Some(Address::v4(at(value, 0)?)),
            IP_V4_DST => self.destination = Some(Address::v4(at(value, 0)?)),
            IP_V6_SRC => self.source = Some(Address(at(value, 0)?)),
            IP_V6_DST => self.destination = Some(Address(at(value, 0)?)),
            _ => {}
        }
        Ok(())
    }

    fn read_protocol(&mut self, kind: u16, value: &[u8]) -> Result<(), Malformed> {
        let [source, destination] = &mut self.ports;
        match kind {
            PROTO_NUM => self.protocol = Some(u8::from_ne_bytes(at(value, 0)?)),
            PROTO_SRC_PORT => *source = Some(at(value, 0)?),
            PROTO_DST_PORT => *destination = Some(at(value, 0)?),
            _ => {}
        }
        Ok(())
    }

    fn whole(&self) -> Result<Tuple, Malformed> {
        let end = |address: Option<Address>, port: Option<[u8; 2]>| match (address, port) {
            (Some(address), Some(port)) => {
                Ok(Endpoint { address, port, protocol: self.protocol.ok_or(Malformed)? })
            }
            _ => Err(Malformed),
        };
        let [from, to] = self.ports;
        Ok(Tuple { source: end(self.source, from)?, destination: end(self.destination, to)? })
    }
}

fn read_tcp_state(protoinfo: &[u8]) -> Result<Option<u8>, Malformed> {
    let mut state = None;
    each(protoinfo, |kind, value| {
        if kind != PROTOINFO_TCP {
            return Ok(());
        }
        each(value, |kind, value| {
            if kind == PROTOINFO_TCP_STATE {
                state = Some(u8::from_ne_bytes(at(value, 0)?));
            }
            Ok(())
        })
    })?;
    Ok(state)
}

/// Shows every attribute in `rest`: type without flags, and value.
fn each<'a>(
    mut rest: &'a [u8],
    mut show: impl FnMut(u16, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let len = usize::from(u16::from_ne_bytes(at(rest, 0)?));
        let kind = u16::from_ne_bytes(at(rest, 2)?) & TYPE_MASK;
        show(kind, rest.get(ATTRIBUTE_LEN..len).ok_or(Malformed)?)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

/// The `N` bytes at `offset`.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Malformed> {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).copied().ok_or(Malformed)
}

/// A question to ctnetlink while it is written, in memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Question {
    bytes: Vec<u8>,
}

impl Question {
    /// For the entries whose `status`, masked, is its value; both families at once, in one walk of
    /// the kernel through its table.
    pub(super) fn dump(&mut self, sequence: u32, status: Option<(u32, u32)>) -> &[u8] {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        self.start(sequence, flags, libc::AF_UNSPEC);
        if let Some((value, mask)) = status {
            self.put(STATUS, &value.to_be_bytes());
            self.put(STATUS_MASK, &mask.to_be_bytes());
        }
        self.finish()
    }

    /// For the entry with the tuple `original`.
    pub(super) fn lookup(&mut self, sequence: u32, original: &Tuple, zone: u16) -> &[u8] {
        let Tuple { source, destination } = original;
        let v4 = source.address.as_v4().zip(destination.address.as_v4());
        let family = if v4.is_some() { libc::AF_INET } else { libc::AF_INET6 };
        self.start(sequence, libc::NLM_F_REQUEST, family);
        self.nest(TUPLE_ORIG, |question| {
            question.nest(TUPLE_IP, |question| {
                if let Some((from, to)) = v4 {
                    question.put(IP_V4_SRC, &from);
                    question.put(IP_V4_DST, &to);
                } else {
                    question.put(IP_V6_SRC, &source.address.0);
                    question.put(IP_V6_DST, &destination.address.0);
                }
            });
            question.nest(TUPLE_PROTO, |question| {
                question.put(PROTO_NUM, &[source.protocol]);
                question.put(PROTO_SRC_PORT, &source.port);
                question.put(PROTO_DST_PORT, &destination.port);
            });
        });
        if zone != 0 {
            self.put(ZONE, &zone.to_be_bytes());
        }
        self.finish()
    }

    fn start(&mut self, sequence: u32, flags: i32, family: i32) {
        self.bytes.clear();
        // The length is not known yet.
        self.bytes.extend([0; 4]);
        self.bytes.extend(GET.to_ne_bytes());
        self.bytes.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        // `nfgenmsg`: family, version, resource.
        self.bytes.extend([u8::try_from(family).unwrap_or_default(), 0, 0, 0]);
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |question| question.bytes.extend(value));
    }

    fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        self.attribute(kind | NESTED, inside);
    }

    /// An attribute around what `inside` puts.
    fn attribute(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        inside(self);
        let len = self.bytes.len().saturating_sub(start);
        let len = u16::try_from(len).unwrap_or_default().to_ne_bytes();
        if let Some(place) = self.bytes.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
            *place = len;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self) -> &[u8] {
        let len = u32::try_from(self.bytes.len()).unwrap_or_default().to_ne_bytes();
        if let Some(place) = self.bytes.first_chunk_mut() {
            *place = len;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
