//! Loads that signals interrupt.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use nix::sys::{
    pthread::{pthread_kill, pthread_self},
    signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};

use crate::twin::Twin;

/// Signals to the thread that loads: the verifier takes some milliseconds and gives up at each.
const SIGNALS: usize = 20;
const PAUSE: Duration = Duration::from_micros(300);

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: i32) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_load_that_signals_interrupt_is_done_again() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::SA_RESTART, SigSet::empty());
    #[expect(unsafe_code, reason = "the handler does nothing but count")]
    // SAFETY: The handler adds to an atomic number, which is safe at any moment.
    unsafe { sigaction(Signal::SIGUSR1, &action) }?;
    let mut twin = Twin::new()?;
    let loading = pthread_self();

    let loaded = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..SIGNALS {
                pthread_kill(loading, Signal::SIGUSR1).expect("the thread waits for this one");
                thread::sleep(PAUSE);
            }
        });
        twin.inserter()
    });

    loaded?;
    ensure!(HANDLED.load(Ordering::Relaxed) > 0, "no signal arrived");
    Ok(())
}
