//! What of Consul's `connect` block is done without a sidecar: upstreams, at loopback addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::port_number;
use crate::catalog::Upstream;
use crate::error::ConfigError;
use crate::syntax::{Fields, Remarks};

/// Fields of `connect` that mean something else.
const CONNECT_LATER: [(&str, &str); 1] = [("Native", "native")];

/// Fields of a sidecar's service: there is no sidecar.
const SIDECAR_LATER: [(&str, &str); 12] = [
    ("Name", "name"),
    ("ID", "id"),
    ("Kind", "kind"),
    ("Address", "address"),
    ("Port", "port"),
    ("Tags", "tags"),
    ("Meta", "meta"),
    ("Check", "check"),
    ("Checks", "checks"),
    ("Weights", "weights"),
    ("TaggedAddresses", "tagged_addresses"),
    ("Token", "token"),
];

/// Fields of its proxy: there is none.
const PROXY_LATER: [(&str, &str); 10] = [
    ("DestinationServiceName", "destination_service_name"),
    ("DestinationServiceID", "destination_service_id"),
    ("LocalServiceAddress", "local_service_address"),
    ("LocalServicePort", "local_service_port"),
    ("LocalServiceSocketPath", "local_service_socket_path"),
    ("Mode", "mode"),
    ("TransparentProxy", "transparent_proxy"),
    ("Config", "config"),
    ("MeshGateway", "mesh_gateway"),
    ("Expose", "expose"),
];

/// Fields of an upstream that need a proxy, or another datacenter.
const UPSTREAM_LATER: [(&str, &str); 8] = [
    ("DestinationNamespace", "destination_namespace"),
    ("DestinationPartition", "destination_partition"),
    ("DestinationPeer", "destination_peer"),
    ("Datacenter", "datacenter"),
    ("LocalBindSocketPath", "local_bind_socket_path"),
    ("LocalBindSocketMode", "local_bind_socket_mode"),
    ("Config", "config"),
    ("MeshGateway", "mesh_gateway"),
];

/// Reads the upstreams of a `connect` block.
///
/// # Errors
///
/// What is missing, no loopback address, no port, or given twice; what needs a sidecar goes to
/// `remarks`.
pub(super) fn of_connect(
    mut connect: Fields<'_>,
    remarks: &mut Remarks,
) -> Result<Vec<Upstream>, ConfigError> {
    let mut upstreams = Vec::new();
    if let Some(mut sidecar) = connect.object("SidecarService", "sidecar_service", remarks)? {
        if let Some(proxy) = sidecar.object("Proxy", "proxy", remarks)? {
            upstreams = of_proxy(proxy, remarks)?;
        }
        sidecar.refuse(&SIDECAR_LATER, remarks);
        sidecar.finish(remarks);
    }
    connect.refuse(&CONNECT_LATER, remarks);
    connect.finish(remarks);
    Ok(upstreams)
}

fn of_proxy(mut proxy: Fields<'_>, remarks: &mut Remarks) -> Result<Vec<Upstream>, ConfigError> {
    let path = proxy.path_of("Upstreams");
    let mut upstreams = Vec::new();
    let mut taken: BTreeMap<(IpAddr, u16), String> = BTreeMap::new();
    for element in proxy.list("Upstreams", "upstreams", remarks) {
        let fields = Fields::of(element, path.as_str(), remarks)?;
        let position = fields.position();
        let upstream = of_fields(fields, remarks)?;
        for address in upstream.addresses() {
            let place = (address, upstream.port);
            if let Some(other) = taken.insert(place, upstream.destination.clone()) {
                let text = format!(
                    "upstreams {other:?} and {:?} are both bound to {address} port {}",
                    upstream.destination, upstream.port
                );
                return Err(ConfigError::at(position, text));
            }
        }
        upstreams.push(upstream);
    }
    proxy.refuse(&PROXY_LATER, remarks);
    proxy.finish(remarks);
    Ok(upstreams)
}

fn of_fields(mut fields: Fields<'_>, remarks: &mut Remarks) -> Result<Upstream, ConfigError> {
    let kind = fields.string("DestinationType", "destination_type", remarks)?;
    if !matches!(kind.value.as_str(), "" | "service") {
        remarks
            .refuse(kind.position, format!("destination_type {:?} is not supported", kind.value));
    }
    let name = fields.string("DestinationName", "destination_name", remarks)?;
    if name.value.is_empty() {
        let text = "upstream destination_name cannot be empty";
        return Err(ConfigError::at(name.position, text).of_rule());
    }
    let address = fields.string("LocalBindAddress", "local_bind_address", remarks)?;
    let port = fields.integer("LocalBindPort", "local_bind_port", remarks)?;
    fields.refuse(&UPSTREAM_LATER, remarks);
    fields.finish(remarks);
    let bound: Option<IpAddr> = match address.value.as_str() {
        "" => None,
        text => {
            let loopback = text.parse::<IpAddr>().ok().filter(IpAddr::is_loopback);
            let wanted = || {
                let text = format!("local_bind_address {text:?} is not a loopback address");
                ConfigError::at(address.position, text)
            };
            Some(loopback.ok_or_else(wanted)?)
        }
    };
    Ok(Upstream {
        destination: name.value,
        address: bound,
        port: port_number(&port, "local_bind_port")?,
    })
}

#[cfg(test)]
mod tests {
    use crate::catalog::{parse_registration, to_definition};

    fn upstreams(text: &str) -> String {
        let body = format!(
            "name = \"web\" address = \"10.1.1.1\" port = 80\n\
             connect {{ sidecar_service {{ proxy {{ {text} }} }} }}\n"
        );
        match parse_registration(body.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(instance) => {
                let again = to_definition(&instance).to_string();
                assert_eq!(parse_registration(again.as_bytes()).as_ref(), Ok(&instance));
                let shown = instance.upstreams.iter().map(|upstream| {
                    let addresses: Vec<_> =
                        upstream.addresses().map(|address| address.to_string()).collect();
                    format!("{} {} {}", upstream.destination, addresses.join("+"), upstream.port)
                });
                shown.collect::<Vec<_>>().join(", ")
            }
        }
    }

    #[test]
    fn an_upstream_has_a_port_at_a_loopback_address() {
        let both = "upstreams = [{ destination_name = \"payments\", local_bind_port = 9091 }]";
        assert_eq!(upstreams(both), "payments 127.0.0.1+::1 9091");
        let blocks = "upstreams { destination_name = \"payments\" local_bind_port = 9091 \
                      local_bind_address = \"127.0.0.1\" destination_type = \"service\" }\n\
                      upstreams { destination_name = \"currency\" local_bind_port = 9091 \
                      local_bind_address = \"::1\" }";
        assert_eq!(upstreams(blocks), "payments 127.0.0.1 9091, currency ::1 9091");
        assert_eq!(upstreams(""), "");
    }

    #[test]
    fn what_needs_a_sidecar_or_has_no_place_is_refused_by_name() {
        for (text, expected) in [
            ("upstreams = [{ local_bind_port = 1 }]", "destination_name cannot be empty"),
            ("upstreams = [{ destination_name = \"a\" }]", "local_bind_port is required"),
            ("upstreams = [{ destination_name = \"a\" local_bind_port = 70000 }]", "70000"),
            (
                "upstreams = [{ destination_name = \"a\" local_bind_port = 1 \
                 local_bind_address = \"10.0.0.1\" }]",
                "\"10.0.0.1\" is not a loopback address",
            ),
            (
                "upstreams = [{ destination_name = \"a\" local_bind_port = 1 }, \
                 { destination_name = \"b\" local_bind_port = 1 local_bind_address = \"::1\" }]",
                "\"a\" and \"b\" are both bound to ::1 port 1",
            ),
            (
                "upstreams = [{ destination_name = \"a\" local_bind_port = 1 datacenter = \"b\" }]",
                "datacenter is not supported yet",
            ),
            (
                "upstreams = [{ destination_name = \"a\" local_bind_port = 1 \
                 destination_type = \"prepared_query\" }]",
                "\"prepared_query\" is not supported",
            ),
            ("config { a = 1 }", "config is not supported yet"),
            ("nothing = 1", "nothing"),
        ] {
            let said = upstreams(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
        let native = "name = \"web\" address = \"::1\" port = 1 connect { native = true }";
        let said = parse_registration(native.as_bytes()).unwrap_err().to_string();
        assert!(said.contains("native is not supported yet"), "{said}");
    }
}
