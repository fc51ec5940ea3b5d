//! Cgroups whose sockets are left out.

use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use canary_common::limits;

use crate::maps;

/// Whether the program that calls runs in a cgroup that is left out, or below one: 1 if so.
///
/// Global, so that it is verified once.
#[expect(unsafe_code, reason = "calls a helper, and is verified by itself")]
// Nothing else defines this symbol.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn is_excepted(levels: i32) -> u32 {
    for level in 1..=levels.min(limits::MAX_CGROUP_LEVELS) {
        // SAFETY: the helper has no conditions.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if cgroup == 0 {
            return 0;
        }
        if maps::is_excepted(cgroup) {
            return 1;
        }
    }
    0
}
