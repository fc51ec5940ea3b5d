//! Names of targets: looked up by DNS and `/etc/hosts`, each once at a time, and kept for as long as
//! their answers say.
//!
//! The C library's lookups take a thread each for as long as no server answers: checks by names
//! that never resolve would use up those that everything else waits for. NSS is not asked.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpStream;

/// Names that are remembered before those that nobody asks for any more are forgotten.
const MANY: usize = 1024;
/// Time after which a name that nobody asks for is one of those.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// What says which servers are asked.
const CONFIG: &str = "/etc/resolv.conf";

/// Looks names up.
#[derive(Clone)]
pub(super) struct Names(Arc<Shared>);

struct Shared {
    resolver: Mutex<Option<(Option<SystemTime>, Arc<TokioResolver>)>>,
    known: Mutex<HashMap<String, Known>>,
}

/// What is known of a name.
struct Known {
    /// When somebody last asked for it.
    used: Instant,
    /// Held by who looks it up: the others wait for that answer.
    asking: Arc<tokio::sync::Mutex<()>>,
    /// Its last addresses, for while no server answers.
    last: Vec<IpAddr>,
}

impl Default for Names {
    fn default() -> Self {
        Self(Arc::new(Shared { resolver: Mutex::default(), known: Mutex::default() }))
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    /// Opens a connection to `target`, `host:port`, at the first of its addresses that takes one.
    ///
    /// # Errors
    ///
    /// Why it has no address, or what the last of them said.
    pub(super) async fn connect(&self, target: &str) -> io::Result<TcpStream> {
        if let Ok(address) = target.parse::<SocketAddr>() {
            return TcpStream::connect(address).await;
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "not an address with a port");
        let (host, port) = target.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let mut last = no_address(host);
        for address in self.addresses(host).await? {
            match TcpStream::connect((address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The addresses of `host`; those of before where no server answers.
    ///
    /// # Errors
    ///
    /// What the servers said, or that none did.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let asking = Arc::clone(&self.known(host, |known| Arc::clone(&known.asking)));
        // One at a time: who waited finds the answer in the resolver's cache.
        let _asking = asking.lock().await;
        match self.resolver()?.lookup_ip(host).await {
            Ok(found) => {
                let addresses: Vec<IpAddr> = found.iter().collect();
                self.known(host, |known| known.last.clone_from(&addresses));
                if addresses.is_empty() { Err(no_address(host)) } else { Ok(addresses) }
            }
            // The name is not there: that is an answer.
            Err(error) if error.is_nx_domain() => {
                self.known(host, |known| known.last.clear());
                Err(no_address(host))
            }
            Err(error) => {
                let last = self.known(host, |known| known.last.clone());
                let error = || io::Error::other(format!("lookup {host}: {error}"));
                if last.is_empty() { Err(error()) } else { Ok(last) }
            }
        }
    }

    fn known<T>(&self, host: &str, work: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if known.len() > MANY {
            known.retain(|_, known| now < known.used + FORGOTTEN_AFTER);
        }
        let new = || Known { used: now, asking: Arc::default(), last: Vec::new() };
        let one = known.entry(host.to_owned()).or_insert_with(new);
        one.used = now;
        work(one)
    }

    /// The resolver of the servers that the machine names now.
    fn resolver(&self) -> io::Result<Arc<TokioResolver>> {
        let written = fs::metadata(CONFIG).and_then(|metadata| metadata.modified()).ok();
        let mut resolver = self.0.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, resolver)) = &*resolver
            && *since == written
        {
            return Ok(Arc::clone(resolver));
        }
        let new = Arc::new(build().map_err(io::Error::other)?);
        *resolver = Some((written, Arc::clone(&new)));
        Ok(new)
    }
}

/// A resolver of the machine's servers; without any it knows `/etc/hosts` alone.
fn build() -> Result<TokioResolver, NetError> {
    let of_machine = TokioResolver::builder_tokio();
    let builder = of_machine.unwrap_or_else(|error| {
        tracing::warn!(%error, "names of checks are looked up in /etc/hosts alone");
        let config = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    builder.build()
}

fn no_address(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("lookup {host}: no such host"))
}

/// For `http` checks.
impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let addresses = names.addresses(name.as_str()).await?;
            // The port is set by the client.
            let sockets = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            let sockets: Addrs = Box::new(sockets);
            Ok(sockets)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::{RData, Record, RecordType};
    use tokio::net::{TcpListener, UdpSocket};

    use super::*;

    /// A server that knows the names that begin with `known`, has none that begin with `none`, and
    /// never answers for others.
    async fn server() -> (Names, Arc<AtomicUsize>, tokio::task::AbortHandle) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let query = question.queries[0].clone();
                let name = query.name().to_string();
                count.fetch_add(1, Ordering::Relaxed);
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.add_query(query.clone());
                if name.starts_with("known") {
                    if query.query_type() == RecordType::A {
                        let address = RData::A("127.0.0.1".parse().unwrap());
                        answer.add_answer(Record::from_rdata(query.name().clone(), 1, address));
                    }
                } else if name.starts_with("none") {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                } else {
                    continue;
                }
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = at.port();
        let server = NameServerConfig::new(at.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().timeout = Duration::from_millis(300);
        builder.options_mut().attempts = 1;
        let names = Names::default();
        let written = fs::metadata(CONFIG).and_then(|metadata| metadata.modified()).ok();
        *names.0.resolver.lock().unwrap() = Some((written, Arc::new(builder.build().unwrap())));
        (names, asked, task.abort_handle())
    }

    #[tokio::test]
    async fn names_that_never_resolve_hold_nobody_up_and_each_is_asked_once_at_a_time() {
        let (names, asked, _server) = server().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stuck: Vec<_> = (0..600)
            .map(|number| {
                let names = names.clone();
                tokio::spawn(async move { names.addresses(&format!("stuck{number}.test.")).await })
            })
            .collect();

        names.connect(&format!("known.test.:{port}")).await.unwrap();

        assert!(stuck.iter().any(|task| !task.is_finished()), "all of them were answered");
        stuck.iter().for_each(tokio::task::JoinHandle::abort);
        let before = asked.load(Ordering::Relaxed);
        let twice =
            futures_util::future::join_all((0..20).map(|_| names.addresses("known-too.test.")));
        assert!(twice.await.iter().all(Result::is_ok));
        let questions = asked.load(Ordering::Relaxed) - before;
        assert!(questions <= 600 + 2, "an A and an AAAA, not {questions}");
        let error = names.addresses("none.test.").await.unwrap_err();
        assert!(error.to_string().contains("no such host"), "{error}");
    }

    #[tokio::test]
    async fn while_no_server_answers_the_last_addresses_count() {
        let (names, _, server) = server().await;
        let known = names.addresses("known.test.").await.unwrap();
        server.abort();
        // Its time to live is a second.
        tokio::time::sleep(Duration::from_millis(1100)).await;

        assert_eq!(names.addresses("known.test.").await.unwrap(), known);
        assert!(names.addresses("known-not.test.").await.is_err());
    }

    #[tokio::test]
    async fn an_address_is_looked_up_nowhere() {
        let (names, asked, _server) = server().await;
        for text in ["127.0.0.1", "::1", "[::1]"] {
            assert_eq!(names.addresses(text).await.unwrap().len(), 1, "{text}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }
}
