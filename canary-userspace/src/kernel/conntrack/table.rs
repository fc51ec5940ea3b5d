//! Conntrack's table, read entry by entry from one buffer: nothing of it is kept here.

use std::collections::HashSet;
use std::io;

use anyhow::{Context, Result, bail};
use canary_common::endpoint::Endpoint;
use rtnetlink::packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

use super::wire::{ENTRY, Message, Question};

/// Bit of `ip_conntrack_status`: the destination was translated (`IPS_DST_NAT`).
const DST_NAT: u32 = 1 << 5;

/// Bytes of a datagram at most: `netlink_recvmsg` lets a dump fill no more than 32 KiB.
const DATAGRAM_LEN: usize = 32 << 10;

/// How often a dump is begun at most, if the table changes under it.
const MAX_DUMPS: usize = 3;

/// Where a packet comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Who sends it.
    pub source: Endpoint,
    /// Whom it is for.
    pub destination: Endpoint,
}

impl Tuple {
    /// The tuple of an answer that nobody translates.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

/// One connection, as conntrack knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first packet, before it was translated.
    pub original: Tuple,
    /// An answer, before it is translated back.
    pub reply: Tuple,
    /// Bits of `ip_conntrack_status`.
    pub status: u32,
    /// The zone of the original direction, 0 unless somebody set another.
    pub zone: u16,
    /// Seconds until it ends by itself; `None` for one that a flowtable forwards.
    pub timeout: Option<u32>,
    /// A value of `tcp_conntrack`; `None` for UDP.
    pub tcp_state: Option<u8>,
}

impl Entry {
    /// Whether packets of it are translated.
    ///
    /// The tuples tell, and not `IPS_SRC_NAT` and `IPS_DST_NAT`: IPVS sets neither.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.reply != self.original.reversed()
    }
}

/// How much of the table was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it.
    Whole,
    /// It was changed whenever it was read: entries may be lacking.
    Torn,
    /// This kernel has no conntrack.
    Absent,
}

/// A socket for questions about conntrack, of the network namespace of the thread that first asks.
#[derive(Default)]
pub struct Conntrack {
    /// Opened by a question, and anew after one that failed: its answer may still be under way.
    socket: Option<Socket>,
    sequence: u32,
    question: Question,
    datagram: Vec<u8>,
}

impl Conntrack {
    /// Shows the entries whose destination is translated, other than by IPVS; the kernel, from 5.15
    /// on, sends no others.
    ///
    /// An entry may be shown more than once. The kernel looks for the first 32 KiB of answers with
    /// softirqs off: where little matches it handles no packet on that CPU until it is through its
    /// whole table. [`Self::all`] takes longer in all, and gives way after every 32 KiB.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn translated(&mut self, mut each: impl FnMut(Entry)) -> Result<Outcome> {
        self.dump(Some((DST_NAT, DST_NAT)), |entry| {
            // An older kernel leaves the filter unread.
            if entry.status & DST_NAT != 0 && entry.is_translated() {
                each(entry);
            }
        })
    }

    /// Shows the entries whose answers come from one of `backends`, translated or not.
    ///
    /// An entry may be shown more than once.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn towards(
        &mut self,
        backends: &HashSet<Endpoint>,
        mut each: impl FnMut(Entry),
    ) -> Result<Outcome> {
        self.all(|entry| {
            if backends.contains(&entry.reply.source) {
                each(entry);
            }
        })
    }

    /// Shows every entry of TCP and UDP.
    ///
    /// An entry may be shown more than once: the kernel begins a bucket again when the entry where
    /// it had stopped is gone.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn all(&mut self, each: impl FnMut(Entry)) -> Result<Outcome> {
        self.dump(None, each)
    }

    /// The entry whose first packet bore `original`; `None` also without conntrack.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn lookup(&mut self, original: &Tuple, zone: u16) -> Result<Option<Entry>> {
        let found = match self.try_lookup(original, zone) {
            Err(error) if is_errno(&error, &[libc::ENOENT]) => return Ok(None),
            found => found,
        };
        Ok(self.judge(found).context("ask conntrack for an entry")?.flatten())
    }

    fn dump(&mut self, status: Option<(u32, u32)>, mut each: impl FnMut(Entry)) -> Result<Outcome> {
        repeated(|| {
            let dumped = self.try_dump(status, &mut each);
            self.judge(dumped).context("read conntrack")
        })
    }

    /// Forgets the socket after a failure; `None` if the failure is that there is no conntrack.
    fn judge<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.socket = None;
                // No such family of netlink; no such part of netfilter's (`nfnetlink_rcv_msg`).
                let absent = [libc::EPROTONOSUPPORT, libc::EINVAL, libc::EOPNOTSUPP];
                if is_errno(&error, &absent) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// One dump; whether the table stayed the same under it.
    fn try_dump(
        &mut self,
        status: Option<(u32, u32)>,
        each: &mut impl FnMut(Entry),
    ) -> Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let socket = connected(&mut self.socket)?;
        socket.send(self.question.dump(self.sequence, status), 0)?;
        let (mut is_whole, mut unreadable) = (true, 0_u64);
        loop {
            let mut rest = receive(socket, &mut self.datagram)?;
            while let Some(message) = Message::next(&mut rest)? {
                if message.sequence != self.sequence {
                    continue;
                }
                is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
                if message.kind == ENTRY {
                    match message.entry() {
                        Ok(entry) => entry.into_iter().for_each(&mut *each),
                        Err(_) => unreadable = unreadable.saturating_add(1),
                    }
                } else if is_end(&message)? {
                    if unreadable > 0 {
                        tracing::warn!(unreadable, "entries of conntrack cannot be read");
                    }
                    return Ok(is_whole);
                }
            }
        }
    }

    fn try_lookup(&mut self, original: &Tuple, zone: u16) -> Result<Option<Entry>> {
        self.sequence = self.sequence.wrapping_add(1);
        let socket = connected(&mut self.socket)?;
        socket.send(self.question.lookup(self.sequence, original, zone), 0)?;
        loop {
            let mut rest = receive(socket, &mut self.datagram)?;
            while let Some(message) = Message::next(&mut rest)? {
                if message.sequence != self.sequence {
                    continue;
                }
                if message.kind == ENTRY {
                    // The kernel finds an entry by its reply as well.
                    return Ok(message.entry()?.filter(|entry| entry.original == *original));
                }
                if is_end(&message)? {
                    return Ok(None);
                }
            }
        }
    }
}

/// Dumps until the table stays the same under it; what `dump` returns is [`Conntrack::judge`]'s.
fn repeated(mut dump: impl FnMut() -> Result<Option<bool>>) -> Result<Outcome> {
    for _ in 0..MAX_DUMPS {
        match dump()? {
            Some(true) => return Ok(Outcome::Whole),
            Some(false) => {}
            None => return Ok(Outcome::Absent),
        }
    }
    Ok(Outcome::Torn)
}

/// The socket, opened if there is none.
fn connected(socket: &mut Option<Socket>) -> io::Result<&Socket> {
    match socket {
        Some(socket) => Ok(socket),
        none => {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(none.insert(socket))
        }
    }
}

/// The next datagram, in the memory of the last.
fn receive<'a>(socket: &Socket, datagram: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    loop {
        datagram.clear();
        datagram.reserve_exact(DATAGRAM_LEN);
        match socket.recv(datagram, libc::MSG_TRUNC) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
            Ok(len) if len > datagram.len() => {
                bail!("a datagram of {len} bytes is over {DATAGRAM_LEN}")
            }
            Ok(_) => return Ok(datagram),
        }
    }
}

/// Whether this is the last message of an answer; the error that it bears.
fn is_end(message: &Message<'_>) -> Result<bool> {
    match message.kind {
        NLMSG_DONE | NLMSG_ERROR => match message.error() {
            0 => Ok(true),
            error => Err(io::Error::from_raw_os_error(error).into()),
        },
        NLMSG_OVERRUN => bail!("the kernel lost an answer"),
        _ => Ok(false),
    }
}

fn is_errno(error: &anyhow::Error, codes: &[i32]) -> bool {
    let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    code.is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_repeated_while_the_table_changes_but_not_for_ever() {
        let outcome = |answers: [Option<bool>; 3]| {
            let mut answers = answers.into_iter();
            (repeated(|| Ok(answers.next().unwrap())).unwrap(), answers.len())
        };

        assert_eq!(outcome([Some(true); 3]), (Outcome::Whole, 2));
        assert_eq!(outcome([Some(false), Some(true), None]), (Outcome::Whole, 1));
        assert_eq!(outcome([Some(false), None, None]), (Outcome::Absent, 1));
        assert_eq!(outcome([Some(false); 3]), (Outcome::Torn, 0));
    }

    #[test]
    fn only_the_lack_of_conntrack_is_no_failure() {
        let judge = |code| {
            let failed = Err(io::Error::from_raw_os_error(code).into());
            Conntrack::default().judge::<bool>(failed).is_ok_and(|judged| judged.is_none())
        };

        assert!([libc::EPROTONOSUPPORT, libc::EINVAL, libc::EOPNOTSUPP].into_iter().all(judge));
        assert!(![libc::EPERM, libc::ENOBUFS, libc::EBUSY].into_iter().any(judge));
    }
}
