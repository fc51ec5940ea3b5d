//! Encrypted connections of probes: whom they trust.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The two ways to judge a server, each made when it is first needed: the certificates that a
/// machine trusts are many.
#[derive(Debug, Default)]
pub(super) struct Trust {
    verified: OnceCell<ClientConfig>,
    unverified: OnceCell<ClientConfig>,
}

impl Trust {
    /// A client's settings.
    ///
    /// # Errors
    ///
    /// Why they cannot be made.
    pub(super) async fn settings(&self, unverified: bool) -> io::Result<ClientConfig> {
        let cell = if unverified { &self.unverified } else { &self.verified };
        // Files are read, and the agent has one thread.
        let make = async || tokio::task::spawn_blocking(move || make(unverified)).await?;
        cell.get_or_try_init(make).await.cloned()
    }

    /// Encrypts `stream`, a connection to `target`, for one of `protocols` if any are given.
    ///
    /// # Errors
    ///
    /// Why the two ends do not agree, or the server is not trusted.
    pub(super) async fn handshake(
        &self,
        target: &str,
        stream: TcpStream,
        unverified: bool,
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut settings = self.settings(unverified).await?;
        settings.alpn_protocols =
            protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(settings)).connect(name, stream).await
    }
}

fn make(unverified: bool) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    if unverified {
        let verifier = Arc::new(AnyCertificate(provider));
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        return Ok(builder.with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Trusts every certificate whose key the server proves to have: `tls_skip_verify`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
