//! The `load_balancer` of a resolver.

use crate::entry::RingHash;
use crate::entry::validate::{BalancerDraft, CookieDraft, HashDraft};
use crate::error::{ConfigError, Position};
use crate::syntax::{Fields, Remarks};

/// Takes the load balancer from a resolver's fields.
pub(super) fn take(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Option<BalancerDraft>, ConfigError> {
    let Some(mut fields) = outer.object("LoadBalancer", "load_balancer", remarks)? else {
        return Ok(None);
    };
    let draft = BalancerDraft {
        policy: fields.string("Policy", "policy", remarks)?,
        ring_hash: ring_hash(&mut fields, remarks)?,
        choice_count: choice_count(&mut fields, remarks)?,
        hash_policies: hash_policies(&mut fields, remarks)?,
    };
    fields.finish(remarks);
    Ok(Some(draft))
}

fn ring_hash(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Option<(Position, RingHash)>, ConfigError> {
    let position = outer.position_of("RingHashConfig", "ring_hash_config");
    let Some(mut fields) = outer.object("RingHashConfig", "ring_hash_config", remarks)? else {
        return Ok(None);
    };
    let mut size = |canonical, alias| fields.count(canonical, alias, u64::BITS, remarks);
    let sizes = RingHash {
        minimum_ring_size: size("MinimumRingSize", "minimum_ring_size")?.value,
        maximum_ring_size: size("MaximumRingSize", "maximum_ring_size")?.value,
    };
    fields.finish(remarks);
    Ok(Some((position, sizes)))
}

fn choice_count(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Option<(Position, u32)>, ConfigError> {
    let position = outer.position_of("LeastRequestConfig", "least_request_config");
    let Some(mut fields) = outer.object("LeastRequestConfig", "least_request_config", remarks)?
    else {
        return Ok(None);
    };
    let count = fields.count("ChoiceCount", "choice_count", u32::BITS, remarks)?.value;
    fields.finish(remarks);
    // It was read as a number of 32 bits.
    Ok(Some((position, u32::try_from(count).unwrap_or(u32::MAX))))
}

fn hash_policies(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Vec<HashDraft>, ConfigError> {
    let path = outer.path_of("HashPolicies");
    let mut drafts = Vec::new();
    let elements = outer.list("HashPolicies", "hash_policies", remarks);
    for (element, index) in elements.into_iter().zip(0_usize..) {
        let mut fields = Fields::of(element, format!("{path}[{index}]"), remarks)?;
        drafts.push(HashDraft {
            position: fields.position(),
            field: fields.string("Field", "field", remarks)?,
            field_value: fields.string("FieldValue", "field_value", remarks)?,
            cookie: cookie(&mut fields, remarks)?,
            source_ip: fields.boolean("SourceIP", "source_ip", remarks)?,
            terminal: fields.boolean("Terminal", "terminal", remarks)?.value,
        });
        fields.finish(remarks);
    }
    Ok(drafts)
}

fn cookie(
    outer: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Option<CookieDraft>, ConfigError> {
    let position = outer.position_of("CookieConfig", "cookie_config");
    let Some(mut fields) = outer.object("CookieConfig", "cookie_config", remarks)? else {
        return Ok(None);
    };
    let draft = CookieDraft {
        position,
        session: fields.boolean("Session", "session", remarks)?.value,
        ttl: fields.duration("TTL", "ttl", remarks)?,
        path: fields.string("Path", "path", remarks)?.value,
    };
    fields.finish(remarks);
    Ok(Some(draft))
}
