//! Rules that hold between entries, and between instances.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::State;
use crate::catalog::{Instance, Origin, Registered};
use crate::compile::Names;
use crate::entry::{self, GraphError, Part};
use crate::error::ConfigError;
use crate::snapshot::Snapshot;
use crate::source::SplitPlaces;
use crate::source::files::place;

impl State {
    /// Checks that every reference leads somewhere, and not in a circle: those of the entries of
    /// `names`, or all of them without.
    ///
    /// # Errors
    ///
    /// Consul's text, with file and position where `places` has the split, or where all is checked
    /// and a file has the resolver.
    pub(crate) fn check_graph(
        &self,
        names: Option<&BTreeSet<&str>>,
        places: &SplitPlaces,
    ) -> Result<(), ConfigError> {
        let Snapshot { resolvers, splitters, .. } = &self.snapshot;
        let all = || resolvers.keys().chain(splitters.keys()).map(String::as_str).collect();
        let checked = match names {
            Some(names) => entry::check_names(&&self.snapshot, names),
            None => entry::check_names(&&self.snapshot, &all()),
        };
        checked.map_err(|GraphError { service, part, text }| {
            let place = match part {
                Part::Split(split) => {
                    let place = places.get(&service);
                    place.and_then(|place| Some((&place.path, place.splits.get(split)?)))
                }
                Part::Redirect | Part::Failover(_) => {
                    match resolvers.get(&service).map(|resolver| &resolver.origin) {
                        Some(Origin::File { path, position }) if names.is_none() => {
                            Some((path, position))
                        }
                        _ => None,
                    }
                }
            };
            match place {
                Some((path, position)) => ConfigError::at(*position, text).in_file(path),
                None => ConfigError::new(text),
            }
        })
    }

    /// Says which two instances of one service serve at one place, if any do: of the services
    /// `names`, or of all.
    ///
    /// # Errors
    ///
    /// The sentence, naming both.
    pub(crate) fn check_instances(&self, names: Option<&Names>) -> Result<(), String> {
        let instances = &self.snapshot.instances;
        match names {
            Some(names) => {
                names.iter().try_for_each(|name| check_places(self.snapshot.instances_of(name)))
            }
            None => instances
                .chunk_by(|a, b| a.instance.service == b.instance.service)
                .try_for_each(check_places),
        }
    }
}

fn check_places(of_service: &[Arc<Registered>]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for registered in of_service {
        let Instance { id, service, .. } = &registered.instance;
        let Some(serves) = registered.socket() else { continue };
        if let Some(first) = seen.insert(serves, registered) {
            return Err(format!(
                "service {service:?}: instances {:?} ({}) and {id:?} ({}) both serve at {serves}",
                first.instance.id,
                place(&first.origin),
                place(&registered.origin),
            ));
        }
    }
    Ok(())
}
