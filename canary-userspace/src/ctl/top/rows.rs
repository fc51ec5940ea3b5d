//! What is shown of each split, and in which order.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Serialize, Serializer};

use crate::ctl::status::{name, quantiles};
use crate::ctl::table::{Column, bytes};
use crate::document::{Quantiles, Service, Split, Status};

/// A status, and when it was so.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Services by name.
    #[default]
    Name,
    /// Services with the most new connections.
    Rate,
    /// Services with the most failures.
    Failures,
    /// Services with the slowest answers.
    Latency,
}

impl Sort {
    /// The next one, in a circle.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Failures,
            Self::Failures => Self::Latency,
            Self::Latency => Self::Name,
        }
    }

    /// Its word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Failures => "failures",
            Self::Latency => "latency",
        }
    }
}

/// A split between two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) service: String,
    pub(super) split: String,
    pub(super) healthy: u64,
    pub(super) total: u64,
    /// Percent that is wanted.
    pub(super) weight: f64,
    /// Hundredths of a percent of the service's new connections; `None` if there were none.
    #[serde(serialize_with = "hundredths")]
    pub(super) share: Option<u64>,
    /// Tenths of a new connection a second.
    #[serde(rename = "opened_per_second", serialize_with = "tenths")]
    pub(super) opened_tenths: u64,
    /// Tenths of a failure a second: refused, timed out, unanswered or reset by the server.
    #[serde(rename = "failed_per_second", serialize_with = "tenths")]
    pub(super) failed_tenths: u64,
    pub(super) active: u64,
    pub(super) bytes_per_second: u64,
    /// Since the tables were made.
    pub(super) connect_us: Option<Quantiles>,
    /// Since the tables were made.
    pub(super) response_us: Option<Quantiles>,
}

pub(super) const COLUMNS: [Column; 11] = [
    Column::left("SERVICE"),
    Column::left("SUBSET"),
    Column::right("PODS"),
    Column::right("WANTED"),
    Column::right("SEEN"),
    Column::right("CONN/S"),
    Column::right("FAIL/S"),
    Column::right("ACTIVE"),
    Column::right("CONNECT p50/p99"),
    Column::right("RESPONSE p50/p99"),
    Column::right("BYTES/S"),
];

impl Row {
    /// The row as [`COLUMNS`] has it.
    pub(super) fn cells(&self) -> [String; 11] {
        let tenths = |number: u64| format!("{}.{}", number / 10, number % 10);
        let percent = |share: u64| format!("{}.{:02}", share / 100, share % 100);
        [
            self.service.clone(),
            self.split.clone(),
            format!("{}/{}", self.healthy, self.total),
            format!("{:.2}", self.weight),
            self.share.map_or_else(|| "-".to_owned(), percent),
            tenths(self.opened_tenths),
            tenths(self.failed_tenths),
            self.active.to_string(),
            quantiles(self.connect_us.as_ref()),
            quantiles(self.response_us.as_ref()),
            bytes(self.bytes_per_second),
        ]
    }

    /// Whether something is wrong with it.
    pub(super) fn is_unwell(&self) -> bool {
        self.failed_tenths > 0 || self.weight > 0.0 && self.healthy == 0
    }
}

/// The splits of all services, with what happened between two looks. Splits of a service stay
/// together, in their own order.
pub(super) fn rows(before: &Sample, now: &Sample, sort: Sort) -> Vec<Row> {
    let elapsed = now.at.saturating_duration_since(before.at);
    let mut services: Vec<Vec<Row>> = (now.status.services.iter())
        .map(|service| {
            let was = before.status.services.iter().find(|was| was.service == service.service);
            of_service(was, service, elapsed)
        })
        .collect();
    let sum = |rows: &[Row], of: fn(&Row) -> u64| rows.iter().map(of).fold(0, u64::saturating_add);
    let slowest = |rows: &[Row]| {
        let p99 = |row: &Row| row.response_us.or(row.connect_us).and_then(|times| times.p99);
        rows.iter().filter_map(p99).max().unwrap_or(0)
    };
    // Sorting is stable, and the agent's order is by name.
    match sort {
        Sort::Name => {}
        Sort::Rate => services.sort_by_key(|rows| Reverse(sum(rows, |row| row.opened_tenths))),
        Sort::Failures => services.sort_by_key(|rows| Reverse(sum(rows, |row| row.failed_tenths))),
        Sort::Latency => services.sort_by_key(|rows| Reverse(slowest(rows))),
    }
    services.into_iter().flatten().collect()
}

fn of_service(was: Option<&Service>, now: &Service, elapsed: Duration) -> Vec<Row> {
    let was_split = |split: &Split| {
        was.into_iter()
            .flat_map(|was| &was.splits)
            .find(|was| was.service == split.service && was.subset == split.subset)
    };
    let growth = |split: &Split, of: fn(&Split) -> u64| {
        // One that was not there before has only just begun to count for us.
        was_split(split).map_or(0, |was| of(split).saturating_sub(of(was)))
    };
    let opened = |split: &Split| growth(split, |split| split.connections.opened);
    let all = now.splits.iter().map(opened).fold(0, u64::saturating_add);
    let row = |split: &Split| Row {
        service: now.service.clone(),
        split: name(now, split),
        healthy: split.backends.healthy,
        total: split.backends.total,
        weight: split.weight,
        share: share(opened(split), all),
        opened_tenths: per_second(opened(split).saturating_mul(10), elapsed),
        failed_tenths: per_second(growth(split, failures).saturating_mul(10), elapsed),
        active: split.connections.active,
        bytes_per_second: per_second(
            growth(split, |split| split.bytes.to_backend.saturating_add(split.bytes.to_client)),
            elapsed,
        ),
        connect_us: split.connect_us,
        response_us: split.response_us,
    };
    now.splits.iter().map(row).collect()
}

fn failures(split: &Split) -> u64 {
    let of = &split.connections;
    [of.refused, of.timed_out, of.unanswered, of.reset_by_server]
        .into_iter()
        .fold(0, u64::saturating_add)
}

/// So many in that time, a second; rounded.
fn per_second(count: u64, elapsed: Duration) -> u64 {
    let millis = elapsed.as_millis().max(1);
    let rate = (u128::from(count) * 1000 + millis / 2) / millis;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// A part of a whole in hundredths of a percent, rounded; `None` if there is no whole.
fn share(part: u64, whole: u64) -> Option<u64> {
    let scaled = u128::from(part) * 10_000 + u128::from(whole) / 2;
    u64::try_from(scaled.checked_div(u128::from(whole))?).ok()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn tenths<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(small(*number) / 10.0)
}

#[expect(clippy::ref_option, reason = "the shape that serde wants")]
fn hundredths<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => serializer.serialize_some(&(small(*number) / 100.0)),
        None => serializer.serialize_none(),
    }
}

fn small(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
