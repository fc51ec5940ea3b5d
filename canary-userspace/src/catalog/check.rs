//! Checks: how they are defined, and how they stand.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::Health;

/// Id of the check that a node in maintenance mode has.
pub const NODE_MAINTENANCE: &str = "_node_maintenance";
/// What the id of the check begins with that an instance in maintenance mode has.
pub const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// A check as it is defined.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// Identity on the node.
    pub id: Arc<str>,
    /// Name for people.
    pub name: Arc<str>,
    /// Free text.
    pub notes: Box<str>,
    /// What is asked, and how.
    pub probe: Probe,
    /// Time between the starts of two probes; zero where nothing is probed.
    pub interval: Duration,
    /// How long one probe may take; zero where nothing is probed.
    pub timeout: Duration,
    /// How many results in a row it takes to change the state.
    pub thresholds: Thresholds,
    /// The instance is deregistered when the check has been critical for so long.
    pub deregister_after: Option<Duration>,
    /// Whether the connection is encrypted; of `http` checks the URL says that.
    pub tls: Tls,
    /// State until the first result.
    pub initial: Health,
}

/// What a check asks. Boxed where it is large: ten thousand instances may have one each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Passing while a connection to `host:port` can be opened.
    Tcp(Box<str>),
    /// Passing while a request is answered with 2xx; 429 warns.
    Http(Box<HttpProbe>),
    /// Passing while the gRPC health service says `SERVING`.
    Grpc(Box<GrpcProbe>),
    /// Passing for so long after somebody has said so.
    Ttl(Duration),
    /// Critical for as long as it exists.
    Maintenance,
}

/// The request of an `http` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// Where to.
    pub url: Box<str>,
    /// `GET` where none is given.
    pub method: Box<str>,
    /// Headers in the order of their names; a name may come several times.
    pub headers: Box<[Header]>,
    /// What is sent.
    pub body: Box<str>,
    /// An answer that leads elsewhere is the answer.
    pub stay: bool,
    /// Bytes of an answer that are shown.
    pub shown: u16,
}

/// Name and value of an HTTP header.
pub type Header = (Box<str>, Box<str>);

/// The question of a `grpc` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrpcProbe {
    /// Where to, `host:port`.
    pub target: Box<str>,
    /// The service asked about; empty for the whole server.
    pub service: Box<str>,
}

/// Results in a row before the state changes; the first result counts at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Good results before it passes.
    pub passing: u16,
    /// Failures before it warns.
    pub warning: u16,
    /// Failures before it is critical.
    pub critical: u16,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tls {
    /// Not at all.
    #[default]
    Off,
    /// By a certificate that the machine trusts.
    Verified,
    /// By any certificate.
    Unverified,
}

/// A check on its own: of the node, or of an instance by its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoneCheck {
    /// The check.
    pub check: Arc<Check>,
    /// Id of the instance; empty for the whole node.
    pub service_id: Box<str>,
}

/// A check of an instance or of its node, as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CheckState {
    /// Identity on the node.
    pub id: Arc<str>,
    /// Name for people.
    pub name: Arc<str>,
    /// Its state.
    pub status: Health,
    /// Free text from the definition.
    pub notes: Box<str>,
    /// What the last probe said.
    pub output: Box<str>,
    /// `tcp`, `http`, `ttl`, `grpc`, or what the source calls it; empty if it does not say.
    pub kind: Cow<'static, str>,
    /// Time between two probes; zero where there are none.
    pub interval: Duration,
    /// How long a probe may take; zero where there are none.
    pub timeout: Duration,
    /// It is about the whole node, not about this instance.
    pub of_node: bool,
}

impl Check {
    /// How the check stands with this result.
    #[must_use]
    pub fn state(&self, of_node: bool, status: Health, output: Box<str>) -> CheckState {
        CheckState {
            id: Arc::clone(&self.id),
            name: Arc::clone(&self.name),
            status,
            notes: self.notes.clone(),
            output,
            kind: Cow::Borrowed(self.probe.kind()),
            interval: self.interval,
            timeout: self.timeout,
            of_node,
        }
    }

    /// What it is that the check watches: a result holds for as long as this is the same.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.probe {
            Probe::Tcp(target) => format!("tcp {target}"),
            Probe::Http(http) => format!("http {} {}", http.method, http.url),
            Probe::Grpc(grpc) => format!("grpc {}", grpc.shown()),
            Probe::Ttl(_) | Probe::Maintenance => self.probe.kind().to_owned(),
        }
    }
}

impl Probe {
    /// The kind in Consul's words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
            Self::Ttl(_) => "ttl",
            Self::Maintenance => "maintenance",
        }
    }
}

impl GrpcProbe {
    /// As it is written: `host:port`, and the service where there is one.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.service.is_empty() {
            self.target.to_string()
        } else {
            format!("{}/{}", self.target, self.service)
        }
    }
}

impl LoneCheck {
    /// The check that takes an instance or, with no id, the whole node out of service.
    #[must_use]
    pub fn maintenance(service_id: &str, reason: &str) -> Self {
        let (id, name, what) = if service_id.is_empty() {
            (NODE_MAINTENANCE.to_owned(), "Node Maintenance Mode", "node")
        } else {
            (format!("{SERVICE_MAINTENANCE}{service_id}"), "Service Maintenance Mode", "service")
        };
        let notes = if reason.is_empty() {
            format!(
                "Maintenance mode is enabled for this {what}, but no reason was provided. \
                 This is a default message."
            )
        } else {
            reason.to_owned()
        };
        let check = Check {
            id: id.into(),
            name: name.into(),
            notes: notes.into(),
            probe: Probe::Maintenance,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            thresholds: Thresholds::default(),
            deregister_after: None,
            tls: Tls::Off,
            initial: Health::Critical,
        };
        Self { check: Arc::new(check), service_id: service_id.into() }
    }

    /// Whether it is a maintenance mode.
    #[must_use]
    pub fn is_maintenance(&self) -> bool {
        self.check.probe == Probe::Maintenance
    }

    /// Whether it is about the whole node.
    #[must_use]
    pub fn of_node(&self) -> bool {
        self.service_id.is_empty()
    }
}

impl Health {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Passing => "passing",
        }
    }

    /// The health that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Critical, Self::Warning, Self::Passing]
            .into_iter()
            .find(|health| health.as_str() == word)
    }

    /// The worst of `checks`; without any, all is well.
    #[must_use]
    pub fn worst(checks: &[Arc<CheckState>]) -> Self {
        checks.iter().map(|check| check.status).min().unwrap_or(Self::Passing)
    }
}
