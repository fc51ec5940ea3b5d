//! Memory that was freed goes back to the kernel.

/// Returns what the C library keeps of freed memory, page by page.
///
/// At a start the kernel's description of its types is read, and a reload holds two sets of
/// definitions for a moment: tens of MiB that would stay with an agent which lives for months and
/// reloads seldom. Takes a few milliseconds. Other C libraries return memory by themselves.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "no library offers malloc_trim"))]
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, and locks whatever it walks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
