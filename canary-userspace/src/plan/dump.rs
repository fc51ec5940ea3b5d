//! Stores as text: a line each, for tests and for people who trace a publication.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use canary_common::backend::{State, Status};
use canary_common::directory::Occupant;
use canary_common::service::Record;

use super::Write;
use crate::compile::Shown;

impl Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend { id, endpoint, home, home_generation } => {
                write!(f, "BACKENDS[{id}] = {} home {home}.{home_generation}", Shown(endpoint))
            }
            Self::BackendStatus { id, status } => {
                write!(f, "BACKENDS[{id}].status = {}", ShownStatus(Status(*status)))
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
            Self::Frontend { id, endpoint, generation, service } => {
                let endpoint = Shown(endpoint);
                write!(f, "FRONTENDS[{id}] = {endpoint} service {service} generation {generation}")
            }
            Self::FrontendService { id, service } => {
                write!(f, "FRONTENDS[{id}].service = {service}")
            }
        }
    }
}

struct ShownStatus(Status);

impl Display for ShownStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0.state() {
            State::Gone => "gone",
            State::Alive => "alive",
            State::Draining => "draining",
        };
        write!(f, "{state} generation {}", self.0.generation())?;
        if self.0.has_returns() { f.write_str(" has-returns") } else { Ok(()) }
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
        let record = self.0;
        let splits = record.bounds.iter().zip(&record.statistics);
        let places = record.slots.iter().zip(&record.lengths);
        let count = usize::try_from(record.count).unwrap_or(usize::MAX);
        for (place, ((bound, statistics), (start, length))) in
            splits.zip(places).enumerate().take(count)
        {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}to {bound:#010x} split {statistics} ")?;
            match length {
                0 => f.write_str("nobody")?,
                1 => write!(f, "backend {start}")?,
                _ => write!(f, "slots {start}+{length}")?,
            }
        }
        Ok(())
    }
}
