//! Check definitions: `check` blocks, and the body of `PUT /v1/agent/check/register`.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Check, LoneCheck, NODE_MAINTENANCE, Probe, SERVICE_MAINTENANCE, Thresholds};
use super::probe::{self, Asked};
use crate::error::{ConfigError, Position};
use crate::syntax::{self, Fields, Remarks, Value};

/// An instance is never deregistered sooner, as in Consul.
const MIN_DEREGISTER_AFTER: Duration = Duration::from_secs(60);

/// Fields of a check that Consul has and this agent does not.
const LATER: [(&str, &str); 5] = [
    ("TLSServerName", "tls_server_name"),
    ("H2PingUseTLS", "h2ping_use_tls"),
    ("Token", "token"),
    ("Namespace", "namespace"),
    ("Partition", "partition"),
];

/// A check whose id and name may still have to be made up.
#[derive(Debug)]
pub(super) struct Draft {
    check: Check,
    position: Position,
}

/// Reads the body of `PUT /v1/agent/check/register`: one check, JSON or HCL.
///
/// # Errors
///
/// What is wrong and where.
pub fn parse_check(body: &[u8]) -> Result<LoneCheck, ConfigError> {
    let mut remarks = Remarks::default();
    let check = lone_check(&syntax::parse(body)?, "", &mut remarks)?;
    remarks.settle()?;
    // A kind that is refused is among the remarks.
    check.ok_or_else(|| ConfigError::new("Missing check name").of_rule())
}

/// Reads a check on its own; `path` is what messages call it. `None` if its kind is refused.
///
/// # Errors
///
/// What is wrong; unknown keys and refused fields go to `remarks`.
pub fn lone_check(
    value: &Value,
    path: &str,
    remarks: &mut Remarks,
) -> Result<Option<LoneCheck>, ConfigError> {
    let mut fields = Fields::of(value, path, remarks)?;
    let position = fields.position();
    let rule = |text: &str| ConfigError::at(position, text).of_rule();
    let service_id = fields.string("ServiceID", "service_id", remarks)?.value;
    let unnamed = fields.is_empty();
    let Some(Draft { mut check, .. }) = draft(fields, "Bad check status", remarks)? else {
        return if unnamed { Err(rule("Missing check name")) } else { Ok(None) };
    };
    if check.name.is_empty() {
        return Err(rule("Missing check name"));
    }
    if check.id.is_empty() {
        check.id = Arc::clone(&check.name);
    }
    if &*check.id == NODE_MAINTENANCE || check.id.starts_with(SERVICE_MAINTENANCE) {
        return Err(rule(&format!("check id {:?} is kept for maintenance mode", check.id)));
    }
    if service_id.is_empty() && check.deregister_after.is_some() {
        remarks.warn(
            position,
            "deregister_critical_service_after has no effect: the check is about no service",
        );
    }
    Ok(Some(LoneCheck { check: Arc::new(check), service_id: service_id.into() }))
}

/// Reads a maintenance mode; `path` is what messages call it.
///
/// # Errors
///
/// A value of the wrong type; unknown keys go to `remarks`.
pub fn maintenance(
    value: &Value,
    path: &str,
    remarks: &mut Remarks,
) -> Result<LoneCheck, ConfigError> {
    let mut fields = Fields::of(value, path, remarks)?;
    let service_id = fields.string("ServiceID", "service_id", remarks)?.value;
    let reason = fields.string("Reason", "reason", remarks)?.value;
    fields.finish(remarks);
    Ok(LoneCheck::maintenance(&service_id, &reason))
}

/// Gives the checks of one service their default ids and names.
///
/// # Errors
///
/// An id that is given twice.
pub(super) fn of_service(
    drafts: Vec<Draft>,
    service: &str,
    id: &str,
) -> Result<Vec<Arc<Check>>, ConfigError> {
    let several = drafts.len() > 1;
    let mut checks: Vec<Arc<Check>> = Vec::with_capacity(drafts.len());
    for (Draft { mut check, position }, number) in drafts.into_iter().zip(1_usize..) {
        if check.id.is_empty() {
            let number = if several { format!(":{number}") } else { String::new() };
            check.id = format!("service:{id}{number}").into();
        }
        if check.name.is_empty() {
            check.name = format!("Service '{service}' check").into();
        }
        if checks.iter().any(|other| other.id == check.id) {
            let text = format!("check id {:?} is given twice", check.id);
            return Err(ConfigError::at(position, text).of_rule());
        }
        checks.push(Arc::new(check));
    }
    Ok(checks)
}

/// Reads one check; `None` if it is empty, as some clients send it, or of a kind that is refused.
///
/// # Errors
///
/// What is wrong; `bad_status` is what is said of a status that there is not.
pub(super) fn draft(
    mut fields: Fields<'_>,
    bad_status: &str,
    remarks: &mut Remarks,
) -> Result<Option<Draft>, ConfigError> {
    if fields.is_empty() {
        return Ok(None);
    }
    let position = fields.position();
    let check_id = fields.string("CheckID", "check_id", remarks)?.value;
    let id = fields.string("ID", "id", remarks)?.value;
    let name = fields.string("Name", "name", remarks)?.value;
    let notes = fields.string("Notes", "notes", remarks)?.value;
    let status = fields.string("Status", "status", remarks)?;
    let after = deregister_after(&mut fields, remarks)?;
    let thresholds = probe::thresholds(&mut fields, remarks)?;
    let refused = probe::refuse(&mut fields, remarks);
    fields.refuse(&LATER, remarks);
    let asked = probe::read(&mut fields, remarks);
    if !refused || asked.is_ok() {
        fields.finish(remarks);
    }
    if refused {
        return Ok(None);
    }
    let Asked { probe, tls, interval, timeout } = asked?;
    if matches!(probe, Probe::Ttl(_)) && thresholds != Thresholds::default() {
        let text = "thresholds have no effect on a ttl check: it is what it was last said to be";
        remarks.warn(position, text);
    }
    let check = Check {
        id: if check_id.is_empty() { id } else { check_id }.into(),
        name: name.into(),
        notes: notes.into(),
        probe,
        interval,
        timeout,
        thresholds,
        deregister_after: after,
        tls,
        initial: probe::initial(&status, bad_status)?,
    };
    Ok(Some(Draft { check, position }))
}

/// When the check's instance is deregistered.
fn deregister_after(
    fields: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Option<Duration>, ConfigError> {
    let after = fields.duration(
        "DeregisterCriticalServiceAfter",
        "deregister_critical_service_after",
        remarks,
    )?;
    let Some(wanted) = after.value.filter(|wanted| !wanted.is_zero()) else { return Ok(None) };
    if wanted < MIN_DEREGISTER_AFTER {
        let text = "deregister_critical_service_after is at least 1m: it is taken as that";
        remarks.warn(after.position, text);
    }
    Ok(Some(wanted.max(MIN_DEREGISTER_AFTER)))
}
