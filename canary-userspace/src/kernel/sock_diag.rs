//! Questions to `sock_diag`: which sockets there are, what the programs stored in them, and their
//! end.
//!
//! The crate of these messages is of another generation of netlink crates than the others here,
//! and knows nothing of what programs store in sockets: `include/uapi/linux/inet_diag.h`,
//! `sock_diag.h`.

use anyhow::{Context, Result};
use canary_common::endpoint::{Address, Endpoint, TCP, UDP};
use rtnetlink::packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
};

use super::netlink::Netlink;

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of `sock_diag.h`.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
/// `NETLINK_SOCK_DIAG` of `netlink.h`.
const NETLINK_SOCK_DIAG: isize = 4;
/// Bytes of `inet_diag_req_v2`, of `inet_diag_sockid` and of `inet_diag_msg`.
const QUESTION_LEN: usize = 56;
const ID_LEN: usize = 48;
const ANSWER_LEN: usize = 72;
/// `INET_DIAG_REQ_SK_BPF_STORAGES`, and `SK_DIAG_BPF_STORAGE_REQ_MAP_FD` in it.
const ASK_STORAGES: u16 = 2;
const ASK_MAP: u16 = 1;
/// `INET_DIAG_SK_BPF_STORAGES`, `SK_DIAG_BPF_STORAGE` in it, `SK_DIAG_BPF_STORAGE_MAP_VALUE` there.
const STORAGES: u16 = 20;
const STORAGE: u16 = 1;
const STORAGE_VALUE: u16 = 3;
/// The bits of an attribute's type that say how it is to be read.
const TYPE: u16 = 0x3fff;
/// All states but `TCP_TIME_WAIT`, `TCP_CLOSE`, `TCP_LISTEN` and `TCP_NEW_SYN_RECV`: connected, or
/// about to be.
const CONNECTED: u32 = 0xfff & !(1 << 6) & !(1 << 7) & !(1 << 10);
/// Families (`AF_INET`, `AF_INET6`).
const FAMILIES: [u8; 2] = [2, 10];
/// Words of a pick.
const WORDS: usize = 8;

/// A connected socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// IANA number of its protocol.
    pub protocol: u8,
    family: u8,
    id: [u8; ID_LEN],
    /// Its pick, as [`canary_common::socket::Picked::of_words`] reads it.
    pub pick: Option<[u64; WORDS]>,
}

impl Found {
    /// Its cookie.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.id.last_chunk().map_or(0, |cookie| u64::from_ne_bytes(*cookie))
    }

    /// Address and port of its peer.
    #[must_use]
    pub fn peer(&self) -> Endpoint {
        let [_, _, port_high, port_low, rest @ ..] = self.id;
        let peer: [u8; 16] =
            rest.get(16..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        let [a, b, c, d, ..] = peer;
        let [v4, _] = FAMILIES;
        let address = if self.family == v4 { Address::v4([a, b, c, d]) } else { Address(peer) };
        Endpoint { address, port: [port_high, port_low], protocol: self.protocol }
    }
}

/// A socket for questions about sockets, of the thread's network namespace.
pub struct SockDiag(Netlink);

impl SockDiag {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open() -> Result<Self> {
        Netlink::open_protocol(NETLINK_SOCK_DIAG).map(Self).context("open sock_diag")
    }

    /// The connected sockets, with their picks in the table of this descriptor; the kernel tells none
    /// of UDP.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn connected(&mut self, table: u32) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for protocol in [TCP, UDP] {
            for family in FAMILIES {
                let question = Message::List { family, protocol, table };
                let answers = self.0.dump(&question).context("list sockets")?;
                found.extend(answers.into_iter().filter_map(|answer| match answer {
                    Message::Socket { family, id, pick } => {
                        Some(Found { protocol, family, id, pick })
                    }
                    _ => None,
                }));
            }
        }
        Ok(found)
    }

    /// Ends a socket: its owner is told `ECONNABORTED`. Whether it was still there.
    ///
    /// # Errors
    ///
    /// What the kernel says, other than that it is gone.
    pub fn end(&mut self, socket: &Found) -> Result<bool> {
        let Found { protocol, family, id, .. } = *socket;
        match self.0.command(&Message::Destroy { family, protocol, id }) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error).context("end a socket"),
        }
    }

    /// Whether the kernel can end sockets (`CONFIG_INET_DIAG_DESTROY`).
    ///
    /// # Errors
    ///
    /// If it does not tell.
    pub fn can_end(&mut self) -> Result<bool> {
        // No socket has this cookie.
        let mut id = [0; ID_LEN];
        if let Some(cookie) = id.last_chunk_mut::<8>() {
            *cookie = [0x7f; 8];
        }
        let [family, ..] = FAMILIES;
        match self.0.command(&Message::Destroy { family, protocol: TCP, id }) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(true),
                Some(libc::EOPNOTSUPP) => Ok(false),
                _ => Err(error).context("ask whether sockets can be ended"),
            },
        }
    }
}

/// What is said to `sock_diag`, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    List { family: u8, protocol: u8, table: u32 },
    Destroy { family: u8, protocol: u8, id: [u8; ID_LEN] },
    Socket { family: u8, id: [u8; ID_LEN], pick: Option<[u64; WORDS]> },
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        if matches!(self, Self::Destroy { .. }) { DESTROY } else { BY_FAMILY }
    }

    fn buffer_len(&self) -> usize {
        self.bytes().len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        for (to, from) in buffer.iter_mut().zip(self.bytes()) {
            *to = from;
        }
    }
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        let (family, protocol, id) = match *self {
            Self::List { family, protocol, .. } => (family, protocol, [0; ID_LEN]),
            Self::Destroy { family, protocol, id } => (family, protocol, id),
            // Never sent.
            Self::Socket { family, id, .. } => (family, 0, id),
        };
        let mut bytes = Vec::with_capacity(QUESTION_LEN);
        bytes.extend([family, protocol, 0, 0]);
        bytes.extend(CONNECTED.to_ne_bytes());
        bytes.extend(id);
        if let Self::List { table, .. } = self {
            let inner = attribute(ASK_MAP, &table.to_ne_bytes());
            bytes.extend(attribute(ASK_STORAGES, &inner));
        }
        bytes
    }
}

/// An attribute whose length is a multiple of four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat()
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(_header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let short = || DecodeError::from("a socket's description is too short");
        let (fixed, rest) = payload.split_first_chunk::<ANSWER_LEN>().ok_or_else(short)?;
        let [family, ..] = *fixed;
        let id = fixed.get(4..).and_then(<[u8]>::first_chunk).ok_or_else(short)?;
        let value = find(rest, STORAGES)
            .and_then(|storages| find(storages, STORAGE))
            .and_then(|storage| find(storage, STORAGE_VALUE));
        let words = value.map(|value| value.as_chunks::<8>().0);
        let pick = words.and_then(|words| words.first_chunk::<WORDS>());
        Ok(Self::Socket { family, id: *id, pick: pick.map(|pick| pick.map(u64::from_ne_bytes)) })
    }
}

/// The value of the first attribute of a kind.
fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let ([a, b, c, d], _) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([*c, *d]) & TYPE == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_table_in_an_attribute_of_an_attribute() {
        let question = Message::List { family: 2, protocol: 17, table: 0x0102_0304 };

        let bytes = question.bytes();

        assert_eq!(bytes.len(), QUESTION_LEN + 12);
        assert_eq!(bytes[..4], [2, 17, 0, 0]);
        assert_eq!(bytes[QUESTION_LEN..][..2], 12_u16.to_ne_bytes());
        assert_eq!(bytes[QUESTION_LEN + 8..], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(question.message_type(), BY_FAMILY);
    }

    #[test]
    fn a_pick_is_found_behind_other_attributes() {
        let pick = [1_u64, 2, 3, 4, 5, 6, 7, 8];
        let value: Vec<u8> = pick.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let id = attribute(2, &7_u32.to_ne_bytes());
        let storage = [id, attribute(STORAGE_VALUE, &value)].concat();
        let storages = attribute(STORAGES | 1 << 15, &attribute(STORAGE | 1 << 15, &storage));
        let mut payload = vec![0; ANSWER_LEN];
        payload[0] = 10;
        payload[4..8].copy_from_slice(&[1, 2, 3, 4]);
        // Of an odd length: the next begins at a multiple of four.
        payload.extend([5, 0, 8, 0, 1, 0, 0, 0]);
        payload.extend(storages);

        let message = Message::deserialize(&NetlinkHeader::default(), &payload).unwrap();

        let Message::Socket { family, id, pick: found } = message else { panic!("{message:?}") };
        assert_eq!((family, &id[..4], found), (10, &[1, 2, 3, 4][..], Some(pick)));
    }

    #[test]
    fn what_is_cut_short_or_has_no_pick_is_none() {
        let header = NetlinkHeader::default();
        assert!(Message::deserialize(&header, &[0; ANSWER_LEN - 1]).is_err());
        for rest in [vec![], vec![9, 0], vec![200, 0, 20, 0, 1], vec![0, 0, 0, 0]] {
            let payload = [vec![0; ANSWER_LEN], rest].concat();

            let message = Message::deserialize(&header, &payload).unwrap();

            assert!(matches!(message, Message::Socket { pick: None, .. }), "{message:?}");
        }
    }

    #[test]
    fn sockets_of_this_namespace_are_listed() {
        // Nothing of a table is asked for: any of them will do.
        assert!(SockDiag::open().unwrap().can_end().is_ok() || !nix::unistd::geteuid().is_root());
    }
}
