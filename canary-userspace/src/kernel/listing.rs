//! Lists what `FLOWS` holds, a page at a time.

use std::collections::BTreeMap;

use canary_common::endpoint::{Address, Endpoint};
use canary_common::flows::{Entry, Flows, Head, Kind, Values, find_at, key_of, partner};
use canary_common::settings::Idle;

use super::sweep::{Facts, of_lone};
use crate::compile::{SplitKey, protocol_name, socket};
use crate::document::flows as document;
use crate::seen::{KINDS, STATES, Wanted, word};

/// Names for the numbers that entries and events hold.
pub(crate) trait Names {
    /// Where a backend serves.
    fn backend(&self, id: u32) -> Option<Endpoint>;

    /// Where a frontend is, and whose it is.
    fn frontend(&self, id: u32) -> Option<(Endpoint, String)>;

    /// The name of a service.
    fn service(&self, id: u32) -> Option<String>;

    /// Whose counters a row of statistics is.
    fn split(&self, statistics: u16) -> Option<SplitKey>;

    /// The name of an interface.
    fn interface(&self, index: u32) -> Option<String>;
}

/// The entries that are wanted, from a place on, `limit` at most.
pub(super) fn list<T: Flows + ?Sized>(
    tables: &T,
    names: &impl Names,
    wanted: &Wanted,
    now: u32,
    from: u32,
    limit: usize,
) -> document::Flows {
    let mut lister = Lister { tables, names, wanted, now, splits: BTreeMap::new() };
    let mut page = document::Flows::default();
    for number in from >> 3.. {
        let Some(bucket) = tables.flows(number) else { break };
        for (place, word) in (number << 3..).zip(&bucket.heads) {
            let head = Head(tables.load(word));
            if place < from || !lister.may_want(head) {
                continue;
            }
            let Some(flow) = lister.flow(place, head) else { continue };
            if page.flows.len() >= limit {
                page.next = Some(place);
                return page;
            }
            page.flows.push(flow);
        }
    }
    page
}

struct Lister<'a, T: ?Sized, N> {
    tables: &'a T,
    names: &'a N,
    wanted: &'a Wanted,
    now: u32,
    /// Names that were looked up.
    splits: BTreeMap<u16, Option<SplitKey>>,
}

/// What an entry says, both directions together.
struct Read {
    kind: Kind,
    client: Endpoint,
    destination: Endpoint,
    backend: Option<Endpoint>,
    port: Option<[u8; 2]>,
    values: Values,
    facts: Facts,
    severed: bool,
}

impl<T: Flows + ?Sized, N: Names> Lister<'_, T, N> {
    /// Whether an entry may be wanted, as far as its head says.
    fn may_want(&self, head: Head) -> bool {
        let kind = head.kind();
        let kinds = &self.wanted.kinds;
        !matches!(kind, Kind::Free | Kind::Claimed) && (kinds.is_empty() || kinds.contains(&kind))
    }

    /// The entry at a place, if it is wanted and still the one of this head.
    fn flow(&mut self, place: u32, head: Head) -> Option<document::Flow> {
        let entry = find_at(self.tables, place).filter(|entry| entry.head.is_of_same(head))?;
        let read = self.read(&entry)?;
        // What was read before is of this entry only if it is still there.
        let word = Head(self.tables.load(entry.word));
        if !word.is_of_same(head) || !self.wants(&read) {
            return None;
        }
        let split = self.split(&read);
        let service = match (&split, read.kind) {
            (None, Kind::Foreign) => {
                self.names.frontend(read.values.frontend).map(|(_, name)| name)
            }
            _ => None,
        };
        if !self.wanted.whose.wants(split.as_ref(), service.as_deref()) {
            return None;
        }
        Some(self.shown(&read, split, service))
    }

    fn read(&self, entry: &Entry<'_>) -> Option<Read> {
        let key = key_of(self.tables, entry);
        let (source, target) = (key.source(), key.destination());
        let (kind, values) = (entry.head.kind(), entry.values);
        let lone = of_lone(kind, entry.head, self.now);
        let backend = self.names.backend(values.backend);
        let severed = entry.head.has(Head::SEVERED);
        let read = Read {
            kind,
            client: source,
            destination: target,
            backend: None,
            port: None,
            values,
            facts: lone,
            severed,
        };
        Some(match kind {
            Kind::Forward => {
                let back = partner(self.tables, entry);
                let facts = if back.is_there() {
                    Facts::of_both(entry.head, back.head, self.now)
                } else {
                    lone
                };
                let port = (values.port != source.port).then_some(values.port);
                let severed = severed || back.head.has(Head::SEVERED);
                Read { backend, port, facts, severed, ..read }
            }
            Kind::Return => {
                let forward = partner(self.tables, entry);
                if forward.is_there() && self.wanted.kinds.is_empty() {
                    return None;
                }
                let direct = values.has(Values::DIRECT);
                let frontend = self.names.frontend(values.frontend).filter(|_| !direct);
                let destination = frontend.map_or(source, |(endpoint, _)| endpoint);
                let port = (values.port != target.port).then_some(target.port);
                let client = if values.has(Values::MASKED) && forward.is_there() {
                    key_of(self.tables, &forward).source()
                } else {
                    Endpoint { port: values.port, ..target }
                };
                Read { client, destination, backend: Some(source), port, ..read }
            }
            Kind::Straight => {
                Read { client: target, destination: source, backend: Some(source), ..read }
            }
            _ => read,
        })
    }

    fn wants(&self, read: &Read) -> bool {
        let Wanted { states, whose, .. } = self.wanted;
        let state = read.state();
        let is_state = states.is_empty() || state.is_some_and(|state| states.contains(&state));
        is_state && whose.client.as_ref().is_none_or(|client| client.matches(&read.client))
    }

    /// The split that a connection is counted for; a direct one has none.
    fn split(&mut self, read: &Read) -> Option<SplitKey> {
        let counted = matches!(read.kind, Kind::Forward | Kind::Return);
        if !counted || read.values.has(Values::DIRECT) {
            return None;
        }
        let id = read.values.statistics;
        self.splits.entry(id).or_insert_with(|| self.names.split(id)).clone()
    }

    fn shown(
        &self,
        read: &Read,
        split: Option<SplitKey>,
        service: Option<String>,
    ) -> document::Flow {
        let (target, subset, of_split) = match split {
            None => (None, None, None),
            Some(split) => (Some(split.target), Some(split.subset), Some(split.service)),
        };
        let shown = |endpoint: &Endpoint| match read.kind {
            // What stands for its ports is the number of a datagram.
            Kind::Fragment => address(endpoint.address),
            _ => socket(endpoint).to_string(),
        };
        document::Flow {
            kind: word(&KINDS, &read.kind).to_owned(),
            state: read.state().map(|state| word(&STATES, &state).to_owned()),
            protocol: protocol_name(read.client.protocol).to_owned(),
            client: shown(&read.client),
            destination: shown(&read.destination),
            backend: read.backend.as_ref().map(shown),
            port: read.port.map(u16::from_be_bytes),
            service: of_split.or(service),
            target,
            subset,
            interface: self.names.interface(read.values.interface),
            idle_seconds: read.facts.idle,
            severed: read.severed,
        }
    }
}

impl Read {
    fn state(&self) -> Option<Idle> {
        // Of what others translate, and of pieces, an entry does not say how far they got.
        (!matches!(self.kind, Kind::Foreign | Kind::Fragment)).then(|| self.facts.state())
    }
}

fn address(address: Address) -> String {
    socket(&Endpoint { address, port: [0; 2], protocol: 0 }).ip().to_string()
}

#[cfg(test)]
mod tests;
