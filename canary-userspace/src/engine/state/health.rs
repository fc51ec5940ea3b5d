//! Health of instances: what checks say of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::State;
use crate::catalog::{CheckState, Health, Instance, LoneCheck, Origin, Registered};
use crate::compile::Names;
use crate::health::Checks;

impl State {
    /// Puts a check's new state in the place of its old one; `true` if that changes the health of
    /// an instance.
    pub(crate) fn show(&mut self, service_id: &str, state: &Arc<CheckState>) -> bool {
        if !service_id.is_empty() {
            let found = self.instance_mut(service_id);
            return found.is_some_and(|registered| replace(registered, state));
        }
        let instances = Arc::make_mut(&mut self.snapshot.instances).iter_mut();
        instances.fold(false, |moved, registered| replace(Arc::make_mut(registered), state) | moved)
    }

    /// Asks `checks` for the health of every instance, or of those of the services `names`.
    pub(crate) fn refresh_health(&mut self, checks: &Checks, names: Option<&Names>) {
        let Self { snapshot, checks: lone, .. } = self;
        let state = |lone: &LoneCheck| checks.state(&lone.check, &lone.service_id);
        let mut of_node = Vec::new();
        let mut by_instance: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for lone in lone.values().map(|lone| &lone.value) {
            if lone.of_node() {
                of_node.push(state(lone));
            } else {
                by_instance.entry(&lone.service_id).or_default().push(state(lone));
            }
        }
        let mut states = Vec::new();
        let wanted = |found: &&mut Arc<Registered>| {
            // A followed source says itself how they are.
            !matches!(found.origin, Origin::Followed(_))
                && names.is_none_or(|names| names.contains(&found.instance.service))
        };
        for registered in Arc::make_mut(&mut snapshot.instances).iter_mut().filter(wanted) {
            let Instance { id, checks: own, .. } = &registered.instance;
            states.clear();
            states.extend(of_node.iter().cloned());
            states.extend(own.iter().map(|check| checks.state(check, id)));
            states.extend(by_instance.get(id.as_str()).into_iter().flatten().cloned());
            // What is there already stays where it is in memory.
            let same = registered.checks.len() == states.len()
                && registered.checks.iter().zip(&states).all(|(a, b)| Arc::ptr_eq(a, b));
            let health = Health::worst(&states);
            if same && registered.health == health {
                continue;
            }
            let registered = Arc::make_mut(registered);
            registered.checks = states.as_slice().into();
            registered.health = health;
        }
    }
}

/// Puts `state` in the place of the same check's old one; `true` if the health changed.
fn replace(registered: &mut Registered, state: &Arc<CheckState>) -> bool {
    let found = registered.checks.iter_mut().find(|check| check.id == state.id);
    let Some(check) = found else { return false };
    *check = Arc::clone(state);
    let health = Health::worst(&registered.checks);
    std::mem::replace(&mut registered.health, health) != health
}
