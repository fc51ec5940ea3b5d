//! Properties of interfaces: checksum offload, merging and MTU.

use std::{ffi::c_char, io, os::fd::AsRawFd, ptr};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::namespace::Namespace;

/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// `ETHTOOL_SGRO` of `linux/ethtool.h`.
const ETHTOOL_SGRO: u32 = 0x2c;

/// Which of an interface's checksums the "hardware" does; the numbers are `linux/ethtool.h`'s
/// commands that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Checksum {
    /// Checks of received packets, `ETHTOOL_SRXCSUM`.
    Receive = 0x15,
    /// Sums of sent packets, `ETHTOOL_STXCSUM`.
    Send = 0x17,
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns an interface's checksum offload on or off, as `ethtool -K` does.
///
/// # Errors
///
/// If there is no such interface or it cannot.
pub fn set_checksum_offload(
    namespace: &Namespace,
    interface: &str,
    which: Checksum,
    on: bool,
) -> Result<()> {
    let command = match which {
        Checksum::Receive => 0x15,
        Checksum::Send => 0x17,
    };
    namespace
        .enter(|| ethtool(interface, EthtoolValue { command, data: u32::from(on) }))?
        .with_context(|| format!("set {which:?} checksum offload of {interface} in {namespace}"))
}

/// Lets an interface merge frames of one flow that it receives, or not, as `ethtool -K gro` does.
///
/// # Errors
///
/// If there is no such interface or it cannot.
pub fn set_merging(namespace: &Namespace, interface: &str, on: bool) -> Result<()> {
    namespace
        .enter(|| ethtool(interface, EthtoolValue { command: ETHTOOL_SGRO, data: u32::from(on) }))?
        .with_context(|| format!("set merging of {interface} in {namespace}"))
}

/// Sets an interface's MTU.
///
/// # Errors
///
/// If there is no such interface or it cannot.
pub fn set_mtu(namespace: &Namespace, interface: &str, mtu: u32) -> Result<()> {
    namespace.ip(&[format!("link set {interface} mtu {mtu}")])
}

/// An interface's name as requests bear it, with a closing zero.
pub(super) fn interface_name(interface: &str) -> Result<[c_char; libc::IFNAMSIZ]> {
    let mut name = [0; libc::IFNAMSIZ];
    ensure!(interface.len() < name.len(), "the name is too long");
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    Ok(name)
}

fn ethtool(interface: &str, mut value: EthtoolValue) -> Result<()> {
    let mut request = libc::ifreq {
        ifr_name: interface_name(interface)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: ptr::from_mut(&mut value).cast() },
    };
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    #[expect(unsafe_code, reason = "no safe wrapper of this request is among the dependencies")]
    // SAFETY: `request` names an interface with a closing zero and points to `value`, which
    // has the layout these two commands read and outlives the call.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}
