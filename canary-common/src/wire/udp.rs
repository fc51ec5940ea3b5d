//! UDP (RFC 768).

/// Offset of the checksum.
pub const CHECKSUM_AT: usize = 6;
/// Length of the header.
pub const LEN: usize = 8;
