//! The wire at an interface: frames made by hand go out as they are, and all that come are seen.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, socket},
};

use super::namespace::Namespace;

/// The longest frame.
const MAX_FRAME: usize = 65_535;

/// A packet socket bound to an interface.
#[derive(Debug)]
pub struct Wire {
    file: File,
}

impl Wire {
    /// Taps the wire at an interface of `namespace`.
    ///
    /// # Errors
    ///
    /// If there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = namespace
            .enter(|| open(interface))?
            .with_context(|| format!("open the wire at {interface} in {namespace}"))?;
        Ok(Self { file: File::from(socket) })
    }

    /// Sends a frame, its Ethernet header included.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = (&self.file).write(frame).context("send a frame")?;
        ensure!(sent == frame.len(), "sent {sent} bytes of {}", frame.len());
        Ok(())
    }

    /// All frames that came, up to and with the first that `last` knows.
    ///
    /// # Errors
    ///
    /// If that one does not come within `timeout`.
    pub fn receive(&self, timeout: Duration, last: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>> {
        let deadline = Instant::now().checked_add(timeout).context("no such time")?;
        let mut frames = Vec::new();
        let mut frame = vec![0; MAX_FRAME];
        loop {
            match (&self.file).read(&mut frame) {
                Ok(length) => {
                    let seen = frame.get(..length).context("longer than it can be")?;
                    frames.push(seen.to_vec());
                    if last(seen) {
                        return Ok(frames);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(deadline)?,
                Err(error) => return Err(error).context("read from the wire"),
            }
        }
    }

    fn wait(&self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut files = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut files, PollTimeout::try_from(left)?).context("wait for the wire")? == 0 {
            bail!("no such frame came in time");
        }
        Ok(())
    }
}

/// The hardware address of an interface.
///
/// # Errors
///
/// If there is no such interface.
pub fn hardware(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let address = namespace.enter(|| link_address(interface))??;
    address.addr().with_context(|| format!("{interface} in {namespace} has no hardware address"))
}

/// The name of an interface's link layer, by which packet sockets are bound.
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or_else(|| ErrorKind::NotFound.into())
}

fn open(interface: &str) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    bind(socket.as_raw_fd(), &link_address(interface)?)?;
    Ok(socket)
}
