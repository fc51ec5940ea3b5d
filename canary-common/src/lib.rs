//! Packet logic and table layouts, written once for the kernel and for the host.
#![no_std]
#![deny(missing_docs)]
#![warn(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod endpoint;
