//! What a check asks: the fields that make its kind.

use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::super::{GrpcProbe, Header, Health, HttpProbe, Probe, Thresholds, Tls};
use crate::error::{ConfigError, Position};
use crate::syntax::{Data, Fields, Placed, Remarks, Value};

/// How long a probe may take where the check does not say: Consul's default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest time between two probes: below it the probes would be a load of their own.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Bytes of an answer that are shown where the check does not say.
const DEFAULT_SHOWN: u16 = 1024;
/// Bytes of an answer that are shown at most.
const MAX_SHOWN: i64 = 4096;

/// Kinds of check that would run a program.
const COMMANDS: [(&str, &str); 5] = [
    ("Script", "script"),
    ("Args", "args"),
    ("ScriptArgs", "script_args"),
    ("DockerContainerID", "docker_container_id"),
    ("Shell", "shell"),
];

/// Other kinds of check that Consul has and this agent does not.
const OTHERS: [(&str, &str); 5] = [
    ("UDP", "udp"),
    ("H2PING", "h2ping"),
    ("AliasNode", "alias_node"),
    ("AliasService", "alias_service"),
    ("OSService", "os_service"),
];

/// A probe and when it happens.
pub(super) struct Asked {
    pub(super) probe: Probe,
    pub(super) tls: Tls,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// Refuses the kinds of check that are not run; `true` if it is one of them.
pub(super) fn refuse(fields: &mut Fields<'_>, remarks: &mut Remarks) -> bool {
    let mut refused = false;
    for (canonical, alias) in COMMANDS {
        if let Some(position) = fields.present(canonical, alias) {
            refused = true;
            let text = format!(
                "check kind {alias:?} is refused: the agent runs as root and runs no commands; \
                 use tcp, http, grpc or ttl"
            );
            remarks.refuse(position, text);
        }
    }
    for (canonical, alias) in OTHERS {
        if let Some(position) = fields.present(canonical, alias) {
            refused = true;
            let text = format!("check kind {alias:?} is not supported; use tcp, http, grpc or ttl");
            remarks.refuse(position, text);
        }
    }
    refused
}

/// Takes the fields that say what is asked, and when.
pub(super) fn read(fields: &mut Fields<'_>, remarks: &mut Remarks) -> Result<Asked, ConfigError> {
    let interval = fields.duration("Interval", "interval", remarks)?;
    let timeout = fields.duration("Timeout", "timeout", remarks)?;
    let ttl = fields.duration("TTL", "ttl", remarks)?;
    let skip = truth(fields, "TLSSkipVerify", "tls_skip_verify", remarks)?;
    let found: Vec<(Probe, Tls)> =
        [tcp(fields, skip, remarks)?, grpc(fields, skip, remarks)?, http(fields, skip, remarks)?]
            .into_iter()
            .flatten()
            .collect();
    let (wait, ttl_at) = (interval.value.unwrap_or_default(), ttl.position);
    let ttl = ttl.value.unwrap_or_default();
    if !wait.is_zero() && !ttl.is_zero() {
        return Err(broken(ttl_at, "Interval and TTL cannot both be specified"));
    }
    let mut probes = found.into_iter();
    let Some((probe, tls)) = probes.next() else {
        if ttl.is_zero() {
            return Err(broken(fields.position(), "TTL must be > 0 for TTL checks"));
        }
        let (interval, timeout) = (Duration::ZERO, Duration::ZERO);
        return Ok(Asked { probe: Probe::Ttl(ttl), tls: Tls::Off, interval, timeout });
    };
    let other = probes.next().map(|(probe, _)| probe.kind());
    if let Some(other) = other.or((!ttl.is_zero()).then_some("ttl")) {
        let text = format!(
            "check asks two things, {} and {other}: give each a check of its own",
            probe.kind()
        );
        return Err(broken(fields.position(), text));
    }
    if wait.is_zero() {
        return Err(broken(
            interval.position,
            "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks",
        ));
    }
    if wait < MIN_INTERVAL {
        return Err(broken(interval.position, "check interval is below 10ms"));
    }
    let timeout = timeout.value.filter(|timeout| !timeout.is_zero());
    Ok(Asked { probe, tls, interval: wait, timeout: timeout.unwrap_or(DEFAULT_TIMEOUT) })
}

/// A rule that is broken, and where.
fn broken(position: Position, text: impl Into<String>) -> ConfigError {
    ConfigError::at(position, text).of_rule()
}

/// Whether a connection is encrypted, by the field of the check's kind.
fn tls(on: bool, skip: bool) -> Tls {
    match (on, skip) {
        (false, _) => Tls::Off,
        (true, false) => Tls::Verified,
        (true, true) => Tls::Unverified,
    }
}

fn tcp(
    fields: &mut Fields<'_>,
    skip: bool,
    remarks: &mut Remarks,
) -> Result<Option<(Probe, Tls)>, ConfigError> {
    let on = truth(fields, "TCPUseTLS", "tcp_use_tls", remarks)?;
    let target = fields.string("TCP", "tcp", remarks)?;
    if target.value.is_empty() {
        return Ok(None);
    }
    check_target(&target.value, target.position)?;
    Ok(Some((Probe::Tcp(target.value.into()), tls(on, skip))))
}

fn grpc(
    fields: &mut Fields<'_>,
    skip: bool,
    remarks: &mut Remarks,
) -> Result<Option<(Probe, Tls)>, ConfigError> {
    let on = truth(fields, "GRPCUseTLS", "grpc_use_tls", remarks)?;
    let Placed { value, position } = fields.string("GRPC", "grpc", remarks)?;
    if value.is_empty() {
        return Ok(None);
    }
    let (target, service) = value.split_once('/').unwrap_or((&value, ""));
    check_target(target, position)?;
    let probe = GrpcProbe { target: target.into(), service: service.into() };
    Ok(Some((Probe::Grpc(Box::new(probe)), tls(on, skip))))
}

fn http(
    fields: &mut Fields<'_>,
    skip: bool,
    remarks: &mut Remarks,
) -> Result<Option<(Probe, Tls)>, ConfigError> {
    let url = fields.string("HTTP", "http", remarks)?;
    let method = fields.string("Method", "method", remarks)?;
    let headers = headers(fields, remarks)?;
    let body = fields.string("Body", "body", remarks)?;
    let stay = truth(fields, "DisableRedirects", "disable_redirects", remarks)?;
    let shown = fields.integer("OutputMaxSize", "output_max_size", remarks)?;
    if url.value.is_empty() {
        return Ok(None);
    }
    let legal = Url::parse(&url.value)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !legal {
        let text = format!("check target {:?} is no URL of http or https", url.value);
        return Err(broken(url.position, text));
    }
    let name = if method.value.is_empty() { "GET" } else { &method.value };
    Method::from_bytes(name.as_bytes())
        .map_err(|_| broken(method.position, format!("check method {name:?} is no HTTP method")))?;
    let shown = match shown.value {
        None | Some(0) => DEFAULT_SHOWN,
        Some(bytes) if bytes < 0 => {
            return Err(broken(shown.position, "MaxOutputMaxSize must be positive"));
        }
        Some(bytes) => u16::try_from(bytes.min(MAX_SHOWN)).unwrap_or(DEFAULT_SHOWN),
    };
    let encrypted = url.value.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("https:"));
    let probe = HttpProbe {
        url: url.value.into(),
        method: name.into(),
        headers: headers.into(),
        body: body.value.into(),
        stay,
        shown,
    };
    // A redirect may lead to https: what to trust then is said all the same.
    Ok(Some((Probe::Http(Box::new(probe)), tls(encrypted || skip, skip))))
}

fn headers(fields: &mut Fields<'_>, remarks: &mut Remarks) -> Result<Vec<Header>, ConfigError> {
    let mut headers = Vec::new();
    for (name, item) in fields.map("Header", "header", remarks)? {
        let values = match &item.value.data {
            Data::List(values) => values.as_slice(),
            Data::Null => &[],
            _ => std::slice::from_ref(&item.value),
        };
        for Value { data, position } in values {
            let Data::String(value) = data else {
                let text = format!("check header {name:?} is no list of strings");
                return Err(broken(*position, text));
            };
            let legal = HeaderName::from_bytes(name.as_bytes()).is_ok()
                && HeaderValue::from_str(value).is_ok();
            if !legal {
                let text = format!("check header {name:?} is no HTTP header");
                return Err(broken(*position, text));
            }
            headers.push((name.into(), value.as_str().into()));
        }
    }
    Ok(headers)
}

/// Checks that `target` is a host and a port; the host is looked up when it is probed.
fn check_target(target: &str, position: Position) -> Result<(), ConfigError> {
    let legal = target.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').is_some_and(|ip| ip.contains(':')),
            None => !host.is_empty() && !host.contains([':', ']', '/', ' ']),
        };
        bare && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if legal {
        return Ok(());
    }
    Err(broken(position, format!("check target {target:?} is not HOST:PORT")))
}

/// The state until the first result: critical, as in Consul, where the check does not say.
pub(super) fn initial(status: &Placed<String>, refusal: &str) -> Result<Health, ConfigError> {
    if status.value.is_empty() {
        return Ok(Health::Critical);
    }
    Health::from_word(&status.value).ok_or_else(|| broken(status.position, refusal))
}

/// How many results in a row change the state.
pub(super) fn thresholds(
    fields: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Thresholds, ConfigError> {
    let mut read = |canonical: &str, alias: &str| {
        let Placed { value, position } = fields.integer(canonical, alias, remarks)?;
        let count = u16::try_from(value.unwrap_or_default())
            .map_err(|_| broken(position, format!("{alias} must be between 0 and {}", u16::MAX)))?;
        Ok::<_, ConfigError>(Placed { value: count, position })
    };
    let passing = read("SuccessBeforePassing", "success_before_passing")?.value;
    let critical = read("FailuresBeforeCritical", "failures_before_critical")?.value;
    let warning = read("FailuresBeforeWarning", "failures_before_warning")?;
    if warning.value > critical {
        return Err(broken(
            warning.position,
            "FailuresBeforeWarning can't be higher than FailuresBeforeCritical",
        ));
    }
    // What is not said is no step of its own.
    let warning = if warning.value == 0 { critical } else { warning.value };
    Ok(Thresholds { passing, warning, critical })
}

/// A truth value as Consul's decoder takes it.
fn truth(
    fields: &mut Fields<'_>,
    canonical: &str,
    alias: &str,
    remarks: &mut Remarks,
) -> Result<bool, ConfigError> {
    let Placed { value, position } = fields.string(canonical, alias, remarks)?;
    match value.as_str() {
        "" | "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        _ => Err(no_truth(&fields.path_of(canonical), &value, position)),
    }
}

fn no_truth(path: &str, value: &str, position: Position) -> ConfigError {
    let text = format!(
        "cannot parse '{path}' as bool: strconv.ParseBool: parsing {value:?}: invalid syntax"
    );
    ConfigError::at(position, text)
}
