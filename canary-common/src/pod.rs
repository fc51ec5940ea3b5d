//! The types that cross the kernel boundary, as aya's plain old data.
#![expect(unsafe_code, reason = "each is repr(C) without padding, and any bytes are a value of it")]

use crate::service::Record;
use crate::socket::SocketPick;
use crate::stats::{Counts, Histograms};

// SAFETY: `assert_map_type!` has checked that there is no padding; all fields are integers.
unsafe impl aya::Pod for Counts {}
// SAFETY: as above.
unsafe impl aya::Pod for Histograms {}
// SAFETY: as above.
unsafe impl aya::Pod for Record {}
// SAFETY: as above.
unsafe impl aya::Pod for SocketPick {}
// SAFETY: as above.
unsafe impl aya::Pod for crate::namespace::Namespace {}
// SAFETY: as above.
unsafe impl aya::Pod for crate::namespace::Local {}
// SAFETY: as above.
unsafe impl aya::Pod for crate::directory::OverflowKey {}
