//! The end of what goes on until somebody has seen enough.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};

/// Returns on Ctrl-C, or when the process is asked to end.
pub(super) async fn ended() {
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => _ = signal.recv().await,
        Err(_) => pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}
