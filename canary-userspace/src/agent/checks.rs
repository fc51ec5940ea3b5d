//! Health of instances: what checks say, put together and published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::Agent;
use super::state::State;
use crate::catalog::{
    CheckState, Health, Instance, LoneCheck, NODE_MAINTENANCE, Origin, Registered,
    SERVICE_MAINTENANCE, parse_check, to_check_definition,
};
use crate::compile::Names;
use crate::health::{Change, Noted, Remembered};
use crate::store::Write;

/// Time between two writes of check states: each waits for the disk, and a lost one costs a probe.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// States of checks on their way to the store.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    states: BTreeMap<String, Option<Remembered>>,
    saved: Option<Instant>,
}

impl Agent {
    /// Takes note of what checks found, and publishes if that changes somebody's health.
    pub(crate) fn note_health(&mut self, changes: Vec<Change>) {
        let noted: Vec<_> =
            changes.into_iter().filter_map(|change| self.checks.record(change)).collect();
        self.note(noted);
    }

    /// Brings what checks say into the snapshot, and publishes if that changes somebody's health.
    pub(super) fn note(&mut self, noted: Vec<Noted>) {
        // Services, `None` for all: a check of the node is one of every instance.
        let (mut seen, mut moved) = (Some(Names::new()), Some(Names::new()));
        for Noted { service_id, state, before, remembered } in noted {
            if state.status != before {
                let (check, status) = (&*state.id, state.status.as_str());
                tracing::info!(check, status, output = &*state.output, "check changed");
            }
            self.unsaved.states.insert(state.id.to_string(), Some(remembered));
            let differs = self.show(&service_id, &state);
            let service = self.state.service_of(&service_id);
            for names in [Some(&mut seen), differs.then_some(&mut moved)].into_iter().flatten() {
                match (service_id.is_empty(), names.as_mut()) {
                    (true, _) => *names = None,
                    (false, Some(names)) => names.extend(service.map(str::to_owned)),
                    (false, None) => {}
                }
            }
        }
        if moved.as_ref().is_none_or(|moved| !moved.is_empty()) {
            self.catch_up(moved.as_ref());
        }
        self.announce_instances(seen.as_ref());
    }

    /// Puts a check's new state in the place of its old one; `true` if somebody's health changed.
    fn show(&mut self, service_id: &str, state: &Arc<CheckState>) -> bool {
        if !service_id.is_empty() {
            let found = self.state.instance_mut(service_id);
            return found.is_some_and(|registered| replace(registered, state));
        }
        let instances = self.state.snapshot.instances.iter_mut();
        instances.fold(false, |moved, registered| replace(registered, state) | moved)
    }

    /// Asks the checks for the health of every instance, or of those of the services `names`.
    pub(super) fn refresh_health(&mut self, names: Option<&Names>) {
        let State { snapshot, checks: lone, .. } = &mut self.state;
        let checks = &self.checks;
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
        let wanted = |found: &&mut Registered| {
            // A followed source says itself how they are.
            !matches!(found.origin, Origin::Followed(_))
                && names.is_none_or(|names| names.contains(&found.instance.service))
        };
        for registered in snapshot.instances.iter_mut().filter(wanted) {
            let Instance { id, checks: own, .. } = &registered.instance;
            states.clear();
            states.extend(of_node.iter().cloned());
            states.extend(own.iter().map(|check| checks.state(check, id)));
            states.extend(by_instance.get(id.as_str()).into_iter().flatten().cloned());
            // What is there already stays where it is in memory.
            let same = registered.checks.len() == states.len()
                && registered.checks.iter().zip(&states).all(|(a, b)| Arc::ptr_eq(a, b));
            if !same {
                registered.checks = states.as_slice().into();
            }
            registered.health = Health::worst(&registered.checks);
        }
    }

    /// Runs the checks of the instances in force, after a change of the services `names` or of all.
    pub(super) fn watch_checks(&mut self, names: Option<&Names>) {
        let State { snapshot, checks: lone, .. } = &self.state;
        let own = snapshot.instances.iter().flat_map(|Registered { instance, .. }| {
            instance.checks.iter().map(|check| (check, instance.id.as_str()))
        });
        // A check of an instance that is not there waits for it.
        let lone = lone
            .values()
            .map(|lone| &lone.value)
            .filter(|lone| lone.of_node() || self.state.instance(&lone.service_id).is_some());
        let lone = lone.map(|lone| (&lone.check, &*lone.service_id));
        let ended = self.checks.watch(own.chain(lone));
        self.unsaved.states.extend(ended.into_iter().map(|id| (id, None)));
        self.refresh_health(names);
    }

    /// Keeps states of checks for the next start, now or when it is time.
    pub(crate) fn save_checks(&mut self, now: bool) {
        let due = self.unsaved.saved.is_none_or(|saved| saved.elapsed() >= SAVE_EVERY);
        if self.unsaved.states.is_empty() || !(now || due) {
            return;
        }
        self.unsaved.saved = Some(Instant::now());
        let states = std::mem::take(&mut self.unsaved.states);
        let states = states.into_iter().map(|(id, state)| (id, state.map(|state| json!(state))));
        let write = Write::CheckStates(states.collect());
        if let Err(error) = self.store.commit(self.index, &[write]) {
            tracing::warn!(%error, "states of checks are not kept");
        }
    }

    /// Deregisters instances whose checks have been critical for as long as they allow.
    pub(super) fn deregister_overdue(&mut self, now: tokio::time::Instant) {
        while let Some((check, id)) = self.checks.overdue(now) {
            tracing::warn!(%check, %id, "critical for too long: the instance is deregistered");
            if let Err(error) = self.dismiss(&id) {
                tracing::error!(%error, %id, "the instance could not be deregistered");
            }
        }
    }

    /// Every check and the instance it is about, `None` for the node.
    #[must_use]
    pub fn check_states(&self) -> Vec<(Option<&Instance>, Arc<CheckState>)> {
        let lone = self.state.checks.values().map(|lone| &lone.value);
        let of_node = lone
            .filter(|lone| lone.of_node())
            .map(|lone| (None, self.checks.state(&lone.check, "")));
        let of_instances = self.state.snapshot.instances.iter().flat_map(|registered| {
            let own = registered.checks.iter().filter(|check| !check.of_node);
            own.map(|check| (Some(&registered.instance), Arc::clone(check)))
        });
        of_node.chain(of_instances).collect()
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

/// What the store keeps of a check on its own, or of a maintenance mode.
pub(super) fn to_stored(lone: &LoneCheck) -> Value {
    if lone.is_maintenance() {
        return json!({"Notes": &*lone.check.notes});
    }
    to_check_definition(lone)
}

/// The check that [`to_stored`] wrote.
pub(super) fn stored_check(id: &str, json: &Value) -> anyhow::Result<LoneCheck> {
    let notes = json.get("Notes").and_then(Value::as_str).unwrap_or_default();
    if id == NODE_MAINTENANCE {
        return Ok(LoneCheck::maintenance("", notes));
    }
    match id.strip_prefix(SERVICE_MAINTENANCE) {
        Some(service_id) => Ok(LoneCheck::maintenance(service_id, notes)),
        None => parse_check(json.to_string().as_bytes()).context("its definition"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::agent::memory::Memory;
    use crate::agent::start::Started;
    use crate::audit::{Author, Intent};
    use crate::catalog::parse_registration;
    use crate::settings::Settings;
    use crate::store::Store;

    const CHECK: &str = "check { ttl = \"1h\" deregister_critical_service_after = \"2m\" }";

    #[tokio::test]
    async fn instances_that_are_critical_for_too_long_go_and_those_of_files_come_back_by_a_reload()
    {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::create_dir(path("etc")).unwrap();
        let text = format!("service {{ name = \"web\" id = \"f\" port = 1 {CHECK} }}");
        fs::write(path("etc/web.hcl"), text).unwrap();
        let settings = Settings::from_args([
            "canary-agent",
            "--config-dir",
            &path("etc"),
            "--data-dir",
            &path("data"),
        ])
        .unwrap();
        let opened = Store::open(&settings.data_dir).unwrap();
        let Started { mut agent, .. } =
            Agent::start(&settings, opened, Box::new(Memory::default())).unwrap();
        let intent = Intent::of(Author::Agent);
        let body = format!("name = \"web\" id = \"s\" port = 2 {CHECK}");
        let instance = parse_registration(body.as_bytes()).unwrap();
        agent.register(&intent, instance, false).unwrap();
        let ids = |agent: &Agent| {
            let instances = agent.instances().iter();
            instances.map(|found| found.instance.id.clone()).collect::<Vec<_>>()
        };
        let now = tokio::time::Instant::now();
        let later = now + Duration::from_secs(120);

        agent.deregister_overdue(later - Duration::from_secs(30));
        assert_eq!(ids(&agent), ["f", "s"]);
        agent.set_check("service:s", Health::Passing, "").unwrap();
        agent.deregister_overdue(later);
        assert_eq!(ids(&agent), ["s"]);
        agent.reload(&intent).unwrap();
        assert_eq!(ids(&agent), ["f", "s"]);

        agent.set_check("service:s", Health::Critical, "").unwrap();
        agent.deregister_overdue(tokio::time::Instant::now() + Duration::from_secs(120));
        assert!(ids(&agent).is_empty());
        agent.reload(&intent).unwrap();
        assert_eq!(ids(&agent), ["f"]);
    }
}
