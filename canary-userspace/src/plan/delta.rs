//! What a plan is about, and what it lets go of.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use canary_common::backend::State;
use canary_common::endpoint::Endpoint;

use super::build::Builder;
use super::{NOWHERE, Write};
use crate::compile::{Desired, DesiredService, Names};

/// What is to be planned, each service with what was published of it.
pub(super) struct Delta<'d> {
    /// Services that come or change, by name.
    pub(super) put: Vec<(Option<&'d DesiredService>, &'d DesiredService)>,
    /// Services that go, by name.
    pub(super) gone: Vec<(&'d str, Option<&'d DesiredService>)>,
}

impl<'d> Delta<'d> {
    /// What differs of the services `names`.
    pub(super) fn of(names: &'d Names, before: &'d Desired, after: &'d Desired) -> Self {
        let mut delta = Self { put: Vec::new(), gone: Vec::new() };
        for name in names {
            match (before.service(name), after.service(name)) {
                (old, Some(new)) if old != Some(new) => delta.put.push((old, new)),
                (_, Some(_)) => {}
                (old, None) => delta.gone.push((name, old)),
            }
        }
        delta
    }
}

impl Builder<'_> {
    /// Lets go of what the services of `delta` had and have no more: new flows first, rows last.
    ///
    /// With `rest` also of what nobody had: tables of an earlier agent.
    pub(super) fn remove(&mut self, delta: &Delta<'_>, rest: bool) {
        for endpoint in self.left_frontends(delta, rest) {
            let Some(row) = self.tables.frontends.get_mut(&endpoint) else { continue };
            row.service = NOWHERE;
            self.writes.push(Write::FrontendService { id: row.id, service: NOWHERE });
        }
        for (name, _) in &delta.gone {
            let Some(row) = self.tables.services.remove(&(*name).to_owned()) else { continue };
            self.writes.push(Write::Current { service: row.id, record: 0 });
            self.writes.push(Write::ServiceLabel { service: row.id, name: String::new() });
            self.free(&row, None, &BTreeMap::new());
            self.tables.service_ids.free(row.id, ());
        }
        for endpoint in self.left_backends(delta, rest) {
            let Some(row) = self.tables.backends.get_mut(&endpoint) else { continue };
            row.state = State::Draining;
            self.writes.push(row.state());
        }
        for endpoint in mem::take(&mut self.unlisted) {
            self.tables.drop_frontend(&endpoint);
        }
    }

    /// Frontends that lead to a service that does not have them any more.
    fn left_frontends(&self, delta: &Delta<'_>, rest: bool) -> BTreeSet<Endpoint> {
        let frontends = &self.tables.frontends;
        if rest {
            let claimed: BTreeSet<&Endpoint> =
                delta.put.iter().flat_map(|(_, service)| &service.frontends).collect();
            let all = frontends.all().iter();
            let left = all.filter(|(at, row)| row.service != NOWHERE && !claimed.contains(at));
            return left.map(|(at, _)| *at).collect();
        }
        let nothing = DesiredService::default();
        let changed = delta.put.iter().filter_map(|(old, new)| Some(((*old)?, *new)));
        let gone = delta.gone.iter().filter_map(|(_, old)| Some(((*old)?, &nothing)));
        let mut left = BTreeSet::new();
        for (old, new) in changed.chain(gone) {
            let id = self.tables.services.get(&old.name).map(|row| row.id);
            // Those that another service has taken over lead there by now.
            let own = |at: &&Endpoint| frontends.get(at).map(|row| row.service) == id;
            left.extend(old.frontends.iter().filter(|at| !new.frontends.contains(at)).filter(own));
        }
        left
    }

    /// Backends that no service names any more.
    fn left_backends(&mut self, delta: &Delta<'_>, rest: bool) -> BTreeSet<Endpoint> {
        let changed = delta.put.iter().filter_map(|(old, new)| Some(((*old)?, new.endpoints())));
        let gone = delta.gone.iter().filter_map(|(_, old)| Some(((*old)?, BTreeSet::new())));
        let mut left = BTreeSet::new();
        // One that nothing leads to has none of its own: another one has them.
        let has_own = |(old, _): &(&DesiredService, _)| old.is_served();
        for (old, kept) in changed.chain(gone).filter(has_own) {
            for endpoint in old.endpoints().difference(&kept) {
                let Some(row) = self.tables.backends.get_mut(endpoint) else { continue };
                row.users = row.users.saturating_sub(1);
                left.insert(*endpoint);
            }
        }
        if rest {
            left.extend(self.tables.backends.all().keys());
        }
        let row = |at: &Endpoint| self.tables.backends.get(at).copied();
        left.retain(|at| row(at).is_some_and(|row| row.state != State::Draining && row.users == 0));
        left
    }
}
