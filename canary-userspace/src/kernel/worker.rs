//! A thread beside the agent's loop that is asked for one thing at a time and says when it is done.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result};

/// The thread, from outside. It ends with the process.
#[derive(Debug)]
pub(super) struct Worker<A> {
    what: &'static str,
    ask: Sender<A>,
    done: Receiver<Result<()>>,
    waiting: bool,
}

impl<A: Send + 'static> Worker<A> {
    /// Starts a thread of this name, which is `what` in errors.
    ///
    /// # Errors
    ///
    /// If the system has no thread for it.
    pub(super) fn start(
        name: &str,
        what: &'static str,
        run: impl FnOnce(&Receiver<A>, &Sender<Result<()>>) + Send + 'static,
    ) -> Result<Self> {
        let (ask, asked) = channel();
        let (finish, done) = channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&asked, &finish))
            .with_context(|| format!("start the {what}"))?;
        Ok(Self { what, ask, done, waiting: false })
    }

    /// Tells the thread something that has no end to wait for.
    pub(super) fn tell(&self, what: A) {
        // The thread ends with the process only.
        _ = self.ask.send(what);
    }

    /// Asks for something, unless something is on; whether it began.
    pub(super) fn begin(&mut self, what: A) -> bool {
        if self.waiting {
            return false;
        }
        self.waiting = self.ask.send(what).is_ok();
        self.waiting
    }

    /// Whether what began is over by now; once.
    ///
    /// # Errors
    ///
    /// What the thread failed with.
    pub(super) fn is_over(&mut self) -> Result<bool> {
        if !self.waiting {
            return Ok(false);
        }
        match self.done.try_recv() {
            Ok(result) => {
                self.waiting = false;
                result.map(|()| true)
            }
            Err(_) => Ok(false),
        }
    }

    /// Waits for what began.
    ///
    /// # Errors
    ///
    /// What the thread failed with, or that it is gone.
    pub(super) fn wait(&mut self) -> Result<()> {
        if !self.waiting {
            return Ok(());
        }
        self.waiting = false;
        self.done.recv().with_context(|| format!("the {} is gone", self.what))?
    }
}
