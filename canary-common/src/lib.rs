//! Packet logic and table layouts, written once for the kernel and for the host.
//!
//! Everything that reads or changes a packet, or decides about one, is here, generic over a
//! [`packet::Packet`] and over [`tables::Tables`]. The BPF programs implement both over contexts
//! and maps, tests and tools over byte slices and plain memory.
#![cfg_attr(not(any(test, feature = "user")), no_std)]
#![deny(missing_docs)]
#![warn(clippy::wildcard_enum_match_arm)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod account;
pub mod addresses;
pub mod backend;
pub mod checksum;
mod decide;
pub mod directory;
pub mod draw;
pub mod endpoint;
pub mod event;
pub mod flows;
pub mod forward;
pub mod fragment;
pub mod headers;
pub mod hooks;
pub mod http;
pub mod icmp;
pub mod interface;
pub mod label;
pub mod layout;
pub mod limits;
#[cfg(any(test, feature = "user"))]
pub mod memory;
pub mod namespace;
pub mod node;
mod outcome;
pub mod packet;
#[cfg(any(test, feature = "user"))]
pub mod packets;
mod plain;
#[cfg(feature = "user")]
pub mod pod;
mod ports;
pub mod rare;
pub mod reason;
pub mod refuse;
pub mod relay;
pub mod resent;
pub mod restore;
pub mod route;
pub mod segment;
pub mod service;
pub mod settings;
pub mod socket;
pub mod start;
pub mod stats;
pub mod straight;
pub mod tables;
pub mod tunnel;
pub mod wire;
pub mod word;
#[cfg(test)]
mod world;
