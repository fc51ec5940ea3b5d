//! The kernel does with each packet what the same code does on the host, and shares are exact.
//!
//! Needs root. Nothing is attached anywhere: packets are handed to the programs by
//! `BPF_PROG_TEST_RUN`, in network namespaces of the tests' own.
#![expect(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "all of it is test code, and the exemption of the lints covers only test functions"
)]

mod cells;
mod full;
mod interrupted;
mod ranks;
mod rare;
mod relays;
mod side;
mod traffic;
mod twin;
mod world;

use std::{env, time::Instant};

use anyhow::{Result, ensure};
use canary_common::{endpoint::TCP, flows::Head, packets::Draft, stats::Counter, wire::tcp::SYN};

use crate::{
    cells::ENOUGH,
    traffic::Traffic,
    twin::{Hook, Twin, Way},
    world::{Kind, Served, Service, put_shares},
};

#[test]
fn the_kernel_does_as_the_host() -> Result<()> {
    let mut traffic = Traffic::new(None)?;

    traffic.play(usize::try_from(ENOUGH)? + 10)?;

    traffic.cells.print();
    traffic.twin.compare_tables()?;
    let (lacking, astray) = (traffic.cells.lacking(), traffic.cells.astray());
    ensure!(lacking.is_empty(), "fewer than {ENOUGH} packets: {lacking:?}");
    ensure!(astray.is_empty(), "said to be unreachable: {astray:?}");
    ensure!(traffic.cells.total() >= 20_000, "only {} packets", traffic.cells.total());
    Ok(())
}

#[test]
fn one_wrong_byte_is_found() -> Result<()> {
    for fault in [0, 7, 100] {
        let mut traffic = Traffic::new(Some(fault))?;

        let error = traffic.play(1).expect_err("one byte was planted");

        let error = format!("{error:#}");
        ensure!(error.contains("differ over"), "{error}");
        ensure!(traffic.cells.total() == fault, "found at {}", traffic.cells.total());
    }
    Ok(())
}

#[test]
fn one_wrong_counter_is_found() -> Result<()> {
    let mut traffic = Traffic::new(None)?;
    traffic.play(1)?;
    traffic.twin.compare_tables()?;

    canary_common::tables::Tables::count(&traffic.twin.memory, 1, Counter::Closed, 1);

    ensure!(traffic.twin.compare_tables().is_err(), "one count was planted");
    Ok(())
}

#[test]
fn one_wrong_bit_of_an_entry_is_found() -> Result<()> {
    let mut traffic = Traffic::new(None)?;
    traffic.play(1)?;
    traffic.twin.compare_flows()?;
    let heads = traffic.twin.memory.flows.iter().flat_map(|bucket| &bucket.heads);
    let head = heads.into_iter().find(|head| head.load() != 0).expect("there are entries");

    head.store(head.load() ^ Head::PAYLOAD);

    ensure!(traffic.twin.compare_flows().is_err(), "one bit was planted");
    Ok(())
}

/// Flows that shares are counted over: some 20 us each.
const FLOWS: u32 = 250_000;
/// The same if `CANARY_LONG` is set.
const LONG: u32 = 1_000_000;

#[test]
fn the_kernel_gives_each_split_its_share() -> Result<()> {
    let each = if env::var_os("CANARY_LONG").is_some() { LONG } else { FLOWS };
    let mut twin = Twin::new()?;
    let served = Served::all(&mut twin)?[0];
    let service = served.frontend_id(Service::Split);
    let all: [&[u16]; 4] =
        [&[5_000, 5_000], &[9_000, 1_000], &[9_999, 1], &[4_000, 2_500, 2_000, 1_499, 1]];
    for (round, shares) in (0_u8..).zip(all) {
        put_shares(&mut twin, service, shares)?;
        let before = counted(&twin, shares)?;
        let started = Instant::now();

        open_many(&twin, served, round, each)?;

        let after = counted(&twin, shares)?;
        let micros = started.elapsed().as_micros() / u128::from(each);
        println!("{each} flows over {shares:?}, {micros} us each");
        for ((share, before), after) in shares.iter().zip(before).zip(after) {
            let (count, flows) = (f64::from(u32::try_from(after - before)?), f64::from(each));
            let share = f64::from(*share) / 10_000.0;
            let off = (count - flows * share) / (flows * share * (1.0 - share)).sqrt();
            println!("  {share}: {count} flows, {off:+.2} deviations off");
            ensure!(off.abs() <= 5.0, "{count} of {flows} for {share}");
        }
    }
    Ok(())
}

/// Flows that each split has opened.
fn counted(twin: &Twin, shares: &[u16]) -> Result<Vec<u64>> {
    (0_u32..)
        .zip(shares)
        .map(|(split, _)| Ok(twin.counts(split)?[Counter::Opened.index()]))
        .collect()
}

/// Opens flows from as many clients.
fn open_many(twin: &Twin, served: Served, round: u8, flows: u32) -> Result<()> {
    assert_eq!(served.kind, Kind { v6: false, protocol: TCP });
    for flow in 0..flows {
        let [_, high, host, low] = flow.to_be_bytes();
        let port = u16::from_be_bytes([0x80 | high, low]);
        let client = served.kind.at(100 + round, u16::from(host) << 8 | 7, port);
        let packet = Draft::new(client, served.frontend(Service::Split)).flags(SYN).build();
        let run = twin.in_kernel(Hook::FromPod, Way::USUAL, &packet)?;
        ensure!(run.verdict == u32::MAX, "verdict {} for flow {flow}", run.verdict);
    }
    Ok(())
}
