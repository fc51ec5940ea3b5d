//! What is kept of sockets, most of it in memory of the socket itself, and of whom they are.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use canary_common::namespace::Namespace;
use canary_common::socket::{Datagrams, Pick, SocketPick};

use super::{BROUGHT, DATAGRAMS, EXCEPTED, NAMESPACES, PEERS, PICKS};
use crate::never;

/// Memory of a socket of one kind: made if `create`, and `None` if there is none.
#[expect(unsafe_code, reason = "calls a helper, and reads what it gives")]
#[inline(always)]
fn of_socket<'a, V, T>(map: &SkStorage<V>, socket: *mut c_void, create: bool) -> Option<&'a T> {
    const { assert!(size_of::<V>() == size_of::<T>(), "the memory is of another size") };
    let map = core::ptr::from_ref(map).cast_mut().cast();
    let flags = if create { BPF_SK_STORAGE_GET_F_CREATE.into() } else { 0 };
    // SAFETY: the socket is the context's own, or one that the kernel vouches for. A new value is
    // all zeroes.
    let value = unsafe { bpf_sk_storage_get(map, socket, core::ptr::null_mut(), flags) };
    if create && value.is_null() {
        // Its program sees the backend's address.
        never::say(never::NO_PICK_KEPT);
    }
    // SAFETY: the kernel frees it after the run at the earliest. All its fields are words.
    unsafe { value.cast::<T>().as_ref() }
}

/// The pick of a connected socket.
#[inline(always)]
pub(crate) fn pick<'a>(socket: *mut c_void, create: bool) -> Option<&'a Pick> {
    of_socket(&PICKS, socket, create)
}

/// The picks of a socket's datagrams.
#[inline(always)]
pub(crate) fn datagrams<'a>(socket: *mut c_void, create: bool) -> Option<&'a Datagrams> {
    of_socket(&DATAGRAMS, socket, create)
}

/// Notes the backend of a connected socket of datagrams, or that it has none.
#[inline(always)]
pub(crate) fn note_peer(cookie: u64, backend: Option<u32>) {
    let _: Result<(), i32> = match backend {
        Some(backend) => PEERS.insert(cookie, backend, 0),
        None => PEERS.remove(cookie),
    };
}

/// The pick of a socket that is older than the tables.
#[expect(unsafe_code, reason = "reads map memory")]
#[inline(always)]
pub(crate) fn brought(cookie: u64) -> Option<SocketPick> {
    // SAFETY: nothing removes or changes an entry but the agent of another layout.
    unsafe { BROUGHT.get(cookie) }.copied()
}

/// The pod whose network namespace has this cookie, if its sockets are served.
#[expect(unsafe_code, reason = "reads map memory")]
#[inline(always)]
pub(crate) fn namespace<'a>(cookie: u64) -> Option<&'a Namespace> {
    // SAFETY: the kernel frees an entry after the run at the earliest, and one that changes is
    // another one.
    NAMESPACES.get_ptr(cookie).map(|namespace| unsafe { &*namespace })
}

/// Whether sockets of a cgroup are left out.
#[inline(always)]
pub(crate) fn is_excepted(cgroup: u64) -> bool {
    EXCEPTED.get_ptr(cgroup).is_some()
}
