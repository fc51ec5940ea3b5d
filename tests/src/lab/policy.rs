//! Somebody else's BPF programs: a network policy's, which drops what bears an address, and a
//! driver's that takes everything.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};

use super::namespace::Namespace;

/// Commands of `bpf(2)` and types, of `linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_F_BEFORE: u32 = 1 << 3;
const BPF_F_AFTER: u32 = 1 << 4;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Where a program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// What comes into the interface.
    Ingress,
    /// What leaves by it.
    Egress,
}

/// Where among the programs that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Before all of them.
    First,
    /// Behind all of them.
    Last,
}

/// Which address of a frame a program looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// The IPv4 source.
    Source,
    /// The IPv4 destination.
    Destination,
}

/// A program at an interface; detached when dropped.
#[derive(Debug)]
pub struct Policy {
    _link: OwnedFd,
}

/// The first part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

/// The first part of `union bpf_attr` that `BPF_LINK_CREATE` reads.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    padding: u32,
    expected_revision: u64,
}

impl Policy {
    /// Drops, at an interface of `namespace`, all IPv4 that bears `address`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the program or the attachment.
    pub fn attach(
        namespace: &Namespace,
        interface: &str,
        (hook, order): (Hook, Order),
        (looks, address): (Looks, Ipv4Addr),
    ) -> Result<Self> {
        let program = drops(looks, address).context("load a policy's program")?;
        let hook = match hook {
            Hook::Ingress => BPF_TCX_INGRESS,
            Hook::Egress => BPF_TCX_EGRESS,
        };
        let flags = match order {
            Order::First => BPF_F_BEFORE,
            Order::Last => BPF_F_AFTER,
        };
        Self::link(namespace, interface, &program, hook, flags)
    }

    /// Drops, before all others, what comes into an interface with more than its Ethernet header
    /// in front.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the program or the attachment.
    pub fn scattered_only(namespace: &Namespace, interface: &str) -> Result<Self> {
        let program = load(
            BPF_PROG_TYPE_SCHED_CLS,
            &[
                instruction(0x61, 0x12, 76, number(0)), // r2 = data
                instruction(0x61, 0x13, 80, number(0)), // r3 = data_end
                instruction(0x07, 0x02, 0, number(14)), // r2 += 14
                instruction(0xb4, 0x00, 0, number(2)),  // w0 = TC_ACT_SHOT
                instruction(0x2d, 0x23, 1, number(0)),  // if r3 > r2 skip 1
                instruction(0xb4, 0x00, 0, number(-1)), // w0 = TCX_NEXT
                instruction(0x95, 0x00, 0, number(0)),  // exit
            ],
        )
        .context("load a program that looks for scattered frames")?;
        Self::link(namespace, interface, &program, BPF_TCX_INGRESS, BPF_F_BEFORE)
    }

    /// Receives what the driver of a veth's other end sends back, which it does only to XDP.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the program or the attachment.
    pub fn receive_all(namespace: &Namespace, interface: &str) -> Result<Self> {
        let pass = [
            instruction(0xb4, 0x00, 0, number(2)), // w0 = XDP_PASS
            instruction(0x95, 0x00, 0, number(0)), // exit
        ];
        let program = load(BPF_PROG_TYPE_XDP, &pass).context("load a program that passes")?;
        Self::link(namespace, interface, &program, BPF_XDP, XDP_FLAGS_DRV_MODE)
    }

    fn link(
        namespace: &Namespace,
        interface: &str,
        program: &OwnedFd,
        attach_type: u32,
        flags: u32,
    ) -> Result<Self> {
        let link = namespace
            .enter(|| link(program, interface, attach_type, flags))?
            .with_context(|| format!("attach a program to {interface}"))?;
        Ok(Self { _link: link })
    }
}

type Instruction = [u8; 8];

const fn instruction(code: u8, registers: u8, jump: i16, value: [u8; 4]) -> Instruction {
    let [a, b] = jump.to_ne_bytes();
    let [c, d, e, f] = value;
    [code, registers, a, b, c, d, e, f]
}

const fn number(number: i32) -> [u8; 4] {
    number.to_ne_bytes()
}

/// Loads a program that drops what bears an address and leaves the rest to the next one.
fn drops(looks: Looks, address: Ipv4Addr) -> io::Result<OwnedFd> {
    let at = match looks {
        Looks::Source => 26,
        Looks::Destination => 30,
    };
    let address = u32::from(address).to_ne_bytes();
    load(
        BPF_PROG_TYPE_SCHED_CLS,
        &[
            instruction(0xbf, 0x16, 0, number(0)),  // r6 = r1
            instruction(0x20, 0x00, 0, number(at)), // r0 = the word at `at`, host order
            instruction(0x16, 0x00, 2, address),    // if w0 == address skip 2
            instruction(0xb4, 0x00, 0, number(-1)), // w0 = TCX_NEXT
            instruction(0x95, 0x00, 0, number(0)),  // exit
            instruction(0xb4, 0x00, 0, number(2)),  // w0 = TC_ACT_SHOT
            instruction(0x95, 0x00, 0, number(0)),  // exit
        ],
    )
}

fn load(prog_type: u32, program: &[Instruction]) -> io::Result<OwnedFd> {
    let request = ProgLoad {
        prog_type,
        insn_cnt: u32::try_from(program.len()).map_err(io::Error::other)?,
        insns: address_of(program)?,
        license: address_of(c"GPL".to_bytes_with_nul())?,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
    };
    bpf(BPF_PROG_LOAD, &request)
}

fn link(program: &OwnedFd, interface: &str, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let request = LinkCreate {
        prog_fd: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        target_ifindex: nix::net::if_::if_nametoindex(interface)?,
        attach_type,
        flags,
        relative_fd: 0,
        padding: 0,
        expected_revision: 0,
    };
    bpf(BPF_LINK_CREATE, &request)
}

fn address_of<T>(values: &[T]) -> io::Result<u64> {
    u64::try_from(values.as_ptr().addr()).map_err(io::Error::other)
}

/// Makes a request that gives a file descriptor.
fn bpf<T>(command: libc::c_long, request: &T) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "no library loads bare instructions")]
    // SAFETY: `request` is the start of the command's attribute, as long as it says, and what
    // it points to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of::<T>())
    };
    let Ok(fd) = i32::try_from(result) else { return Err(io::Error::other("no descriptor")) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "takes what the kernel gave")]
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
