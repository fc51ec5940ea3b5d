//! `tcp` checks: can a connection be opened?

use super::names::Names;
use super::prober::Found;
use super::trust::Trust;
use crate::catalog::{Health, Tls};

/// Opens a connection to `target` and closes it.
pub(super) async fn probe(target: &str, tls: Tls, trust: &Trust, names: &Names) -> Found {
    let opened = async {
        let stream = names.connect(target).await?;
        if tls != Tls::Off {
            trust.handshake(target, stream, tls == Tls::Unverified, &[]).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    match opened.await {
        Ok(()) => (Health::Passing, format!("TCP connect {target}: Success")),
        Err(error) => (Health::Critical, format!("dial tcp {target}: {error}")),
    }
}
