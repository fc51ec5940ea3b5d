//! Questions to rtnetlink and its news, in the network namespace of the thread that opens it.

mod peers;
mod routes;

use std::{
    collections::BTreeSet,
    fmt::Debug,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd},
};

use anyhow::{Context, Result, bail};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
};
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
        NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

pub(super) use self::routes::is_default_route;
use self::routes::outputs;
pub use self::routes::{Prefix, Way};

/// Bytes of a datagram at most: the kernel fills 32 KiB of a dump, and more for one huge link.
const DATAGRAM_LEN: usize = 256 << 10;

/// How often a dump is begun again because the tables changed under it.
const MAX_DUMPS: usize = 8;

/// A socket for questions.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the thread's network namespace.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open() -> Result<Self> {
        Self::open_protocol(NETLINK_ROUTE)
    }

    /// Opens a socket of another family than routing.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open_protocol(protocol: isize) -> Result<Self> {
        Ok(Self { socket: socket(protocol, 0).context("open netlink")?, sequence: 0 })
    }

    /// Every link.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn links(&mut self) -> Result<Vec<LinkMessage>> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let answers = self.dump(&RouteNetlinkMessage::GetLink(question)).context("list links")?;
        let links = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        });
        Ok(links.collect())
    }

    /// Indices of the interfaces that the main table's default routes lead to, IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn default_route_interfaces(&mut self) -> Result<BTreeSet<u32>> {
        let mut interfaces = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let question = RouteNetlinkMessage::GetRoute(question);
            for answer in self.dump(&question).context("list routes")? {
                if let RouteNetlinkMessage::NewRoute(route) = answer
                    && is_default_route(&route)
                {
                    interfaces.extend(outputs(&route));
                }
            }
        }
        Ok(interfaces)
    }

    /// The addresses that the node is known by: those of its default routes' interfaces, or of any
    /// other.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn own_addresses(&mut self) -> Result<OwnAddresses> {
        let uplinks = self.default_route_interfaces()?;
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump(&question).context("list addresses")?;
        let mut addresses: Vec<_> = answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message) => own_address(message),
                _ => None,
            })
            .collect();
        // A stable sort: the kernel's order says which address of an interface comes first.
        addresses.sort_by_key(|(index, _)| !uplinks.contains(index));
        let addresses = addresses.into_iter().map(|(_, address)| address);
        Ok(OwnAddresses {
            v4: addresses.clone().find_map(|address| match address {
                IpAddr::V4(own) => Some(own),
                IpAddr::V6(_) => None,
            }),
            v6: addresses.clone().find_map(|address| match address {
                IpAddr::V6(own) => Some(own),
                IpAddr::V4(_) => None,
            }),
        })
    }

    /// How `to` is reached; `None` without a route.
    ///
    /// # Errors
    ///
    /// What the kernel says, other than that there is no route.
    pub fn way(&mut self, to: IpAddr) -> Result<Option<Way>> {
        let (family, prefix_len, address) = match to {
            IpAddr::V4(to) => (AddressFamily::Inet, 32, RouteAddress::Inet(to)),
            IpAddr::V6(to) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(to)),
        };
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        question.header.destination_prefix_length = prefix_len;
        question.attributes.push(RouteAttribute::Destination(address));
        let question = RouteNetlinkMessage::GetRoute(question);
        match self.ask(&question, NLM_F_REQUEST) {
            Ok(answers) => Ok(answers.messages.iter().find_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(route) => Way::read(route),
                _ => None,
            })),
            Err(error) if is_no_route(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("ask for the route to {to}")),
        }
    }

    /// A whole table, read again while it changes.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn dump<M: Message>(&mut self, question: &M) -> Result<Vec<M>> {
        for _ in 1..MAX_DUMPS {
            let answers = self.ask(question, NLM_F_REQUEST | NLM_F_DUMP)?;
            if !answers.interrupted {
                return Ok(answers.messages);
            }
        }
        // What changes that fast is told by the news, and asked for again.
        Ok(self.ask(question, NLM_F_REQUEST | NLM_F_DUMP)?.messages)
    }

    /// Has something done that is answered by nothing but whether it was.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn command<M: Message>(&mut self, command: &M) -> io::Result<()> {
        match self.ask(command, NLM_F_REQUEST | NLM_F_ACK) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.downcast::<io::Error>().unwrap_or_else(io::Error::other)),
        }
    }

    fn ask<M: Message>(&mut self, question: &M, flags: u16) -> Result<Answers<M>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let payload = NetlinkPayload::InnerMessage(question.clone());
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let is_dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut answers = Answers { messages: Vec::new(), interrupted: false };
        loop {
            for (header, payload) in parse(&receive(&self.socket, 0)?) {
                if header.sequence_number != self.sequence {
                    continue;
                }
                answers.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match payload {
                    NetlinkPayload::InnerMessage(answer) => answers.messages.push(answer),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_neg()).into());
                    }
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io().into());
                    }
                    NetlinkPayload::Overrun(_) => bail!("the kernel lost an answer"),
                    _ => {}
                }
                if !is_dump {
                    return Ok(answers);
                }
            }
        }
    }
}

/// The addresses that a node is known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Of IPv4.
    pub v4: Option<Ipv4Addr>,
    /// Of IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// An address that is known beyond its link, and its interface.
fn own_address(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    if message.header.scope != AddressScope::Universe {
        return None;
    }
    // Of a peer-to-peer link `Address` is the other end.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    Some((message.header.index, address?))
}

/// What netlink of one family speaks.
pub trait Message: NetlinkSerializable + NetlinkDeserializable + Clone + Debug {}

impl<M: NetlinkSerializable + NetlinkDeserializable + Clone + Debug> Message for M {}

struct Answers<M> {
    messages: Vec<M>,
    /// The table changed while it was read.
    interrupted: bool,
}

/// News of links and routes.
pub struct News {
    socket: Socket,
}

impl News {
    /// Subscribes to `groups` (`RTMGRP_*`), from here on.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn subscribe(groups: u32) -> Result<Self> {
        Ok(Self { socket: socket(NETLINK_ROUTE, groups).context("subscribe to netlink")? })
    }

    /// What came since the last call, without waiting; `None` if some of it was lost.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn read(&self) -> Result<Option<Vec<RouteNetlinkMessage>>> {
        let mut news = Vec::new();
        let mut is_whole = true;
        loop {
            match receive(&self.socket, libc::MSG_DONTWAIT) {
                Ok(bytes) => news.extend(parse(&bytes).filter_map(|(_, payload)| match payload {
                    NetlinkPayload::InnerMessage(message) => Some(message),
                    _ => None,
                })),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => is_whole = false,
                Err(error) => return Err(error).context("read netlink's news"),
            }
        }
        Ok(is_whole.then_some(news))
    }
}

impl AsFd for News {
    /// Readable when there is news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn socket(protocol: isize, groups: u32) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, groups))?;
    if groups == 0 {
        socket.connect(&SocketAddr::new(0, 0))?;
    }
    Ok(socket)
}

fn receive(socket: &Socket, flags: i32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(DATAGRAM_LEN);
    loop {
        match socket.recv(&mut bytes, flags | libc::MSG_TRUNC) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(len) if len > bytes.len() => {
                let text = format!("a netlink datagram of {len} bytes is over {DATAGRAM_LEN}");
                return Err(io::Error::other(text));
            }
            Ok(_) => return Ok(bytes),
        }
    }
}

type Parsed<M> = (NetlinkHeader, NetlinkPayload<M>);

/// The messages of a datagram; one that cannot be read is told of and left out.
fn parse<M: Message>(datagram: &[u8]) -> impl Iterator<Item = Parsed<M>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            let header = NetlinkBuffer::new_checked(rest).ok()?;
            let len = usize::try_from(header.length()).ok()?;
            let message = rest.get(..len)?;
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            match NetlinkMessage::<M>::deserialize(message) {
                Ok(message) => return Some(message.into_parts()),
                Err(error) => tracing::warn!(%error, "a netlink message cannot be read"),
            }
        }
    })
}

/// Whether the kernel says that there is no way: none, unreachable, prohibited or a black hole.
fn is_no_route(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    matches!(code, Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL))
}
