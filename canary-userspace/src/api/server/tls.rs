//! TLS of the TCP listener.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::{pem, settings};

/// Time that a client may take for its part of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// First byte of a TLS connection: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
/// What a client hears that speaks plain HTTP here, as from Go's servers.
const PLAIN: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\
                       \r\nClient sent an HTTP request to an HTTPS server.\n";

/// The certificate in use, and where the next one comes from.
#[derive(Debug)]
pub(super) struct Tls {
    files: settings::Tls,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub(super) fn load(files: &settings::Tls) -> anyhow::Result<Self> {
        Ok(Self { files: files.clone(), config: RwLock::new(Arc::new(config(files)?)) })
    }

    /// Reads the files again; connections there are stay as they are.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them; the certificate before stays in use.
    pub(super) fn reload(&self) -> anyhow::Result<()> {
        let config = Arc::new(config(&self.files)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    ///
    /// It speaks something else, is too slow, or is not who it must be.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        timeout(HANDSHAKE_TIMEOUT, shake_hands(config, stream))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no handshake")))
    }
}

async fn shake_hands(
    config: Arc<ServerConfig>,
    mut stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE_RECORD] {
        stream.write_all(PLAIN).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no TLS but something else"));
    }
    TlsAcceptor::from(config).accept(stream).await
}

fn config(files: &settings::Tls) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS versions")?;
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(pem::authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let context = || format!("client_ca_file {}", path.display());
            builder.with_client_cert_verifier(verifier.with_context(context)?)
        }
    };
    let certificates = pem::certificates(&files.cert_file)?;
    let key = pem::private_key(&files.key_file)?;
    let mut config = builder
        .with_single_cert(certificates, key)
        .with_context(|| format!("certificate {}", files.cert_file.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
