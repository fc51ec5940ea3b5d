//! Health of instances: what checks say, put together and published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::Agent;
use crate::catalog::{
    CheckState, Instance, LoneCheck, NODE_MAINTENANCE, SERVICE_MAINTENANCE, parse_check,
    to_check_definition,
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

    /// Brings what checks say into the state, and publishes if that changes an instance's health.
    pub(super) fn note(&mut self, noted: Vec<Noted>) {
        let mut next = self.engine.state().clone();
        // Services, `None` for all: a check of the node is one of every instance.
        let (mut seen, mut moved) = (Some(Names::new()), Some(Names::new()));
        for Noted { service_id, state, before, remembered } in noted {
            if state.status != before {
                let (check, status) = (&*state.id, state.status.as_str());
                tracing::info!(check, status, output = &*state.output, "check changed");
            }
            self.unsaved.states.insert(state.id.to_string(), Some(remembered));
            let differs = next.show(&service_id, &state);
            let service = next.service_of(&service_id);
            for names in [Some(&mut seen), differs.then_some(&mut moved)].into_iter().flatten() {
                match (service_id.is_empty(), names.as_mut()) {
                    (true, _) => *names = None,
                    (false, Some(names)) => names.extend(service.map(str::to_owned)),
                    (false, None) => {}
                }
            }
        }
        let differs = moved.as_ref().is_none_or(|moved| !moved.is_empty());
        if differs && self.engine.frozen().is_none() {
            let prepared = self.engine.prepare(next, moved.as_ref());
            self.engine.publish(prepared);
        } else {
            *self.engine.state_mut() = next;
        }
        self.announce_instances(seen.as_ref());
    }

    /// Runs the checks of the instances in force, after a change of the services `names` or of all.
    pub(super) fn watch_checks(&mut self, names: Option<&Names>) {
        let state = self.engine.state();
        let own = state.snapshot.instances.iter().flat_map(|registered| {
            let instance = &registered.instance;
            instance.checks.iter().map(|check| (check, instance.id.as_str()))
        });
        // A check of an instance that is not there waits for it.
        let lone = state
            .checks
            .values()
            .map(|lone| &lone.value)
            .filter(|lone| lone.of_node() || state.instance(&lone.service_id).is_some());
        let lone = lone.map(|lone| (&lone.check, &*lone.service_id));
        let ended = self.checks.watch(own.chain(lone));
        self.unsaved.states.extend(ended.into_iter().map(|id| (id, None)));
        self.engine.state_mut().refresh_health(&self.checks, names);
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
        if let Err(error) = self.store.commit(self.books.index, &[write]) {
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
        let lone = self.engine.state().checks.values().map(|lone| &lone.value);
        let of_node = lone
            .filter(|lone| lone.of_node())
            .map(|lone| (None, self.checks.state(&lone.check, "")));
        let of_instances = self.engine.state().snapshot.instances.iter().flat_map(|registered| {
            let own = registered.checks.iter().filter(|check| !check.of_node);
            own.map(|check| (Some(&registered.instance), Arc::clone(check)))
        });
        of_node.chain(of_instances).collect()
    }
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
    use crate::agent::memory::{Memory, reload};
    use crate::agent::start::Started;
    use crate::audit::{Author, Intent};
    use crate::catalog::{Health, parse_registration};
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
        reload(&mut agent, &intent).unwrap();
        assert_eq!(ids(&agent), ["f", "s"]);

        agent.set_check("service:s", Health::Critical, "").unwrap();
        agent.deregister_overdue(tokio::time::Instant::now() + Duration::from_secs(120));
        assert!(ids(&agent).is_empty());
        reload(&mut agent, &intent).unwrap();
        assert_eq!(ids(&agent), ["f"]);
    }
}
