//! What the agent inserts by running a program finds the place that the same insert finds here.

use anyhow::{Result, ensure};
use canary_common::{
    endpoint::{TCP, UDP},
    flows::{self, Head, Key, Kind as What, Limit, NO_PARTNER, Request, Stored, Values},
};
use canary_userspace::kernel::insert::{Insert as _, Wanted};

use crate::{twin::Twin, world::Kind};

/// An entry of client `host` that is to be.
fn request(host: u16, kind: What, state: u64, now: u32) -> Request {
    let protocol = if state & Head::UDP == 0 { TCP } else { UDP };
    let at = Kind { v6: false, protocol };
    let (client, server) = (at.at(200, host, 40_000), at.at(244, 1, 8080));
    let key = match kind {
        What::Forward | What::Foreign => Key::new(client, server),
        _ => Key::new(server, client),
    };
    let values = Values { partner: NO_PARTNER, ..Values::default() };
    Request { key, values, kind, state, limit: Limit::Free, spare: NO_PARTNER, now }
}

/// An entry of each rank that can be pushed out, in an order that is not theirs.
fn ranked(now: u32) -> [Request; 7] {
    let udp = Head::UDP | Head::ANSWERED;
    [
        request(1, What::Forward, udp | Head::OVER, now - 40),
        request(2, What::Forward, Head::ANSWERED, now - 600),
        request(3, What::Forward, Head::AGAIN, now - 5),
        request(4, What::Straight, 0, now - 5),
        request(5, What::Forward, udp, now - 5),
        request(6, What::Forward, Head::ANSWERED | Head::OVER, now - 20),
        request(7, What::Forward, 0, now - 5),
    ]
}

#[test]
fn the_agents_inserts_push_out_what_their_limit_says() -> Result<()> {
    let mut twin = Twin::new()?;
    let inserter = twin.inserter()?;
    for (expected, limit) in (0..).zip(Limit::ALL) {
        // One bucket, full.
        twin.set_buckets(1)?;
        let (now, by) = (twin.memory.now.get(), twin.memory.settings.flows());
        for request in ranked(now) {
            ensure!(matches!(twin.insert(&request)?, Stored::At(_)), "{request:?}");
        }

        let mut pushed_out = 0;
        for host in 100.. {
            let new = Request { limit, ..request(host, What::Foreign, Head::ANSWERED, now) };
            let Request { key, values, kind, state, .. } = new;
            let here = flows::insert(&twin.memory, &new, by);
            let there = inserter.insert(&Wanted { key, values, kind, state, limit, seen: now })?;
            ensure!(here == there, "{limit:?}: {there:?} in the kernel, {here:?} here");
            twin.compare_flows()?;
            if here == Stored::Full {
                break;
            }
            pushed_out += 1;
        }

        ensure!(pushed_out == expected, "{limit:?} pushed out {pushed_out}");
    }
    Ok(())
}
