//! Clients behind a router, whose connections come to one node and go to backends of others.
#![expect(
    clippy::indexing_slicing,
    reason = "all of it is test code, and the exemption of the lints covers only test functions"
)]

mod direct;
mod errors;
mod moves;
mod net;
mod policy;
mod serves;
