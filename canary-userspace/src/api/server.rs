//! Listening: the socket and, where wanted, a TCP port.

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::author::Peer;

/// Mode of the socket: its owner and its group may use the agent.
const SOCKET_MODE: u32 = 0o660;
/// Connections at once, over each listener.
const MAX_CONNECTIONS: usize = 256;
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

/// The running server; dropping it ends it and removes the socket.
#[derive(Debug)]
pub struct Server {
    _tasks: JoinSet<()>,
    path: PathBuf,
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

    /// Serves `router` on all of them.
    #[must_use]
    pub fn serve(self, router: Router) -> Server {
        let Self { unix, path, tcp } = self;
        let mut tasks = JoinSet::new();
        if let Some(tcp) = tcp {
            let accept = async move |listener: &TcpListener| {
                listener.accept().await.map(|(stream, address)| (stream, Peer::Tcp(address)))
            };
            let router = router.clone();
            tasks.spawn(async move { accept_all(&tcp, accept, router).await });
        }
        let accept = async move |listener: &UnixListener| {
            let (stream, _) = listener.accept().await?;
            let peer = Peer::of(&stream);
            Ok((stream, peer))
        };
        tasks.spawn(async move { accept_all(&unix, accept, router).await });
        Server { _tasks: tasks, path }
    }
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

async fn accept_all<L, S>(
    listener: &L,
    accept: impl AsyncFn(&L) -> io::Result<(S, Peer)>,
    router: Router,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.call(request)
        });
        connections.spawn(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a client's connection ended");
            }
            drop(permit);
        });
    }
}
