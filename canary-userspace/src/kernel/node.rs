//! What the programs must know of this machine and of the agent's network namespace.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getres, clock_gettime};

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

/// Flows a family where no setting says otherwise: 0.25 % of memory, within 16k and 512k.
///
/// # Errors
///
/// If the system does not tell how much memory there is.
pub fn default_flows() -> Result<u32> {
    let memory = fs::read_to_string("/proc/meminfo").context("read the memory's size")?;
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .context("the memory's size is not in /proc/meminfo")?;
    // An entry of the IPv4 table takes about 100 bytes.
    let flows = (kib * 1024 / 400 / 100).clamp(16_384, 524_288);
    Ok(u32::try_from(flows)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_ticks_at_a_rate_that_kernels_are_built_with() {
        assert!([100, 250, 300, 1000].contains(&hertz().unwrap()), "{:?}", hertz());
    }

    #[test]
    fn namespaces_have_cookies() {
        assert_ne!(netns_cookie().unwrap(), 0);
    }
}
