//! Reads the ring `EVENTS`, as long as somebody observes.

use std::mem::offset_of;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::event::{Event, Kind};
use canary_common::reason::Reason;
use canary_common::settings::Settings;
use humantime::format_rfc3339_micros;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use super::listing::Names;
use super::load;
use super::mapped::Mapped;
use super::names::TableNames;
use crate::compile::{protocol_name, socket};
use crate::document::observe as document;
use crate::observe::{Demand, Hub, Seen, Subscription, Wanted};
use crate::seen::{EVENTS, word};

/// Time after which a reader looks whether anybody still observes.
const PATIENCE: u16 = 500;

/// The ring, whoever reads it, and those who observe.
pub(super) struct Events {
    /// Not there while a thread reads it.
    ring: Arc<Mutex<Option<RingBuf<MapData>>>>,
    hub: Arc<Hub>,
    names: Arc<TableNames>,
}

impl Events {
    /// Takes the ring; whatever an earlier agent asked for is not asked for any more.
    pub(super) fn take(ebpf: &mut Ebpf, names: Arc<TableNames>) -> Result<Self> {
        let ring = RingBuf::try_from(load::take(ebpf, "EVENTS")?).context("EVENTS")?;
        let settings: Mapped<Settings> = Mapped::from_ebpf(ebpf, "SETTINGS")?;
        let tell = move |demand: Demand| {
            let stores = [
                (offset_of!(Settings, sample), demand.sample),
                (offset_of!(Settings, observed), demand.kinds),
            ];
            // The row and its words are there: they are of this build.
            for (offset, value) in stores {
                let _: Result<()> = settings.store(0, offset, value);
            }
        };
        tell(Demand::default());
        Ok(Self { ring: Arc::new(Mutex::new(Some(ring))), hub: Arc::new(Hub::new(tell)), names })
    }

    /// Adds an observer, and has the ring read if it is the first.
    pub(super) fn observe(&self, wanted: Wanted) -> Result<Subscription> {
        let since = monotonic()?;
        let subscription = self.hub.join(wanted)?;
        // Whoever reads looks for observers under this lock before it ends.
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ring) = ring {
            let slot = Arc::clone(&self.ring);
            let (hub, names) = (Arc::clone(&self.hub), Arc::clone(&self.names));
            let reader = Reader { slot, hub, names, since };
            thread::Builder::new()
                .name("events".to_owned())
                .spawn(move || reader.run(ring))
                .context("start the thread that reads events")?;
        }
        Ok(subscription)
    }
}

/// The thread that reads.
struct Reader {
    slot: Arc<Mutex<Option<RingBuf<MapData>>>>,
    hub: Arc<Hub>,
    names: Arc<TableNames>,
    /// What is older was not meant for anybody who observes.
    since: u64,
}

impl Reader {
    fn run(self, mut ring: RingBuf<MapData>) {
        loop {
            let mut files = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
            // Interrupted or not: what is there is read.
            _ = poll(&mut files, PollTimeout::from(PATIENCE));
            while let Some(entry) = ring.next() {
                self.hear(&entry);
            }
            if self.hub.is_empty() {
                let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
                if self.hub.is_empty() {
                    *slot = Some(ring);
                    return;
                }
            }
        }
    }

    fn hear(&self, entry: &[u8]) {
        let Some(event) = Event::of_bytes(entry).filter(|event| event.time >= self.since) else {
            return;
        };
        self.hub.lose(u64::from(event.lost));
        if let Some(seen) = seen(&event, &*self.names, wall_clock(event.time)) {
            self.hub.tell(&seen);
        }
    }
}

/// An event with names for its numbers; `None` for one of a kind that is not known here.
pub(super) fn seen(event: &Event, names: &impl Names, time: SystemTime) -> Option<Seen> {
    let kind = Kind::of_number(event.kind)?;
    let is_known = event.reason != Event::NO_REASON;
    let reason = is_known.then(|| Reason::of_slot(u32::from(event.reason)));
    let end =
        |address, port| Endpoint { address: Address(address), port, protocol: event.protocol };
    let source = end(event.source, event.source_port);
    let destination = end(event.destination, event.destination_port);
    let has_ends = event.has(Event::TUPLE);
    let by_backend = event.has(Event::FROM_BACKEND);
    let seen_client = if by_backend { destination } else { source };
    let port = (event.has(Event::FLOW) && event.port != seen_client.port)
        .then(|| u16::from_be_bytes(event.port));
    // An observer knows a client by its own port, whatever the backend sees.
    let client = match port {
        Some(port) if by_backend => Endpoint { port: port.to_be_bytes(), ..seen_client },
        _ => seen_client,
    };
    let split = event.has(Event::SPLIT).then(|| names.split(event.statistics)).flatten();
    let frontend = event.has(Event::FRONTEND).then(|| names.frontend(event.frontend)).flatten();
    let backend = event.has(Event::BACKEND).then(|| names.backend(event.backend)).flatten();
    let named = event.has(Event::SERVICE).then(|| names.service(event.frontend)).flatten();
    let service = match &split {
        Some(split) => Some(split.service.clone()),
        None => frontend.map(|(_, service)| service).or(named),
    };
    // A socket that calls has no port yet.
    let shown = |endpoint: &Endpoint| match socket(endpoint) {
        at if at.port() == 0 && event.has(Event::SOCKET) => at.ip().to_string(),
        at => at.to_string(),
    };
    let told = document::Event {
        time: format_rfc3339_micros(time).to_string(),
        kind: word(&EVENTS, &kind).to_owned(),
        reason: reason.map(|reason| reason.word().to_owned()),
        sender: if by_backend { "backend" } else { "client" }.to_owned(),
        protocol: has_ends.then(|| protocol_name(event.protocol).to_owned()),
        source: has_ends.then(|| shown(&source)),
        destination: has_ends.then(|| shown(&destination)),
        by: if event.has(Event::SOCKET) { "socket" } else { "packet" }.to_owned(),
        // 0 is no interface, and glibc has a name for it: an empty one.
        interface: names.interface(event.interface).filter(|name| !name.is_empty()),
        service: service.clone(),
        target: split.as_ref().map(|split| split.target.clone()),
        subset: split.as_ref().map(|split| split.subset.clone()),
        backend: backend.as_ref().map(shown),
        port,
        answered: event.has(Event::FLOW).then(|| event.has(Event::ANSWERED)),
    };
    let client = has_ends.then_some(client);
    Some(Seen { kind, reason, client, split, service, draw: event.draw, event: told })
}

/// The monotonic clock, in nanoseconds, as programs read it.
fn monotonic() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).context("read the clock")?;
    Ok(u64::try_from(Duration::from(time).as_nanos())?)
}

/// When it was so late by the monotonic clock.
fn wall_clock(time: u64) -> SystemTime {
    let ago = monotonic().unwrap_or(time).saturating_sub(time);
    let now = SystemTime::now();
    now.checked_sub(Duration::from_nanos(ago)).unwrap_or(now)
}

#[cfg(test)]
mod tests;
