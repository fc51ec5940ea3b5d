//! TCP (RFC 9293).

/// Offset of the checksum.
pub const CHECKSUM_AT: usize = 16;
/// Offset of the sequence number.
pub const SEQUENCE_AT: usize = 4;
/// Offset of the header's length, which the flags follow.
pub const OFFSET_AT: usize = 12;
/// Length of the part that is read: up to the flags.
pub const HEAD_LEN: usize = 14;
/// Shortest header.
pub const MIN_LEN: usize = 20;

/// Flag: no more data from the sender.
pub const FIN: u8 = 0x01;
/// Flag: a connection begins.
pub const SYN: u8 = 0x02;
/// Flag: a connection is given up.
pub const RST: u8 = 0x04;
/// Flag: the sender's write ends here.
pub const PSH: u8 = 0x08;
/// Flag: the acknowledgement number counts.
pub const ACK: u8 = 0x10;
