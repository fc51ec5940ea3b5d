//! From what the tables shall hold to the stores that make them hold it, in order.
//!
//! Pure. The order is such that after every single store each frontend gives its old answer or
//! its new one: an address has its bit before an endpoint with it is found, a backend is found
//! before a record names it, a record is complete before `CURRENT` names it, a service is in force
//! before its frontends are found. What is left behind is written again only after a grace period,
//! so a reader never meets a row that changes; rows that `FLOWS` names after grace, a pass over
//! `FLOWS`, and grace again: see [`Published::begin_grace`] for who calls what.

mod addresses;
mod adopt;
mod brake;
mod build;
mod delta;
mod dump;
mod kept;
mod places;
mod pool;
mod published;
mod reuse;
mod rows;

use std::convert::Infallible;

use canary_common::endpoint::Endpoint;
use canary_common::limits;
use canary_common::service::Record;

pub use self::adopt::Image;
pub use self::brake::brake;
use self::build::Builder;
use self::delta::Delta;
use self::pool::Spent;
pub use self::published::{Leaving, Published};
use crate::compile::{Desired, Names, SplitKey};
use crate::datapath::PublishError;

/// The service without a name whose record refuses every new flow; leaving frontends point there.
pub const NOWHERE: u32 = 0;

/// One store into a table, or a few into rows that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Bits of a row of `ADDRESSES`, by one atomic operation each: the programs set others there.
    Addresses {
        /// The row.
        row: u32,
        /// Bits that become 1.
        set: u64,
        /// Bits that become 0.
        clear: u64,
    },
    /// Address, port and protocol of a row of `BACKENDS` that is gone.
    Backend {
        /// The row.
        id: u32,
        /// Where the backend serves.
        endpoint: Endpoint,
    },
    /// The state of a row of `BACKENDS`: one store.
    BackendState {
        /// The row.
        id: u32,
        /// As [`canary_common::backend::Backend::word_of`] makes it.
        state: u32,
    },
    /// The key of an entry of `ENDPOINTS` whose value is 0: first the tail becomes 0, which no
    /// endpoint has, then the address is written, then the tail.
    EndpointKey {
        /// The bucket.
        bucket: u32,
        /// Which of its entries.
        entry: u8,
        /// The key.
        endpoint: Endpoint,
    },
    /// The value of an entry of `ENDPOINTS`: one store.
    EndpointValue {
        /// The bucket.
        bucket: u32,
        /// Which of its entries.
        entry: u8,
        /// As [`canary_common::directory::Occupant::to_value`] makes it; 0 for none.
        value: u32,
    },
    /// An element of the hash beside `ENDPOINTS`.
    Overflow {
        /// Its key.
        endpoint: Endpoint,
        /// As in [`Write::EndpointValue`]; 0 deletes the element.
        value: u32,
    },
    /// Whether lookups that start at a bucket go on to the overflow: one store.
    OverflowFlag {
        /// The bucket.
        bucket: u32,
        /// Whether they do.
        on: bool,
    },
    /// Backend ids into rows of `SLOTS` that no record names.
    Slots {
        /// The first row.
        start: u32,
        /// What goes there and into the rows that follow.
        ids: Vec<u32>,
    },
    /// A row of `SERVICES` that is not in force.
    Record {
        /// The row.
        index: u32,
        /// All of it.
        record: Box<Record>,
    },
    /// A row of `CURRENT`: one store, which puts the record in force.
    Current {
        /// The service.
        service: u32,
        /// The row of `SERVICES`.
        record: u32,
    },
    /// What a service is called; only a restarted agent reads it.
    ServiceLabel {
        /// The service.
        service: u32,
        /// Its name; empty for none.
        name: String,
    },
    /// Whose counters a row of `STATS` has, and which row of `HISTOGRAMS` goes with it.
    SplitLabel {
        /// The row.
        statistics: u16,
        /// Whose.
        key: SplitKey,
        /// The histograms, if it has some.
        histogram: Option<u32>,
    },
    /// All of a row of `FRONTENDS` that nothing leads to, the flags 0.
    Frontend {
        /// The row.
        id: u32,
        /// Address, port and protocol.
        endpoint: Endpoint,
        /// The service behind it.
        service: u32,
    },
    /// The service of a row of `FRONTENDS`: one store.
    FrontendService {
        /// The row.
        id: u32,
        /// The service behind it from here on.
        service: u32,
    },
}

/// How much the tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of `CURRENT`; `SERVICES` has twice as many.
    pub services: u32,
    /// Rows of `FRONTENDS`.
    pub frontends: u32,
    /// Rows of `BACKENDS`.
    pub backends: u32,
    /// Rows of `SLOTS`.
    pub slots: u32,
    /// Buckets of `ENDPOINTS`, a power of two.
    pub buckets: u32,
    /// Elements of the hash beside it.
    pub overflow: u32,
    /// Rows of `STATS`.
    pub statistics: u32,
    /// Rows of `HISTOGRAMS`.
    pub histograms: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            services: limits::MAX_SERVICES,
            frontends: limits::MAX_FRONTENDS,
            backends: limits::MAX_BACKENDS,
            slots: limits::MAX_SLOTS,
            buckets: limits::MAX_BUCKETS,
            overflow: limits::MAX_OVERFLOW,
            statistics: limits::MAX_STATISTICS,
            histograms: limits::MAX_HISTOGRAMS,
        }
    }
}

/// Why there is no plan; the picture of the tables is unchanged then.
#[derive(Debug)]
pub enum Blocked {
    /// What is free is not enough, but a grace period frees more: wait for one, then plan again.
    Grace,
    /// What is free is not enough, but rows that flows may still name become free after a grace
    /// period, a whole pass over `FLOWS` that begins after it, and another grace period: wait for
    /// all three, then plan again.
    Pass,
    /// A table cannot take the change.
    Full(PublishError),
}

/// A table that may be full.
#[derive(Clone, Copy, Debug)]
struct Table {
    name: &'static str,
    setting: &'static str,
}

impl Table {
    /// What a service is told whose change needs more of this table than there is.
    fn short(self, service: &str, spent: Spent, limit: u32) -> Short {
        let error = PublishError::Full {
            service: service.to_owned(),
            table: self.name,
            limit: u64::from(limit),
            setting: self.setting,
        };
        Short { spent, error }
    }
}

/// What a change lacks.
#[derive(Debug)]
struct Short {
    spent: Spent,
    error: PublishError,
}

impl Short {
    /// Whether waiting helps: what this very change would free does not, for it is refused whole.
    fn blocks(self, published: &Published) -> Blocked {
        match self.spent {
            Spent::UntilGrace if published.waits_for_grace() => Blocked::Grace,
            Spent::UntilPass if published.waits_for_pass() => Blocked::Pass,
            _ => Blocked::Full(self.error),
        }
    }
}

/// The stores that turn what is `published` into what is `desired`, none if that is the same.
///
/// `published` then says what the tables hold once all of them are done.
///
/// # Errors
///
/// [`Blocked`], with `published` unchanged.
pub fn plan(published: &mut Published, desired: &Desired) -> Result<Vec<Write>, Blocked> {
    let before = published.desired();
    // Of an earlier agent's services only the names are known.
    let known = published.tables().services.all().keys();
    let names: Names =
        known.cloned().chain(desired.services.iter().map(|new| new.name.clone())).collect();
    let same = |name: &String| before.service(name) == desired.service(name);
    let differ = |name: &String| published.is_adopted() || !same(name);
    let names: Names = names.into_iter().filter(differ).collect();
    plan_some(published, desired, &names)
}

/// As [`plan`], where no service but those of `names` is another one than in what is published.
///
/// # Errors
///
/// [`Blocked`], with `published` unchanged.
pub fn plan_some(
    published: &mut Published,
    desired: &Desired,
    names: &Names,
) -> Result<Vec<Write>, Blocked> {
    let rest = published.is_adopted();
    let result = published.plan(|tables, before| {
        Builder::new(tables).build(&Delta::of(names, before, desired), rest)
    });
    let writes = result.map_err(|short| short.blocks(published))?;
    published.planned(desired, names);
    Ok(writes)
}

/// As [`fits`], where no service but those of `names` differs from what is published.
///
/// # Errors
///
/// [`PublishError::Full`].
pub fn fits_some(
    published: &mut Published,
    desired: &Desired,
    names: &Names,
) -> Result<(), PublishError> {
    let rest = published.is_adopted();
    let tried: Result<Infallible, Option<Short>> = published.plan(|tables, before| {
        // An error, whatever comes of it: the plan is taken back.
        Err(Builder::new(tables).build(&Delta::of(names, before, desired), rest).err())
    });
    let Err(Some(short)) = tried else { return Ok(()) };
    match short.blocks(published) {
        Blocked::Full(error) => Err(error),
        Blocked::Grace | Blocked::Pass => fits(published, desired),
    }
}

/// Says whether the tables can take `desired`, waiting for no grace period and no pass.
///
/// # Errors
///
/// [`PublishError::Full`].
pub fn fits(published: &Published, desired: &Desired) -> Result<(), PublishError> {
    let mut copy = published.clone();
    loop {
        match plan(&mut copy, desired) {
            Ok(_) => return Ok(()),
            Err(Blocked::Full(error)) => return Err(error),
            // In the copy it is over at once.
            Err(Blocked::Grace) => copy.pass_grace(),
            Err(Blocked::Pass) => {
                copy.pass_grace();
                copy.begin_pass();
                copy.end_pass(true);
                copy.pass_grace();
            }
        }
    }
}

#[cfg(test)]
mod tests;
