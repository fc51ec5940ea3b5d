//! Listening: the socket and, where wanted, a TCP port.

mod patience;
mod tls;

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::patience::Patience;
use self::tls::Tls;
use super::author::Peer;
use super::gate::Gate;
use crate::settings;

/// Mode of the socket: its owner and its group may use the agent.
const SOCKET_MODE: u32 = 0o660;
/// Descriptors kept for everything but clients: probes of checks, files, the tables.
const OTHER_DESCRIPTORS: u64 = 1024;
/// Clients at once over each listener, however few descriptors there are.
const MIN_CONNECTIONS: usize = 64;
/// Time for which a client may take nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head, and of what is kept of an answer before it is sent.
const MAX_BUFFER: usize = 64 << 10;
/// Time that a client may take for the head of a request, and that it may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept: most likely no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bound sockets that nobody serves yet.
#[derive(Debug)]
pub struct Listeners {
    unix: UnixListener,
    path: PathBuf,
    tcp: Option<TcpListener>,
}

/// Who may come in, and how.
#[derive(Debug)]
pub struct Security {
    /// Tokens.
    pub gate: Arc<Gate>,
    /// TLS over TCP, where wanted.
    tls: Option<Arc<Tls>>,
}

impl Security {
    /// Reads tokens and certificates.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub fn load(settings: &settings::Api) -> anyhow::Result<Self> {
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        Ok(Self { gate: Arc::new(Gate::open(settings)?), tls })
    }
}

/// The running server; dropping it ends it and removes the socket.
#[derive(Debug)]
pub struct Server {
    _tasks: JoinSet<()>,
    tls: Option<Arc<Tls>>,
    path: PathBuf,
}

impl Server {
    /// Reads the certificate again, if there is one. A broken one is said and not used.
    pub fn reload(&self) {
        let Some(tls) = &self.tls else { return };
        match tls.reload() {
            Ok(()) => tracing::info!("certificate of the API read again"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(%error, "the certificate of the API stays as it was");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A socket that is left behind is removed by the next start.
        _ = fs::remove_file(&self.path);
    }
}

impl Listeners {
    /// Binds the socket at `path` and, where wanted, the TCP port.
    ///
    /// # Errors
    ///
    /// Another agent answers there, or the machine refuses.
    pub async fn bind(path: &Path, http: Option<SocketAddr>) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            let context = || format!("make {}", directory.display());
            fs::create_dir_all(directory).with_context(context)?;
        }
        clear(path).await?;
        let context = || format!("listen on {}", path.display());
        let unix = UnixListener::bind(path).with_context(context)?;
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).with_context(context)?;
        let tcp = match http {
            None => None,
            Some(address) => {
                let context = || format!("listen on {address}");
                Some(TcpListener::bind(address).await.with_context(context)?)
            }
        };
        Ok(Self { unix, path: path.to_owned(), tcp })
    }

    /// Serves `router` on all of them, to `max_connections` clients at once over each.
    #[must_use]
    pub fn serve(self, router: Router, security: Security, max_connections: usize) -> Server {
        let Self { unix, path, tcp } = self;
        let tls = security.tls;
        let listeners = 1 + u64::from(tcp.is_some());
        let max_connections = with_descriptors(max_connections, listeners);
        let mut tasks = JoinSet::new();
        if let Some(tcp) = tcp {
            let accept = async |listener: &TcpListener| {
                let (stream, peer) = listener.accept().await?;
                Ok((stream, Peer::Tcp(peer)))
            };
            let (router, tls) = (router.clone(), tls.clone());
            let serve = move |stream: TcpStream, peer| {
                let (router, tls) = (router.clone(), tls.clone());
                async move {
                    match tls {
                        None => serve_one(stream, peer, router).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve_one(stream, peer, router).await,
                            Err(error) => tracing::debug!(%error, "a client came without TLS"),
                        },
                    }
                }
            };
            tasks.spawn(async move { accept_all(&tcp, accept, serve, max_connections).await });
        }
        let accept = async |listener: &UnixListener| {
            let (stream, _) = listener.accept().await?;
            let peer = Peer::of(&stream);
            Ok((stream, peer))
        };
        let serve = move |stream: UnixStream, peer| serve_one(stream, peer, router.clone());
        tasks.spawn(async move { accept_all(&unix, accept, serve, max_connections).await });
        Server { _tasks: tasks, tls, path }
    }
}

/// Raises the limit of descriptors for `clients` on each of `listeners`, and returns for how many
/// there are some: a client that finds none would take them from the agent itself.
fn with_descriptors(clients: usize, listeners: u64) -> usize {
    let wanted = u64::try_from(clients).unwrap_or(u64::MAX).saturating_mul(listeners);
    let wanted = wanted.saturating_add(OTHER_DESCRIPTORS);
    let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return clients };
    let raised =
        [(wanted, most.max(wanted)), (wanted.min(most), most)].into_iter().find(|(soft, hard)| {
            *soft > now && setrlimit(Resource::RLIMIT_NOFILE, *soft, *hard).is_ok()
        });
    let limit = raised.map_or(now, |(soft, _)| soft);
    if limit >= wanted {
        return clients;
    }
    let each = limit.saturating_sub(OTHER_DESCRIPTORS).checked_div(listeners).unwrap_or(0);
    let each = usize::try_from(each).unwrap_or(usize::MAX).max(MIN_CONNECTIONS);
    tracing::warn!(limit, "only {each} clients at once: the limit of open files is low");
    each.min(clients)
}

/// Removes a socket that a dead agent left behind.
async fn clear(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look at {shown}")),
        Ok(found) if !found.file_type().is_socket() => bail!("{shown} is there and is no socket"),
        Ok(_) => {}
    }
    if UnixStream::connect(path).await.is_ok() {
        bail!("another agent answers on {shown}");
    }
    fs::remove_file(path).with_context(|| format!("remove {shown}"))
}

async fn accept_all<L, S, F: Future<Output = ()> + Send + 'static>(
    listener: &L,
    accept: impl AsyncFn(&L) -> io::Result<(S, Peer)>,
    serve: impl Fn(S, Peer) -> F,
    max_connections: usize,
) {
    let permits = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accept(listener).await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let served = serve(stream, peer);
        connections.spawn(async move {
            served.await;
            drop(permit);
        });
    }
}

async fn serve_one<S>(stream: S, peer: Peer, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let stream = Patience::new(stream, WRITE_TIMEOUT);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client's connection ended");
    }
}
