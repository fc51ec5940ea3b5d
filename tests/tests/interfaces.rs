//! The watcher against real interfaces that come, change and go.

use std::{
    io::Write,
    net::IpAddr,
    panic,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use canary_userspace::kernel::interfaces::{Change, Choice, Link, Role, Watcher};
use nix::sched::{CloneFlags, unshare};

/// How soon an interface must be known.
const BAR: Duration = Duration::from_millis(100);

/// Runs `work` in a network namespace of its own, which ends with it.
fn in_namespace(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).context("make a namespace: is this root?")?;
        ip("link set lo up")?;
        work()
    });
    thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// `ip` in the namespace of the calling thread.
fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status().context("run ip")?;
    ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}

/// Many of them at once.
fn ip_batch(lines: &str) -> Result<()> {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    ip.stdin.take().context("ip takes input")?.write_all(lines.as_bytes())?;
    let status = ip.wait()?;
    ensure!(status.success(), "ip -batch: {status}");
    Ok(())
}

fn watcher(uplinks: &[&str]) -> Result<Watcher> {
    let uplinks: Vec<_> = uplinks.iter().map(|&glob| glob.to_owned()).collect();
    Watcher::new(Choice::new(&["veth*".to_owned()], &uplinks)?)
}

/// Waits until what the watcher reports satisfies `wanted`.
fn until(watcher: &mut Watcher, wanted: impl Fn(&Change) -> bool) -> Result<Duration> {
    let started = Instant::now();
    let deadline = Duration::from_secs(5);
    let mut seen = Vec::new();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        ensure!(!left.is_zero(), "not reported within {deadline:?}, but: {seen:#?}");
        seen.extend(watcher.wait(left)?);
        if seen.iter().any(&wanted) {
            return Ok(started.elapsed());
        }
    }
}

fn link<'a>(watcher: &'a Watcher, name: &str) -> Option<&'a Link> {
    watcher.links().find(|link| link.name == name)
}

#[test]
fn an_interface_is_known_in_time_and_forgotten_when_it_goes() -> Result<()> {
    in_namespace(|| {
        let mut watcher = watcher(&["up*"])?;
        ensure!(watcher.links().next().is_none(), "the loopback is none of ours");

        ip("link add veth1 type veth peer name peer1")?;
        let took = until(&mut watcher, |change| matches!(change, Change::Added(_)))?;
        ensure!(took < BAR, "known after {took:?}");

        let veth = link(&watcher, "veth1").context("veth1 is not listed")?;
        assert_eq!((veth.role, veth.kind.as_str(), veth.l2_len), (Role::Pod, "veth", 14));
        assert!(!veth.has_real_driver && !veth.up && veth.mac.is_some());
        assert_eq!(link(&watcher, "peer1").map(|link| link.role), Some(Role::Other));

        ip("link set veth1 up")?;
        until(&mut watcher, |change| matches!(change, Change::Changed { after, .. } if after.up))?;

        ip("link set peer1 name up1")?;
        until(&mut watcher, |change| {
            matches!(change, Change::Changed { before, after }
                if before.role == Role::Other && after.role == Role::Uplink)
        })?;

        ip("link del veth1")?;
        until(
            &mut watcher,
            |change| matches!(change, Change::Removed(link) if link.name == "veth1"),
        )?;
        while watcher.links().next().is_some() {
            until(&mut watcher, |change| matches!(change, Change::Removed(_)))?;
        }
        Ok(())
    })
}

#[test]
fn the_default_route_makes_the_uplink() -> Result<()> {
    in_namespace(|| {
        let mut watcher = watcher(&[])?;
        ip("link add wan1 type veth peer name far1")?;
        ip("link set far1 up")?;
        ip("link set wan1 up")?;
        ip("address add 192.0.2.1/24 dev wan1")?;
        ip("route add default via 192.0.2.254")?;
        until(&mut watcher, |_| true)?;
        while link(&watcher, "wan1").is_none_or(|link| link.role != Role::Uplink) {
            until(&mut watcher, |_| true)?;
        }

        let uplink = link(&watcher, "wan1").map(|link| link.index);
        assert_eq!(by(&mut watcher, "198.51.100.1".parse()?)?, uplink);
        assert_eq!(by(&mut watcher, "192.0.2.1".parse()?)?, Some(1));
        assert_eq!(by(&mut watcher, "2001:db8::1".parse()?)?, None);

        // IPv4 routes go with their interface and are not told of.
        ip("link set wan1 down")?;
        until(
            &mut watcher,
            |change| matches!(change, Change::Changed { after, .. } if after.role == Role::Other),
        )?;
        assert_eq!(by(&mut watcher, "198.51.100.1".parse()?)?, None);

        ip("link set wan1 up")?;
        ip("-6 address add 2001:db8:1::1/64 dev wan1 nodad")?;
        ip("-6 route add default via 2001:db8:1::2")?;
        until(
            &mut watcher,
            |change| matches!(change, Change::Changed { after, .. } if after.role == Role::Uplink),
        )?;
        assert_eq!(by(&mut watcher, "2001:db8:2::1".parse()?)?, uplink);
        Ok(())
    })
}

#[test]
fn lost_news_does_no_harm() -> Result<()> {
    in_namespace(|| {
        let mut watcher = watcher(&["up*"])?;
        let pairs = 300;
        let make = |pair| format!("link add veth{pair} type veth peer name peer{pair}\n");
        let unmake = |pair| format!("link del veth{pair}\n");
        ip_batch(&(0..pairs).map(make).chain((0..pairs / 2).map(unmake)).collect::<String>())?;

        let started = Instant::now();
        watcher.poll()?;
        let took = started.elapsed();

        println!("{pairs} pairs made, half of them gone: read in {took:?}");
        assert_eq!(watcher.links().count(), pairs);
        assert_eq!(watcher.poll()?, []);
        Ok(())
    })
}

/// Index of the interface by which an address is reached.
fn by(watcher: &mut Watcher, address: IpAddr) -> Result<Option<u32>> {
    Ok(watcher.way(address)?.map(|way| way.interface))
}
