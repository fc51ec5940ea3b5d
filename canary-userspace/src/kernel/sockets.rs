//! Sockets that were sent to a backend when they connected: who holds which backend, and the end
//! of those whose backend is gone.
//!
//! Their packets are not seen by the hooks, so nothing of them is in `FLOWS`. A stream stays while
//! its backend drains, as flows do, and ends with the row. A connected socket of datagrams cannot
//! be sent elsewhere: it ends as soon as its backend takes no new ones, and its owner asks anew.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use canary_common::backend::{Backend, State};
use canary_common::endpoint::{Endpoint, UDP};
use canary_common::socket::Picked;

use super::mapped::Mapped;
use super::namespaces::{Namespaces, Place, enter};
use super::sock_diag::{Found, SockDiag};
use super::{load, node};

/// Time after a listing until another: a program may have been about to connect.
const AGAIN: Duration = Duration::from_millis(500);

/// Who holds which backend.
#[derive(Debug, Default)]
struct Held {
    /// When the last listing began.
    since: Option<Instant>,
    /// Sockets by backend.
    backends: BTreeMap<u32, u64>,
}

/// The thread that lists and ends sockets, from outside.
#[derive(Debug)]
pub(super) struct Sockets {
    ask: Sender<()>,
    held: Arc<Mutex<Held>>,
}

impl Sockets {
    /// Starts the thread, in the network namespace of this one; it looks into those of pods as well.
    ///
    /// # Errors
    ///
    /// If tables are missing, or the system has no thread for it.
    pub(super) fn start(ebpf: &mut Ebpf, namespaces: Namespaces) -> Result<Self> {
        let map = ebpf.map("PICKS").context("the BPF object has no map PICKS")?;
        let Map::SkStorage(table) = map else { anyhow::bail!("PICKS is of another kind") };
        let table = table.fd().as_fd().try_clone_to_owned().context("open PICKS again")?;
        let backends = Mapped::from_ebpf(ebpf, "BACKENDS")?;
        let peers = HashMap::try_from(load::take(ebpf, "PEERS")?).context("PEERS")?;
        let (ask, asked) = channel();
        let held = Arc::new(Mutex::new(Held::default()));
        let lister =
            Lister { table, peers, backends, namespaces, held: Arc::clone(&held), failed: false };
        thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(move || lister.run(&asked))
            .context("start the thread that ends sockets")?;
        Ok(Self { ask, held })
    }

    /// Has sockets listed at once, and those ended whose backend is gone.
    pub(super) fn hurry(&self) {
        // The thread ends with the process only.
        _ = self.ask.send(());
    }

    /// Whether a socket may hold a backend that was left at `since`.
    #[must_use]
    pub(super) fn may_hold(&self, backend: u32, since: Instant) -> bool {
        let Ok(held) = self.held.lock() else { return true };
        held.since.is_none_or(|listed| listed < since) || held.backends.contains_key(&backend)
    }
}

struct Lister {
    table: OwnedFd,
    peers: HashMap<MapData, u64, u32>,
    backends: Mapped<Backend>,
    namespaces: Namespaces,
    held: Arc<Mutex<Held>>,
    /// The last listing failed, and that was said.
    failed: bool,
}

impl Lister {
    fn run(mut self, asked: &Receiver<()>) {
        while asked.recv().is_ok() {
            self.list();
            let until = Instant::now() + AGAIN;
            loop {
                let wait = until.saturating_duration_since(Instant::now());
                match asked.recv_timeout(wait) {
                    Ok(()) => self.list(),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            self.list();
        }
    }

    fn list(&mut self) {
        let since = Instant::now();
        match self.try_list() {
            Ok(backends) => {
                self.failed = false;
                if let Ok(mut held) = self.held.lock() {
                    *held = Held { since: Some(since), backends };
                }
            }
            Err(error) if self.failed => tracing::debug!("{error:#}"),
            Err(error) => {
                self.failed = true;
                tracing::error!("sockets whose backend is gone are not ended: {error:#}");
            }
        }
    }

    /// Ends sockets; who holds which backend then.
    fn try_list(&self) -> Result<BTreeMap<u32, u64>> {
        let mut holders = BTreeMap::new();
        let mut result = SockDiag::open().and_then(|diag| self.list_in(diag, &mut holders));
        for place in self.namespaces.places() {
            let listed = open_in(&place).and_then(|diag| self.list_in(diag, &mut holders));
            if let Err(error) = listed {
                // It went with its pod, or another file stands for it.
                self.namespaces.look_again();
                let error = error.context(format!("in {}", place.path.display()));
                result = if place.path.exists() { result.and(Err(error)) } else { result };
            }
        }
        result.map(|()| holders)
    }

    /// Ends sockets of one namespace, and adds who holds which backend.
    fn list_in(&self, mut diag: SockDiag, holders: &mut BTreeMap<u32, u64>) -> Result<()> {
        let table = u32::try_from(self.table.as_raw_fd()).context("a descriptor is negative")?;
        let rows = self.backends.rows_as_they_are()?;
        let (mut ended, mut first_error) = (0_usize, None);
        for socket in diag.connected(table)? {
            let Some(picked) = self.picked(&socket) else { continue };
            let row = usize::try_from(picked.id).ok().and_then(|id| rows.get(id));
            let row = row.map(|row| (row.endpoint(), row.state()));
            if stays(&picked, socket.protocol, row) {
                let holders = holders.entry(picked.id).or_default();
                *holders = holders.saturating_add(1);
                continue;
            }
            match diag.end(&socket) {
                Ok(true) => ended = ended.saturating_add(1),
                Ok(false) => {}
                // The others end all the same.
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if ended > 0 {
            tracing::info!("{ended} sockets ended whose backend is gone");
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Where a socket was sent to; `None` for one that we know nothing of.
    fn picked(&self, socket: &Found) -> Option<Picked> {
        if socket.protocol != UDP {
            return socket.pick.and_then(Picked::of_words);
        }
        let id = self.peers.get(&socket.cookie(), 0).ok()?;
        let peer = socket.peer();
        Some(Picked { frontend: peer, backend: peer, id, statistics: 0 })
    }
}

/// `sock_diag` of a pod's namespace.
fn open_in(place: &Place) -> Result<SockDiag> {
    enter(&place.path, || {
        ensure!(node::netns_cookie()? == place.cookie, "another network namespace is there");
        SockDiag::open()
    })
}

/// Whether a socket goes on, by the row that its pick names.
fn stays(picked: &Picked, protocol: u8, row: Option<(Endpoint, State)>) -> bool {
    let Some((at, state)) = row else { return false };
    let is_same = at.address == picked.backend.address && at.port == picked.backend.port;
    let takes = if protocol == UDP { state == State::Alive } else { state != State::Gone };
    is_same && takes
}

#[cfg(test)]
mod tests {
    use canary_common::endpoint::{Address, TCP};

    use super::*;

    fn at(host: u8, protocol: u8) -> Endpoint {
        Endpoint { address: Address::v4([10, 244, 0, host]), port: [31, 144], protocol }
    }

    #[test]
    fn a_stream_stays_while_its_backend_drains_and_datagrams_do_not() {
        for (protocol, state, expected) in [
            (TCP, State::Alive, true),
            (TCP, State::Draining, true),
            (TCP, State::Resting, true),
            (TCP, State::Gone, false),
            (UDP, State::Alive, true),
            (UDP, State::Draining, false),
            (UDP, State::Resting, false),
            (UDP, State::Gone, false),
        ] {
            let backend = at(1, protocol);
            let picked = Picked { frontend: at(9, protocol), backend, id: 0, statistics: 1 };

            let case = format!("{protocol} {state:?}");
            assert_eq!(stays(&picked, protocol, Some((backend, state))), expected, "{case}");
            let other = Some((at(2, protocol), State::Alive));
            assert!(!stays(&picked, protocol, other), "{case}: the row is of another backend");
            assert!(!stays(&picked, protocol, None), "{case}: there is no such row");
        }
    }
}
