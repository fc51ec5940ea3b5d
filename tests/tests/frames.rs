//! Big frames and bulks of data.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    thread,
};

use anyhow::{Context, Result};
use canary_tests::{
    lab::{Lab, Namespace, link::set_mtu},
    scenario::{HOLD, Scenario, Subset, TIMEOUT},
    workload::client::greet,
};

#[test]
fn jumbo_frames_and_bulks_arrive_whole_both_ways() -> Result<()> {
    Lab::run("jumbo", |lab| {
        let outside = lab.outside("outside")?;
        let scenario = Scenario::start(lab, &[Subset { name: "blue", pods: 1 }])?;
        let blue = &scenario.backend("blue-1")?.pod;
        let client = &scenario.client;

        for mtu in [9000, 6014, 1500] {
            for (namespace, interface) in [
                (lab.node(), client.interface.as_str()),
                (&client.namespace, "eth0"),
                (lab.node(), &blue.interface),
                (&blue.namespace, "eth0"),
                (lab.node(), "eth0"),
                (&outside.namespace, "eth0"),
            ] {
                set_mtu(namespace, interface, mtu)?;
            }
            for from in [&client.namespace, &outside.namespace] {
                there_and_back(from, HOLD.frontend(), 16 << 20)
                    .with_context(|| format!("from {from}, MTU {mtu}"))?;
            }
        }
        Ok(())
    })
}

/// Sends `length` bytes and receives them meanwhile.
fn there_and_back(from: &Namespace, target: SocketAddr, length: usize) -> Result<()> {
    // A period that divides no power of two, so that pieces out of place show.
    let sent: Vec<u8> = (0..=250).cycle().take(length).collect();
    let (stream, _) = from.enter(|| greet(target, TIMEOUT))??;
    let received = thread::scope(|scope| -> Result<Vec<u8>> {
        let writer = scope.spawn(|| -> std::io::Result<()> {
            (&stream).write_all(&sent)?;
            stream.shutdown(Shutdown::Write)
        });
        let mut received = Vec::with_capacity(length);
        (&stream).read_to_end(&mut received)?;
        writer.join().ok().context("the sender panicked")??;
        Ok(received)
    })?;
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "other bytes than were sent");
    Ok(())
}
