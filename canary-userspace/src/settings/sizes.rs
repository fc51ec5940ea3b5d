//! Sizes of the tables, and idle limits of flows.

use canary_common::limits;
use serde::Deserialize;

/// Sizes of the tables; they take effect when the tables are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Services.
    pub services: u32,
    /// Virtual addresses.
    pub frontends: u32,
    /// Backends.
    pub backends: u32,
    /// Virtual addresses and backends together, as the directory is sized for; rounded up to a
    /// power of two.
    pub endpoints: u32,
    /// Maglev slots.
    pub slots: u32,
    /// Splits with counters.
    pub splits: u32,
    /// Splits with histograms.
    pub histograms: u32,
    /// Connections, whose entries fill the flow table to 70 %; from the machine's memory where
    /// absent.
    pub flows: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            services: limits::MAX_SERVICES,
            frontends: limits::MAX_FRONTENDS,
            backends: limits::MAX_BACKENDS,
            endpoints: limits::MAX_BUCKETS.saturating_mul(2),
            slots: limits::MAX_SLOTS,
            splits: limits::MAX_STATISTICS,
            histograms: limits::MAX_HISTOGRAMS,
            flows: None,
        }
    }
}

/// After how many quiet seconds a flow is over: whichever of its directions was quiet for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Idle {
    /// Before the backend has answered.
    pub opening: u32,
    /// An established TCP connection.
    pub established: u32,
    /// A TCP connection whose both ends have said so.
    #[serde(alias = "closing")]
    pub closed: u32,
    /// A TCP connection that an end has reset.
    pub reset: u32,
    /// UDP that was answered within its first two seconds, and nothing since.
    pub udp_exchange: u32,
    /// UDP that has lived for longer.
    #[serde(alias = "answered_udp")]
    pub udp_stream: u32,
}

impl Idle {
    /// By [`canary_common::settings::Idle`].
    #[must_use]
    pub const fn by_state(&self) -> [u32; 6] {
        let Self { opening, established, closed, reset, udp_exchange, udp_stream } = *self;
        [opening, established, closed, reset, udp_exchange, udp_stream]
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            opening: limits::OPENING_IDLE,
            established: limits::ESTABLISHED_IDLE,
            closed: limits::CLOSED_IDLE,
            reset: limits::RESET_IDLE,
            udp_exchange: limits::UDP_EXCHANGE_IDLE,
            udp_stream: limits::UDP_STREAM_IDLE,
        }
    }
}
