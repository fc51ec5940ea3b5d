//! A step of a change to what is wanted.

use crate::catalog::{Instance, LoneCheck, Registered};
use crate::compile::Names;
use crate::entry::Entry;
use crate::source::{Definitions, EntryKey, PROXY};

use super::brake::Brake;
use super::state::State;

/// Services whose entries or instances a change may change; `None` for any.
pub(crate) type Scope = Option<Names>;

/// A step of a change to what is wanted.
#[derive(Debug)]
pub(crate) enum Edit {
    /// Puts a config entry into the store's layer or, with `None`, takes it out.
    Entry(EntryKey, Option<Box<Entry>>),
    /// Puts an instance into the store's layer or, with `None`, takes it out.
    Instance(String, Option<Box<Instance>>),
    /// Puts a check on its own into the store's layer or, with `None`, takes it out.
    Check(String, Option<LoneCheck>),
    /// Takes an instance of the files out until they are read again.
    Dismiss(String),
    /// Replaces the layer of files.
    Files(Definitions),
    /// Makes these, sorted by id, all the instances of a service.
    Instances(String, Vec<Registered>),
    /// Puts a service under the brake or, with `None`, ends that.
    Brake(String, Option<Box<Brake>>),
    /// Renames the datacenter of the node.
    Datacenter(String),
}

impl Edit {
    /// Whether it is about instances or their checks.
    pub(crate) fn is_of_instances(&self) -> bool {
        !matches!(self, Self::Entry(..) | Self::Brake(..) | Self::Datacenter(_))
    }

    /// Whether it replaces the layer of files.
    pub(crate) fn is_of_files(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// The id of the instance that it is about.
    pub(crate) fn instance(&self) -> Option<&str> {
        match self {
            Self::Instance(id, _) | Self::Dismiss(id) => Some(id),
            Self::Entry(..)
            | Self::Check(..)
            | Self::Files(_)
            | Self::Instances(..)
            | Self::Brake(..)
            | Self::Datacenter(_) => None,
        }
    }
}

impl State {
    /// The services that `edits` are about.
    pub(crate) fn scope(&self, edits: &[Edit]) -> Scope {
        let mut names = Names::new();
        for edit in edits {
            match edit {
                // Defaults of all services.
                Edit::Entry((kind, _), _) if kind == PROXY => return None,
                Edit::Entry((_, name), _) | Edit::Instances(name, _) | Edit::Brake(name, _) => {
                    names.insert(name.clone());
                }
                Edit::Instance(id, new) => {
                    names.extend(self.service_of(id).map(str::to_owned));
                    // What the store covers may come back, as another service.
                    names.extend(self.hidden_service_of(id).map(str::to_owned));
                    names.extend(new.iter().map(|instance| instance.service.clone()));
                }
                Edit::Check(id, new) => {
                    let old = self.checks.get(id).map(|old| &old.value);
                    for lone in [old, new.as_ref()].into_iter().flatten() {
                        // A check of the node is one of every instance.
                        if lone.of_node() {
                            return None;
                        }
                        names.extend(self.service_of(&lone.service_id).map(str::to_owned));
                    }
                }
                Edit::Dismiss(id) => names.extend(self.service_of(id).map(str::to_owned)),
                Edit::Files(_) => return None,
                Edit::Datacenter(_) => {}
            }
        }
        Some(names)
    }
}
