//! The seed of the hash that draws.

use std::hash::Hasher;

/// The hash seed of a cluster: the same for the same name on every node and version.
pub(super) fn of(cluster: &str) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hasher.write(cluster.as_bytes());
    hasher.finish()
}

/// FNV-1a: std promises nothing about its own hashers from one version to the next.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_of_a_cluster_never_changes() {
        assert_eq!(of(""), 0xcbf2_9ce4_8422_2325);
        // The published test vector of FNV-1a for this text.
        assert_eq!(of("foobar"), 0x8594_4171_f739_67e8);
    }
}
