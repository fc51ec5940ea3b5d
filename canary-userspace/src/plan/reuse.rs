//! When what was let go of may be written again.

use std::collections::BTreeSet;

use canary_common::addresses::{BACKEND, FRONTEND};

use super::{Published, Write};

impl Published {
    /// Whether something that was freed waits for a grace period.
    #[must_use]
    pub fn waits_for_grace(&self) -> bool {
        let tables = &self.tables;
        tables.service_ids.waits()
            || tables.records.waits()
            || tables.frontend_ids.waits()
            || tables.backend_ids.waits()
            || tables.slots.waits()
            || tables.places.waits()
    }

    /// A grace period begins: what was freed before, and only that, has had it when it ends.
    ///
    /// The life of a row of `FRONTENDS` or `BACKENDS` that is let go of, and who calls what:
    ///
    /// 1. [`Self::forget_backend`] or [`Self::forget_frontend`], or a plan; the stores are done.
    /// 2. `begin_grace`, a grace period, [`Self::end_grace`]: no run is left that could still
    ///    store a flow to it. From here on [`Self::needs_pass`].
    /// 3. [`Self::begin_pass`], then, from its beginning, a look at every entry of `FLOWS`, which
    ///    frees each that names a row of [`Self::rows_to_end`], then [`Self::end_pass`].
    /// 4. `begin_grace`, a grace period, [`Self::end_grace`]: no run is left that had read such a
    ///    flow. The row is free, and the stores that `end_grace` returns clear the bits of
    ///    `ADDRESSES` that nothing needs any more; they are done before those of any later plan.
    ///
    /// Everything else that is freed is free after step 2. Grace periods and passes may overlap:
    /// one counts only for what came before it began. Neither may overlap with its own kind.
    pub fn begin_grace(&mut self) {
        let tables = &mut self.tables;
        tables.service_ids.seal();
        tables.records.seal();
        tables.frontend_ids.seal();
        tables.backend_ids.seal();
        tables.slots.seal();
        tables.places.seal();
    }

    /// The grace period that began is over; nothing happens if none has begun.
    #[must_use = "bits that stay set make packets slower"]
    pub fn end_grace(&mut self) -> Vec<Write> {
        let tables = &mut self.tables;
        tables.service_ids.graced();
        tables.records.graced();
        tables.slots.graced();
        tables.places.graced();
        let mut writes = Vec::new();
        for address in tables.frontend_ids.graced() {
            tables.bits.release(address, FRONTEND, &mut writes);
        }
        for address in tables.backend_ids.graced() {
            tables.bits.release(address, BACKEND, &mut writes);
        }
        writes
    }

    /// Whether rows wait for a pass over `FLOWS` to begin, or for one that runs to end.
    #[must_use]
    pub fn needs_pass(&self) -> bool {
        self.tables.frontend_ids.needs_pass() || self.tables.backend_ids.needs_pass()
    }

    /// Whether rows wait for a pass over `FLOWS`, also those that wait for grace before it.
    #[must_use]
    pub fn waits_for_pass(&self) -> bool {
        self.tables.frontend_ids.waits_for_pass() || self.tables.backend_ids.waits_for_pass()
    }

    /// A pass over `FLOWS` begins: it counts for the rows of [`Self::rows_to_end`] as they are now.
    pub fn begin_pass(&mut self) {
        self.tables.frontend_ids.begin_pass();
        self.tables.backend_ids.begin_pass();
    }

    /// The pass that began is over; nothing happens if none has begun.
    ///
    /// `whole`: it came to the end of `FLOWS`, and no entry that names a row of
    /// [`Self::rows_to_end`], as of when it began, is left. Otherwise another one must begin.
    pub fn end_pass(&mut self, whole: bool) {
        self.tables.frontend_ids.end_pass(whole);
        self.tables.backend_ids.end_pass(whole);
    }

    /// Rows of `BACKENDS`, then of `FRONTENDS`, whose flows a pass that begins now must free: they
    /// are let go of, and grace has been since. During a pass there may come some more, which it
    /// may free too, but does not count for.
    #[must_use]
    pub fn rows_to_end(&self) -> (BTreeSet<u32>, BTreeSet<u32>) {
        (self.tables.backend_ids.to_end(), self.tables.frontend_ids.to_end())
    }

    /// In a picture that is only asked what would be, a grace period is over at once.
    pub(super) fn pass_grace(&mut self) {
        // One that is on may have begun before something was freed: take another.
        drop(self.end_grace());
        self.begin_grace();
        drop(self.end_grace());
    }
}
