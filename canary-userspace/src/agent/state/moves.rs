//! What an edit did to instances, told from the edit that takes it back.

use super::{Edit, State};
use crate::catalog::{Instance, Registered};

/// An instance that an edit was about.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) struct InstanceMove<'a> {
    /// Its id.
    pub(in crate::agent) id: &'a str,
    /// As it was in force before.
    pub(in crate::agent) before: Option<&'a Instance>,
    /// As it is in force now.
    pub(in crate::agent) after: Option<&'a Instance>,
    /// As the store had it.
    pub(in crate::agent) stored_before: Option<&'a Instance>,
    /// As the store has it.
    pub(in crate::agent) stored_after: Option<&'a Instance>,
}

impl State {
    /// Tells `see` of each instance that the edit was about which `inverse` takes back.
    pub(in crate::agent) fn instance_moves(
        &self,
        inverse: &Edit,
        see: &mut dyn FnMut(&InstanceMove<'_>),
    ) {
        match inverse {
            Edit::Entry(..) | Edit::Check(..) => {}
            Edit::Dismiss(id) => {
                let after = self.instance(id).map(|registered| &registered.instance);
                see(&of_files(id, None, after));
            }
            Edit::Recall(gone) => see(&of_files(&gone.value.id, Some(&gone.value), None)),
            Edit::Instance(id, stored_before) => {
                see(&self.stored_move(id, stored_before.as_deref()));
            }
            Edit::Files(old) => {
                let of_file = |registered: &&Registered| registered.origin.is_of_file();
                for Registered { instance, .. } in self.snapshot.instances.iter().filter(of_file) {
                    let before = old.instances.get(&instance.id).map(|old| &old.value);
                    if before != Some(instance) {
                        see(&of_files(&instance.id, before, Some(instance)));
                    }
                }
                for (id, gone) in &old.instances {
                    if self.instance(id).is_none() {
                        see(&of_files(id, Some(&gone.value), None));
                    }
                }
            }
        }
    }

    fn stored_move<'a>(
        &'a self,
        id: &'a str,
        stored_before: Option<&'a Instance>,
    ) -> InstanceMove<'a> {
        let current = self.instance(id);
        let below = self.hidden.instances.get(id).map(|hidden| &hidden.value);
        let after = current.map(|registered| &registered.instance);
        let of_store = current.is_some_and(|registered| !registered.origin.is_of_file());
        InstanceMove {
            id,
            before: stored_before.or(below),
            after,
            stored_before,
            stored_after: after.filter(|_| of_store),
        }
    }
}

fn of_files<'a>(
    id: &'a str,
    before: Option<&'a Instance>,
    after: Option<&'a Instance>,
) -> InstanceMove<'a> {
    InstanceMove { id, before, after, stored_before: None, stored_after: None }
}
