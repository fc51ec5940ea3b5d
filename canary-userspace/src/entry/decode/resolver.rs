//! `service-resolver`.

use std::collections::BTreeMap;

use super::{balancer, head};
use crate::entry::validate::{
    FailoverDraft, RedirectDraft, ResolverDraft, SubsetDraft, TargetDraft,
};
use crate::entry::{Decoded, Entry, Places};
use crate::error::{ConfigError, Position};
use crate::syntax::{Fields, Placed, Remarks, weak_string};

/// Reads a resolver.
pub(super) fn decode(mut fields: Fields<'_>, mut remarks: Remarks) -> Result<Decoded, ConfigError> {
    let draft = ResolverDraft {
        head: head(&mut fields, &mut remarks)?,
        default_subset: fields.string("DefaultSubset", "default_subset", &mut remarks)?,
        subsets: subsets(&mut fields, &mut remarks)?,
        redirect: redirect(&mut fields, &mut remarks)?,
        failover: failover(&mut fields, &mut remarks)?,
        connect_timeout: fields.nanoseconds("ConnectTimeout", "connect_timeout", &mut remarks)?,
        request_timeout: fields.nanoseconds("RequestTimeout", "request_timeout", &mut remarks)?,
        locality: locality(&mut fields, &mut remarks)?,
        balancer: balancer::take(&mut fields, &mut remarks)?,
    };
    fields.finish(&mut remarks);
    let mut warnings = remarks.settle()?;
    let places = Places { name: draft.head.position, splits: Vec::new() };
    let resolver = draft.settle(&mut warnings).map_err(ConfigError::of_rule)?;
    warnings.sort_by_key(|warning| warning.position);
    Ok(Decoded { entry: Entry::Resolver(resolver), places, warnings })
}

fn subsets(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<BTreeMap<String, SubsetDraft>, ConfigError> {
    let mut subsets = BTreeMap::new();
    for (key, item) in outer.map("Subsets", "subsets", remarks)? {
        let mut fields = Fields::of(&item.value, format!("Subsets[{key}]"), remarks)?;
        let draft = SubsetDraft {
            position: item.position,
            filter: fields.string("Filter", "filter", remarks)?,
            only_passing: fields.boolean("OnlyPassing", "only_passing", remarks)?.value,
        };
        fields.finish(remarks);
        subsets.insert(key.to_owned(), draft);
    }
    Ok(subsets)
}

fn redirect(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Option<RedirectDraft>, ConfigError> {
    let position = outer.position_of("Redirect", "redirect");
    let Some(mut fields) = outer.object("Redirect", "redirect", remarks)? else { return Ok(None) };
    let mut target = target(&mut fields, remarks)?;
    target.sameness_group = fields.string("SamenessGroup", "sameness_group", remarks)?;
    fields.finish(remarks);
    Ok(Some(RedirectDraft { position, target }))
}

fn failover(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<BTreeMap<String, FailoverDraft>, ConfigError> {
    let mut failover = BTreeMap::new();
    for (key, item) in outer.map("Failover", "failover", remarks)? {
        let fields = Fields::of(&item.value, format!("Failover[{key}]"), remarks)?;
        failover.insert(key.to_owned(), section(fields, item.position, remarks)?);
    }
    Ok(failover)
}

/// What takes over from one subset.
fn section(
    mut fields: Fields<'_>,
    position: Position,
    remarks: &mut Remarks,
) -> Result<FailoverDraft, ConfigError> {
    let target = TargetDraft {
        service: fields.string("Service", "service", remarks)?,
        service_subset: fields.string("ServiceSubset", "service_subset", remarks)?,
        namespace: fields.string("Namespace", "namespace", remarks)?,
        sameness_group: fields.string("SamenessGroup", "sameness_group", remarks)?,
        ..TargetDraft::default()
    };
    let (policy_mode, policy_regions) = policy(&mut fields, remarks)?;
    let datacenters = datacenters(&mut fields, remarks)?;
    let path = fields.path_of("Targets");
    let targets_position = fields.position_of("Targets", "targets");
    let mut targets = Vec::new();
    let elements = fields.list("Targets", "targets", remarks);
    for (element, index) in elements.into_iter().zip(0_usize..) {
        let mut inner = Fields::of(element, format!("{path}[{index}]"), remarks)?;
        targets.push(self::target(&mut inner, remarks)?);
        inner.finish(remarks);
    }
    fields.finish(remarks);
    Ok(FailoverDraft {
        position,
        target,
        datacenters,
        policy_mode,
        policy_regions,
        targets,
        targets_position,
    })
}

/// The fields that a redirect and a failover's target share.
fn target(fields: &mut Fields<'_>, remarks: &mut Remarks) -> Result<TargetDraft, ConfigError> {
    Ok(TargetDraft {
        service: fields.string("Service", "service", remarks)?,
        service_subset: fields.string("ServiceSubset", "service_subset", remarks)?,
        namespace: fields.string("Namespace", "namespace", remarks)?,
        partition: fields.string("Partition", "partition", remarks)?,
        datacenter: fields.string("Datacenter", "datacenter", remarks)?,
        peer: fields.string("Peer", "peer", remarks)?,
        ..TargetDraft::default()
    })
}

fn datacenters(
    fields: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Vec<Placed<String>>, ConfigError> {
    let path = fields.path_of("Datacenters");
    let elements = fields.list("Datacenters", "datacenters", remarks).into_iter();
    let place = elements.zip(0_usize..).map(|(element, index)| {
        let value = weak_string(element, &format!("{path}[{index}]"))?;
        Ok(Placed { value, position: element.position })
    });
    place.collect()
}

/// A failover's policy: its mode, and where it names regions.
fn policy(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<(Placed<String>, Option<Position>), ConfigError> {
    let Some(mut fields) = outer.object("Policy", "policy", remarks)? else {
        return Ok((Placed::default(), None));
    };
    let mode = fields.string("Mode", "mode", remarks)?;
    let regions = fields.present("Regions", "regions");
    fields.finish(remarks);
    Ok((mode, regions))
}

/// Where instances that are near are to be preferred, if that is asked for.
fn locality(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Option<Position>, ConfigError> {
    let field = ("PrioritizeByLocality", "prioritize_by_locality");
    let Some(mut fields) = outer.object(field.0, field.1, remarks)? else { return Ok(None) };
    let mode = fields.string("Mode", "mode", remarks)?;
    fields.finish(remarks);
    Ok(Some(mode.position).filter(|_| !mode.value.is_empty()))
}
