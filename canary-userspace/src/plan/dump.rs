//! Stores as text: a line each, for tests and for people who trace a publication.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use canary_common::backend::{Backend, State};
use canary_common::directory::Occupant;
use canary_common::service::Record;

use super::Write;
use crate::compile::Shown;

impl Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses { row, set, clear } => {
                let [set, clear] = [("+", set), ("-", clear)].map(|(sign, bits)| {
                    if *bits == 0 { String::new() } else { format!(" {sign}{bits:#x}") }
                });
                write!(f, "ADDRESSES[{row}]{set}{clear}")
            }
            Self::Backend { id, endpoint } => write!(f, "BACKENDS[{id}] = {}", Shown(endpoint)),
            Self::BackendState { id, state } => {
                write!(f, "BACKENDS[{id}].state = {}", ShownState(*state))
            }
            Self::EndpointKey { bucket, entry, endpoint } => {
                write!(f, "ENDPOINTS[{bucket}.{entry}].key = {}", Shown(endpoint))
            }
            Self::EndpointValue { bucket, entry, value } => {
                write!(f, "ENDPOINTS[{bucket}.{entry}].value = {}", ShownValue(*value))
            }
            Self::Overflow { endpoint, value } => {
                write!(f, "OVERFLOW[{}] = {}", Shown(endpoint), ShownValue(*value))
            }
            Self::OverflowFlag { bucket, on } => write!(f, "ENDPOINTS[{bucket}].overflow = {on}"),
            Self::Slots { start, ids } => {
                let end = start.saturating_add(u32::try_from(ids.len()).unwrap_or(u32::MAX));
                write!(f, "SLOTS[{start}..{end}] = {}", ShownSlots(ids))
            }
            Self::Record { index, record } => {
                write!(f, "SERVICES[{index}] = {}", ShownRecord(record))
            }
            Self::Current { service, record } => write!(f, "CURRENT[{service}] = {record}"),
            Self::ServiceLabel { service, name } => write!(f, "NAMES[{service}] = {name:?}"),
            Self::SplitLabel { statistics, key, histogram } => {
                write!(
                    f,
                    "SPLITS[{statistics}] = {} -> {}/{}",
                    key.service, key.target, key.subset
                )?;
                histogram.map_or(Ok(()), |histogram| write!(f, " histograms {histogram}"))
            }
            Self::Frontend { id, endpoint, service } => {
                write!(f, "FRONTENDS[{id}] = {} service {service}", Shown(endpoint))
            }
            Self::FrontendService { id, service } => {
                write!(f, "FRONTENDS[{id}].service = {service}")
            }
        }
    }
}

struct ShownState(u32);

impl Display for ShownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = [State::Gone, State::Alive, State::Draining, State::Resting];
        f.write_str(match states.into_iter().find(|state| Backend::word_of(*state) == self.0) {
            Some(State::Gone) => "gone",
            Some(State::Alive) => "alive",
            Some(State::Draining) => "draining",
            Some(State::Resting) => "resting",
            None => "unknown",
        })
    }
}

struct ShownValue(u32);

impl Display for ShownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Occupant::from_value(self.0) {
            None => f.write_str("none"),
            Some(Occupant::Frontend(id)) => write!(f, "frontend {id}"),
            Some(Occupant::Backend(id)) => write!(f, "backend {id}"),
        }
    }
}

/// How many slots each backend has: which ones is Maglev's business.
struct ShownSlots<'a>(&'a [u32]);

impl Display for ShownSlots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for id in self.0 {
            *counts.entry(*id).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.into_iter().map(|(id, count)| format!("backend {id} x {count}")).collect();
        f.write_str(&counts.join(", "))
    }
}

struct ShownRecord<'a>(&'a Record);

impl Display for ShownRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { bounds, slots, lengths, statistics, count, .. } = self.0;
        let [slots4, slots6] = slots;
        let [lengths4, lengths6] = lengths;
        let v4 = slots4.iter().zip(lengths4).map(|(start, length)| ShownSlice(*start, *length));
        let v6 = slots6.iter().zip(lengths6).map(|(start, length)| ShownSlice(*start, *length));
        let splits = bounds.iter().zip(statistics).zip(v4.zip(v6));
        let count = usize::try_from(*count).unwrap_or(usize::MAX);
        for (place, ((bound, statistics), families)) in splits.enumerate().take(count) {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}to {bound:#010x} split {statistics} ")?;
            match families {
                (ShownSlice(_, 0), ShownSlice(_, 0)) => f.write_str("nobody")?,
                (v4, ShownSlice(_, 0)) => write!(f, "IPv4 {v4}")?,
                (ShownSlice(_, 0), v6) => write!(f, "IPv6 {v6}")?,
                (v4, v6) => write!(f, "IPv4 {v4}, IPv6 {v6}")?,
            }
        }
        Ok(())
    }
}

/// Start and length.
struct ShownSlice(u32, u32);

impl Display for ShownSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(start, length) = self;
        match length {
            1 => write!(f, "backend {start}"),
            _ => write!(f, "slots {start}+{length}"),
        }
    }
}
