//! What the programs must know of this machine and of the agent's network namespace.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_getres, clock_gettime};
use ring::rand::{SecureRandom, SystemRandom};

use crate::settings::SourcePorts;

/// Ticks of the kernel's clock in a second.
///
/// # Errors
///
/// If the system does not tell.
pub fn hertz() -> Result<u64> {
    // The coarse clock advances once a tick, and says so.
    let resolution =
        clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).context("read the clock's resolution")?;
    let ns = u64::try_from(resolution.tv_nsec())?.max(1);
    Ok(1_000_000_000 / ns)
}

/// What jiffies are multiplied with, and shifted right by 32, to get seconds.
#[must_use]
pub fn seconds_per_jiffy(hertz: u64) -> u64 {
    (1 << 32) / hertz.max(1)
}

/// Now, in the programs' seconds.
///
/// # Errors
///
/// If the system does not tell the time.
pub fn now(hertz: u64) -> Result<u32> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).context("read the clock")?;
    let seconds = u64::try_from(time.tv_sec())?;
    let ticks = seconds * hertz + u64::try_from(time.tv_nsec())? * hertz / 1_000_000_000;
    // INITIAL_JIFFIES of include/linux/jiffies.h: minus five minutes, as 32 bits.
    let jiffies = (1_u64 << 32) - 300 * hertz + ticks;
    let now = jiffies.wrapping_mul(seconds_per_jiffy(hertz)) >> 32;
    Ok(u32::try_from(now & u64::from(u32::MAX))?)
}

/// The cookie of the network namespace this thread is in.
///
/// # Errors
///
/// If the kernel does not tell (before Linux 5.14).
#[expect(unsafe_code, reason = "no library knows SO_NETNS_COOKIE yet")]
pub fn netns_cookie() -> Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("open a socket")?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>())?;
    // SAFETY: both pointers are to live variables, the length is that of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error()).context("read the network namespace's cookie");
    }
    Ok(cookie)
}

/// From include/uapi/asm-generic/socket.h (Linux 5.14).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Where the kernel describes its own types.
pub const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Whether the kernel's checksum helper knows `BPF_F_IPV6`.
#[must_use]
pub fn knows_ipv6_checksums() -> bool {
    // The flag is an enumerator, so its name stands in the string section of the kernel's BTF.
    let name = b"\0BPF_F_IPV6\0";
    fs::read(BTF).is_ok_and(|btf| btf.windows(name.len()).any(|text| text == name))
}

/// Whether the kernel has MPTCP.
#[must_use]
pub fn has_mptcp() -> bool {
    Path::new("/proc/sys/net/mptcp").exists()
}

/// Where cgroup v2 is mounted.
///
/// # Errors
///
/// If it is not.
pub fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    mounts
        .lines()
        .filter(|line| line.split(" - ").nth(1).is_some_and(|kind| kind.starts_with("cgroup2 ")))
        .find_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .context("cgroup v2 is not mounted: mount it, or start with --socket-lb off")
}

/// Bytes of this machine's memory.
///
/// # Errors
///
/// If the system does not tell.
pub fn memory() -> Result<u64> {
    let memory = fs::read_to_string("/proc/meminfo").context("read the memory's size")?;
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .context("the memory's size is not in /proc/meminfo")?;
    Ok(kib.saturating_mul(1024))
}

/// The ports that this node's own sockets get, in the network namespace of this thread.
///
/// # Errors
///
/// If the system does not tell.
pub fn local_ports() -> Result<SourcePorts> {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let mut ports = text.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => SourcePorts::new(first, last),
        _ => None,
    }
    .with_context(|| format!("{path} says \"{}\"", text.trim()))
}

/// Refuses source ports that sockets of this node may have too: two connections would share one.
///
/// # Errors
///
/// [`node::local_ports`](local_ports), and where both ranges share a port.
pub fn check_ports(ports: SourcePorts) -> Result<()> {
    let local = local_ports()?;
    ensure!(
        !ports.overlaps(local),
        "source ports {ports} overlap those of this node's own sockets, {local} \
         (net.ipv4.ip_local_port_range): choose others with --source-ports"
    );
    Ok(())
}

/// A number that nobody outside knows.
///
/// # Errors
///
/// If the system has none.
pub fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).ok().context("the system gives no random number")?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_ticks_at_a_rate_that_kernels_are_built_with() {
        assert!([100, 250, 300, 1000].contains(&hertz().unwrap()), "{:?}", hertz());
    }

    #[test]
    fn source_ports_that_sockets_get_too_are_refused_with_both_ranges() {
        let local = local_ports().unwrap();

        let error = check_ports(local).unwrap_err().to_string();

        let twice = error.matches(&local.to_string()).count();
        assert!(twice == 2 && error.contains("--source-ports"), "{error}");
    }

    #[test]
    fn namespaces_have_cookies() {
        assert_ne!(netns_cookie().unwrap(), 0);
    }
}
