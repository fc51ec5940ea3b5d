//! What can be filtered: the fields of each kind of document, as Consul's types have them.

use super::schema::{Fields, Type};
use Type::{List, Map, Names, Nanoseconds, Natural, Real, Record, Text, Truth, Whole, Words};

/// A kind of document that filters are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An instance with its node and its checks: subsets, `/v1/health/service`.
    Instance,
    /// An instance alone: `/v1/agent/services`.
    Service,
    /// A check: `/v1/agent/checks`, `/v1/health/checks`, `/v1/health/state`, `/v1/health/node`.
    Check,
    /// An instance and its node in one flat row: `/v1/catalog/service`.
    CatalogService,
    /// A node: `/v1/catalog/nodes`.
    Node,
    /// A `service-resolver`.
    Resolver,
    /// A `service-splitter`.
    Splitter,
    /// A `service-defaults`.
    ServiceDefaults,
    /// A `proxy-defaults`.
    ProxyDefaults,
    /// A config entry of any other kind.
    OtherEntry,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 10] = [
        Self::Instance,
        Self::Service,
        Self::Check,
        Self::CatalogService,
        Self::Node,
        Self::Resolver,
        Self::Splitter,
        Self::ServiceDefaults,
        Self::ProxyDefaults,
        Self::OtherEntry,
    ];

    /// The shape of config entries of `kind`.
    #[must_use]
    pub fn of_entries(kind: &str) -> Self {
        match kind {
            "service-resolver" => Self::Resolver,
            "service-splitter" => Self::Splitter,
            "service-defaults" => Self::ServiceDefaults,
            "proxy-defaults" => Self::ProxyDefaults,
            _ => Self::OtherEntry,
        }
    }

    /// Its fields, in two parts: those that it shares with others, and its own.
    pub(super) fn fields(self) -> [&'static Fields; 2] {
        match self {
            Self::Instance => [&[], INSTANCE],
            Self::Service => [&[], SERVICE],
            Self::Check => [&[], CHECK],
            Self::CatalogService => [&[], CATALOG_SERVICE],
            Self::Node => [&[], NODE],
            Self::Resolver => [ENTRY, RESOLVER],
            Self::Splitter => [ENTRY, SPLITTER],
            Self::ServiceDefaults => [ENTRY, SERVICE_DEFAULTS],
            Self::ProxyDefaults => [ENTRY, PROXY_DEFAULTS],
            Self::OtherEntry => [ENTRY, &[]],
        }
    }
}

const INSTANCE: &Fields =
    &[("Node", Record(NODE)), ("Service", Record(SERVICE)), ("Checks", List(CHECK))];

const NODE: &Fields = &[
    ("ID", Text),
    ("Node", Text),
    ("Address", Text),
    ("Datacenter", Text),
    ("Partition", Text),
    ("PeerName", Text),
    ("TaggedAddresses", Map(&Text)),
    ("Meta", Map(&Text)),
];

const SERVICE: &Fields = &[
    ("Kind", Text),
    ("ID", Text),
    ("Service", Text),
    ("Tags", Words),
    ("Address", Text),
    ("TaggedAddresses", Map(&Record(ADDRESS))),
    ("Meta", Map(&Text)),
    ("Port", Whole),
    ("SocketPath", Text),
    ("Weights", Record(WEIGHTS)),
    ("EnableTagOverride", Truth),
    ("Proxy", Record(PROXY)),
    ("Connect", Record(CONNECT)),
    ("PeerName", Text),
];

const CATALOG_SERVICE: &Fields = &[
    ("ID", Text),
    ("Node", Text),
    ("Address", Text),
    ("Datacenter", Text),
    ("TaggedAddresses", Map(&Text)),
    ("NodeMeta", Map(&Text)),
    ("ServiceKind", Text),
    ("ServiceID", Text),
    ("ServiceName", Text),
    ("ServiceTags", Words),
    ("ServiceAddress", Text),
    ("ServiceTaggedAddresses", Map(&Record(ADDRESS))),
    ("ServiceMeta", Map(&Text)),
    ("ServicePort", Whole),
    ("ServiceSocketPath", Text),
    ("ServiceWeights", Record(WEIGHTS)),
    ("ServiceEnableTagOverride", Truth),
    ("ServiceProxy", Record(PROXY)),
    ("ServiceConnect", Record(CONNECT)),
    ("PeerName", Text),
];

const CHECK: &Fields = &[
    ("Node", Text),
    ("CheckID", Text),
    ("Name", Text),
    ("Status", Text),
    ("Notes", Text),
    ("Output", Text),
    ("ServiceID", Text),
    ("ServiceName", Text),
    ("ServiceTags", Words),
    ("Type", Text),
    ("Interval", Text),
    ("Timeout", Text),
    ("ExposedPort", Whole),
    ("PeerName", Text),
];

const ADDRESS: &Fields = &[("Address", Text), ("Port", Whole)];

const WEIGHTS: &Fields = &[("Passing", Whole), ("Warning", Whole)];

const CONNECT: &Fields = &[("Native", Truth)];

const PROXY: &Fields = &[
    ("DestinationServiceName", Text),
    ("DestinationServiceID", Text),
    ("LocalServiceAddress", Text),
    ("LocalServicePort", Whole),
    ("LocalServiceSocketPath", Text),
    ("Mode", Text),
    ("Upstreams", List(UPSTREAM)),
    ("MeshGateway", Record(MODE)),
    ("Expose", Record(EXPOSE)),
    ("TransparentProxy", Record(TRANSPARENT)),
];

const UPSTREAM: &Fields = &[
    ("DestinationType", Text),
    ("DestinationNamespace", Text),
    ("DestinationPartition", Text),
    ("DestinationPeer", Text),
    ("DestinationName", Text),
    ("Datacenter", Text),
    ("LocalBindAddress", Text),
    ("LocalBindPort", Whole),
    ("LocalBindSocketPath", Text),
    ("LocalBindSocketMode", Text),
    ("MeshGateway", Record(MODE)),
];

const MODE: &Fields = &[("Mode", Text)];

const EXPOSE: &Fields = &[("Checks", Truth), ("Paths", List(EXPOSED_PATH))];

const EXPOSED_PATH: &Fields = &[
    ("ListenerPort", Whole),
    ("Path", Text),
    ("LocalPathPort", Whole),
    ("Protocol", Text),
    ("ParsedFromCheck", Truth),
];

const TRANSPARENT: &Fields = &[("OutboundListenerPort", Whole), ("DialedDirectly", Truth)];

const ENTRY: &Fields = &[
    ("Kind", Text),
    ("Name", Text),
    ("Meta", Map(&Text)),
    ("CreateIndex", Natural),
    ("ModifyIndex", Natural),
];

const RESOLVER: &Fields = &[
    ("DefaultSubset", Text),
    ("Subsets", Map(&Record(SUBSET))),
    ("Redirect", Record(TARGET)),
    ("Failover", Map(&Record(FAILOVER))),
    ("ConnectTimeout", Nanoseconds),
    ("RequestTimeout", Nanoseconds),
    ("LoadBalancer", Record(LOAD_BALANCER)),
];

const SUBSET: &Fields = &[("Filter", Text), ("OnlyPassing", Truth)];

const TARGET: &Fields = &[
    ("Service", Text),
    ("ServiceSubset", Text),
    ("Namespace", Text),
    ("Partition", Text),
    ("Datacenter", Text),
    ("Peer", Text),
    ("SamenessGroup", Text),
];

const FAILOVER: &Fields = &[
    ("Service", Text),
    ("ServiceSubset", Text),
    ("Namespace", Text),
    ("Datacenters", Words),
    ("Targets", List(TARGET)),
    ("SamenessGroup", Text),
];

const LOAD_BALANCER: &Fields = &[
    ("Policy", Text),
    ("RingHashConfig", Record(RING_HASH)),
    ("LeastRequestConfig", Record(LEAST_REQUEST)),
    ("HashPolicies", List(HASH_POLICY)),
];

const RING_HASH: &Fields = &[("MinimumRingSize", Natural), ("MaximumRingSize", Natural)];

const LEAST_REQUEST: &Fields = &[("ChoiceCount", Natural)];

const HASH_POLICY: &Fields = &[
    ("Field", Text),
    ("FieldValue", Text),
    ("CookieConfig", Record(COOKIE)),
    ("SourceIP", Truth),
    ("Terminal", Truth),
];

const COOKIE: &Fields = &[("Session", Truth), ("TTL", Nanoseconds), ("Path", Text)];

const SPLITTER: &Fields = &[("Splits", List(SPLIT))];

const SPLIT: &Fields = &[
    ("Weight", Real),
    ("Service", Text),
    ("ServiceSubset", Text),
    ("Namespace", Text),
    ("Partition", Text),
];

const SERVICE_DEFAULTS: &Fields = &[
    ("Protocol", Text),
    ("Mode", Text),
    ("MutualTLSMode", Text),
    ("TransparentProxy", Record(TRANSPARENT)),
    ("MeshGateway", Record(MODE)),
    ("Expose", Record(EXPOSE)),
    ("ExternalSNI", Text),
    ("Destination", Record(DESTINATION)),
    ("MaxInboundConnections", Whole),
    ("LocalConnectTimeoutMs", Whole),
    ("LocalRequestTimeoutMs", Whole),
    ("BalanceInboundConnections", Text),
];

const DESTINATION: &Fields = &[("Addresses", Words), ("Port", Whole)];

const PROXY_DEFAULTS: &Fields = &[
    ("Config", Names),
    ("Mode", Text),
    ("MutualTLSMode", Text),
    ("TransparentProxy", Record(TRANSPARENT)),
    ("MeshGateway", Record(MODE)),
    ("Expose", Record(EXPOSE)),
];
