//! Service definitions: Consul's `service` blocks, and the body of a registration.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::{Instance, TcpCheck, Weights};
use crate::error::{ConfigError, Position};
use crate::syntax::{self, Fields, Item, Placed, Remarks, Value};

/// How long a probe may take where the check does not say: Consul's default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The shortest time between two probes: below it the probes would be a load of their own.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Weights are 16 bits wide in Consul.
const MAX_WEIGHT: i64 = 65_535;

/// Fields of a service that Consul has and this agent does not.
const SERVICE_LATER: [(&str, &str); 9] = [
    ("EnableTagOverride", "enable_tag_override"),
    ("Kind", "kind"),
    ("Proxy", "proxy"),
    ("Connect", "connect"),
    ("SocketPath", "socket_path"),
    ("Token", "token"),
    ("Locality", "locality"),
    ("Namespace", "namespace"),
    ("Ports", "ports"),
];

/// Kinds of check that Consul has and this agent does not, by the field that makes them.
const CHECK_KINDS: [(&str, &str); 13] = [
    ("HTTP", "http"),
    ("GRPC", "grpc"),
    ("TTL", "ttl"),
    ("UDP", "udp"),
    ("H2PING", "h2ping"),
    ("Script", "script"),
    ("Args", "args"),
    ("ScriptArgs", "script_args"),
    ("DockerContainerID", "docker_container_id"),
    ("AliasNode", "alias_node"),
    ("AliasService", "alias_service"),
    ("OSService", "os_service"),
    ("Shell", "shell"),
];

/// Other fields of a check that Consul has and this agent does not.
const CHECK_LATER: [(&str, &str); 16] = [
    ("Status", "status"),
    ("DeregisterCriticalServiceAfter", "deregister_critical_service_after"),
    ("SuccessBeforePassing", "success_before_passing"),
    ("FailuresBeforeWarning", "failures_before_warning"),
    ("FailuresBeforeCritical", "failures_before_critical"),
    ("TCPUseTLS", "tcp_use_tls"),
    ("TLSServerName", "tls_server_name"),
    ("TLSSkipVerify", "tls_skip_verify"),
    ("GRPCUseTLS", "grpc_use_tls"),
    ("H2PingUseTLS", "h2ping_use_tls"),
    ("Header", "header"),
    ("Method", "method"),
    ("Body", "body"),
    ("DisableRedirects", "disable_redirects"),
    ("OutputMaxSize", "output_max_size"),
    ("ServiceID", "service_id"),
];

/// Reads the body of `PUT /v1/agent/service/register`: one service, JSON or HCL.
///
/// # Errors
///
/// What is wrong and where.
pub fn parse_registration(body: &[u8]) -> Result<Instance, ConfigError> {
    let mut remarks = Remarks::default();
    let instance = service(&syntax::parse(body)?, "", &mut remarks)?;
    remarks.settle()?;
    Ok(instance)
}

/// Reads one service; `path` is what messages call it.
///
/// # Errors
///
/// A value that is missing or of the wrong type; unknown keys and fields that are not
/// supported go to `remarks`.
pub fn service(value: &Value, path: &str, remarks: &mut Remarks) -> Result<Instance, ConfigError> {
    let mut fields = Fields::of(value, path, remarks)?;
    let name = fields.string("Name", "name", remarks)?;
    if name.value.is_empty() {
        return Err(ConfigError::at(name.position, "Missing service name"));
    }
    let id = fields.string("ID", "id", remarks)?.value;
    let address = fields.string("Address", "address", remarks)?;
    let port = fields.integer("Port", "port", remarks)?;
    let tags = fields.strings("Tags", "tags", remarks)?;
    let meta = fields.string_map("Meta", "meta", remarks)?;
    let tagged_addresses = tagged_addresses(&mut fields, remarks)?;
    let weights = match fields.object("Weights", "weights", remarks)? {
        Some(inner) => weights(inner, remarks)?,
        None => Weights::default(),
    };
    let mut checks = Vec::new();
    for (canonical, alias) in [("Check", "check"), ("Checks", "checks")] {
        let path = fields.path_of(canonical);
        for element in fields.list(canonical, alias, remarks) {
            let inner = Fields::of(element, path.as_str(), remarks)?;
            checks.extend(check(inner, remarks)?);
        }
    }
    fields.refuse(&SERVICE_LATER, remarks);
    fields.finish(remarks);
    Ok(Instance {
        id: if id.is_empty() { name.value.clone() } else { id },
        service: name.value,
        address: (!address.value.is_empty())
            .then(|| required::<IpAddr>(&address, "address", "an IP address"))
            .transpose()?,
        port: port_number(&port, "port")?,
        tags,
        meta: meta.into(),
        tagged_addresses: tagged_addresses.into(),
        weights,
        checks,
    })
}

/// A text that must be there and be a `T`.
fn required<T: FromStr>(text: &Placed<String>, name: &str, wanted: &str) -> Result<T, ConfigError> {
    if text.value.is_empty() {
        return Err(ConfigError::at(text.position, format!("{name} is required: {wanted}")));
    }
    text.value.parse().map_err(|_| {
        ConfigError::at(text.position, format!("{name} {:?} is not {wanted}", text.value))
    })
}

/// A port that can be connected to.
fn port_number(port: &Placed<Option<i64>>, name: &str) -> Result<u16, ConfigError> {
    let Some(number) = port.value else {
        return Err(ConfigError::at(port.position, format!("{name} is required: 1 to 65535")));
    };
    u16::try_from(number).ok().filter(|number| *number != 0).ok_or_else(|| {
        ConfigError::at(port.position, format!("{name} {number} is not between 1 and 65535"))
    })
}

fn tagged_addresses(
    fields: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<BTreeMap<String, SocketAddr>, ConfigError> {
    let path = fields.path_of("TaggedAddresses");
    let map = fields.map("TaggedAddresses", "tagged_addresses", remarks)?;
    let mut addresses = BTreeMap::new();
    for (tag, Item { value, .. }) in map {
        let mut inner = Fields::of(value, format!("{path}[{tag}]"), remarks)?;
        let address = inner.string("Address", "address", remarks)?;
        let port = inner.integer("Port", "port", remarks)?;
        inner.finish(remarks);
        let what = format!("tagged address {tag:?}: address");
        let ip: IpAddr = required(&address, &what, "an IP address")?;
        let port = port_number(&port, &format!("tagged address {tag:?}: port"))?;
        addresses.insert(tag.to_owned(), SocketAddr::new(ip, port));
    }
    Ok(addresses)
}

fn weights(mut fields: Fields<'_>, remarks: &mut Remarks) -> Result<Weights, ConfigError> {
    let passing = fields.integer("Passing", "passing", remarks)?;
    let warning = fields.integer("Warning", "warning", remarks)?;
    fields.finish(remarks);
    let read = |weight: &Placed<Option<i64>>, name: &str, least: i64| {
        let number = weight.value.unwrap_or(1);
        let legal = u32::try_from(number).ok().filter(|_| (least..=MAX_WEIGHT).contains(&number));
        legal.ok_or_else(|| {
            let text =
                format!("weights: {name} must be between {least} and {MAX_WEIGHT}, not {number}");
            ConfigError::at(weight.position, text)
        })
    };
    Ok(Weights { passing: read(&passing, "passing", 1)?, warning: read(&warning, "warning", 0)? })
}

/// Reads one check; `None` if it is empty, as some clients send it, or of a kind that is refused.
fn check(mut fields: Fields<'_>, remarks: &mut Remarks) -> Result<Option<TcpCheck>, ConfigError> {
    if fields.is_empty() {
        return Ok(None);
    }
    for (canonical, alias) in
        [("CheckID", "check_id"), ("ID", "id"), ("Name", "name"), ("Notes", "notes")]
    {
        fields.string(canonical, alias, remarks)?;
    }
    let position = fields.position();
    let target = fields.string("TCP", "tcp", remarks)?;
    let interval = fields.duration("Interval", "interval", remarks)?;
    let timeout = fields.duration("Timeout", "timeout", remarks)?;
    let mut others = Vec::new();
    for (canonical, alias) in CHECK_KINDS {
        others.extend(fields.present(canonical, alias).map(|position| (position, alias)));
    }
    fields.refuse(&CHECK_LATER, remarks);
    fields.finish(remarks);
    for (position, kind) in &others {
        remarks.refuse(*position, format!("check kind {kind:?} is not supported yet"));
    }
    if !others.is_empty() {
        return Ok(None);
    }
    if target.value.is_empty() {
        return Err(ConfigError::at(
            position,
            "check has no target: tcp = \"ADDRESS:PORT\" is required",
        ));
    }
    let target: SocketAddr = required(&target, "check target", "an IP address and a port")?;
    tcp_check(target, &interval, &timeout).map(Some)
}

fn tcp_check(
    target: SocketAddr,
    interval: &Placed<Option<Duration>>,
    timeout: &Placed<Option<Duration>>,
) -> Result<TcpCheck, ConfigError> {
    let fault = |position: Position, text: &str| Err(ConfigError::at(position, text));
    match interval.value.unwrap_or_default() {
        Duration::ZERO => fault(interval.position, "Interval must be > 0 for TCP checks"),
        short if short < MIN_INTERVAL => fault(interval.position, "check interval is below 10ms"),
        interval => {
            let timeout = timeout.value.filter(|timeout| !timeout.is_zero());
            Ok(TcpCheck { target, interval, timeout: timeout.unwrap_or(DEFAULT_TIMEOUT) })
        }
    }
}
