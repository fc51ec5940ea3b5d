//! Tokens and TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::api::Security;
use crate::ctl::{self, console::Console};
use crate::settings::{Api, Tls};

/// An agent over TCP, with more in its settings file.
async fn start(place: &Place, more: &str) -> (Running, SocketAddr) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = place.dir.path().join("agent.conf");
    fs::write(&file, format!("http = \"{port}\"\n{more}")).unwrap();
    let agent = place.try_start_with(&["--config", file.to_str().unwrap()]).await;
    (agent, port)
}

/// Asks over TCP, in plain text.
async fn ask(at: SocketAddr, method: &str, path: &str, headers: &str) -> String {
    let stream = TcpStream::connect(at).await.unwrap();
    talk(stream, method, path, headers).await.unwrap()
}

async fn talk<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    mut stream: S,
    method: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<String> {
    let body = if method == "PUT" { resolver() } else { String::new() };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\
         {headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_token_opens_what_its_policy_says_and_the_socket_needs_none() {
    let place = Place::with_payments();
    let secret = place.dir.path().join("secret");
    fs::write(&secret, "can-write\n").unwrap();
    let (agent, at) = start(
        &place,
        &format!(
            "token \"looker\" {{\n  secret = \"can-read\"\n  policy = \"read\"\n}}\n\
             token \"ci\" {{\n  secret_file = {secret:?}\n  policy = \"write\"\n}}\n"
        ),
    )
    .await;
    let anonymous = "Permission denied: anonymous token lacks permission 'agent:read'";
    let read_only = "Permission denied: token \"looker\" lacks permission 'agent:write'";

    for (method, path, headers, status, text) in [
        ("GET", "/v1/catalog/services", "", 403, anonymous),
        ("GET", "/v1/catalog/services?token=can-read", "", 403, anonymous),
        ("GET", "/metrics", "", 403, anonymous),
        ("GET", "/v1/nowhere", "", 403, anonymous),
        ("GET", "/v1/status/leader", "", 200, "8300"),
        ("GET", "/v1/catalog/services", "X-Consul-Token: can-read\r\n", 200, "payments"),
        ("GET", "/v1/catalog/services", "Authorization: Bearer can-read\r\n", 200, "payments"),
        ("GET", "/v1/catalog/services", "X-Consul-Token: can-rea\r\n", 403, "ACL not found"),
        ("PUT", "/v1/config", "X-Consul-Token: can-read\r\n", 403, read_only),
        ("DELETE", "/v1/config/service-resolver/payments", "", 403, "'agent:write'"),
        ("PUT", "/v1/config", "authorization: bearer can-write\r\n", 200, "true"),
    ] {
        let answer = ask(at, method, path, headers).await;
        let said = format!("{method} {path} {headers}: {answer}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
        assert!(answer.contains(text), "{said}");
    }

    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let history = agent.get("/v1/canary/history").await.text;
    assert!(history.contains("\"ci\"") && !history.contains("can-write"), "{history}");
    agent.stop().await;
}

#[tokio::test]
async fn the_socket_needs_a_token_where_the_settings_say_so() {
    let place = Place::with_payments();
    let token = "socket_tokens = true\ntoken \"a\" {\n  secret = \"s\"\n  policy = \"read\"\n}\n";
    let (agent, _) = start(&place, token).await;

    let reply = agent.get("/v1/catalog/services").await;

    assert_eq!(reply.status, 403, "{reply:?}");
    agent.stop().await;
}

/// An authority, and what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// Writes a certificate of `name` and its key beside `path`.
    fn sign(&self, dir: &std::path::Path, file: &str, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) =
            (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
        fs::write(&cert_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        (cert_file, key_file)
    }

    fn client(&self, own: Option<&(PathBuf, PathBuf)>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_file(certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn ask_tls(at: SocketAddr, client: &TlsConnector, name: &str) -> std::io::Result<String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = client.connect(name, TcpStream::connect(at).await?).await?;
    talk(stream, "GET", "/v1/status/leader", "").await
}

#[tokio::test]
async fn tls_shows_the_certificate_that_was_read_last() {
    let place = Place::new();
    let authority = Authority::new();
    let dir = place.dir.path();
    let (cert_file, key_file) = authority.sign(dir, "agent", "first.test");
    let tls = Tls { cert_file: cert_file.clone(), key_file, client_ca_file: None };
    let security = Security::load(&Api { tls: Some(tls), ..Api::default() }).unwrap();
    let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listeners = Listeners::bind(&dir.join("agent.sock"), Some(at)).await.unwrap();
    let server = listeners.serve(axum::Router::new(), security, 16);
    let client = authority.client(None);

    let answer = ask_tls(at, &client, "first.test").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let plain = ask(at, "GET", "/v1/status/leader", "").await;
    assert!(plain.starts_with("HTTP/1.0 400"), "{plain}");
    assert!(plain.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{plain}");
    let stranger = Authority::new().client(None);
    assert!(ask_tls(at, &stranger, "first.test").await.is_err());

    fs::write(&cert_file, "no certificate").unwrap();
    server.reload();
    ask_tls(at, &client, "first.test").await.unwrap();
    authority.sign(dir, "agent", "second.test");
    server.reload();
    ask_tls(at, &client, "second.test").await.unwrap();
    assert!(ask_tls(at, &client, "first.test").await.is_err());
}

#[tokio::test]
async fn a_client_without_the_right_certificate_is_not_served() {
    let place = Place::new();
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let dir = place.dir.path();
    let (cert_file, key_file) = authority.sign(dir, "agent", "agent.test");
    let client_ca_file = dir.join("clients.pem");
    fs::write(&client_ca_file, of_clients.issuer.pem()).unwrap();
    let (agent, at) = start(
        &place,
        &format!(
            "http_tls {{\n  cert_file = {cert_file:?}\n  key_file = {key_file:?}\n  \
             client_ca_file = {client_ca_file:?}\n}}\n"
        ),
    )
    .await;

    let right = of_clients.sign(dir, "client", "client.test");
    let wrong = authority.sign(dir, "other", "client.test");

    let answer = ask_tls(at, &authority.client(Some(&right)), "agent.test").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(ask_tls(at, &authority.client(Some(&wrong)), "agent.test").await.is_err());
    assert!(ask_tls(at, &authority.client(None), "agent.test").await.is_err());
    agent.stop().await;
}

/// Runs a command line, and returns its exit code and what it printed.
async fn command(line: &[&str]) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut err);
    let code = ctl::run(line.iter().map(Into::into).collect(), &mut console).await;
    (code, String::from_utf8([out, err].concat()).unwrap())
}

#[tokio::test]
async fn canaryctl_shows_its_certificate_and_its_token() {
    let place = Place::new();
    let authority = Authority::new();
    let dir = place.dir.path();
    let file = |name: &str, content: String| {
        fs::write(dir.join(name), content).unwrap();
        dir.join(name).display().to_string()
    };
    let ca_file = file("ca.pem", authority.issuer.pem());
    let token_file = file("token", "open sesame\n".to_owned());
    let entry = file("resolver.json", resolver());
    let (cert_file, key_file) = authority.sign(dir, "agent", "127.0.0.1");
    let (own_cert, own_key) = authority.sign(dir, "client", "client.test");
    let (agent, at) = start(
        &place,
        &format!(
            "http_tls {{\n  cert_file = {cert_file:?}\n  key_file = {key_file:?}\n  \
             client_ca_file = {ca_file:?}\n}}\ntoken \"ci\" {{\n  secret_file = {token_file:?}\n  \
             policy = \"write\"\n}}\n"
        ),
    )
    .await;
    agent.status().await;
    let address = format!("https://{at}");
    let base = ["canaryctl", "--agent", &address];
    let (own_cert, own_key) = (own_cert.display().to_string(), own_key.display().to_string());
    let trust = ["--ca-file", &ca_file, "--client-cert", &own_cert, "--client-key", &own_key];
    let token = ["--token-file", &token_file];
    let write = ["config", "write", &entry];

    let (code, said) = command(&[&base[..], &trust, &token, &write].concat()).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = command(&[&base[..], &trust, &write].concat()).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("Permission denied: anonymous token"), "{said}");
    let (code, said) = command(&[&base[..], &token, &write].concat()).await;
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("invalid peer certificate"), "{said}");
    let (code, said) = command(&[&base[..], &["--ca-file", "/nowhere/ca"], &write].concat()).await;
    assert!(code == 1 && said.contains("/nowhere/ca"), "{said}");
    agent.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_hold_stop_the_start_and_name_the_fault() {
    let place = Place::new();
    let missing = place.dir.path().join("missing");
    let empty = place.dir.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    let token = |body: &str| format!("token \"a\" {{\n{body}\npolicy = \"read\"\n}}\n");
    let two = token("secret = \"s\"").replace("\"a\"", "\"b\"") + &token("secret = \"s\"");
    let tls = format!("http_tls {{\n  cert_file = {missing:?}\n  key_file = {missing:?}\n}}\n");

    for (settings, text) in [
        (token(""), "token \"a\": secret or secret_file is required"),
        (token("secret = \"\""), "token \"a\": the secret is empty"),
        (token(&format!("secret_file = {empty:?}")), "token \"a\": the secret is empty"),
        (token(&format!("secret_file = {missing:?}")), "missing"),
        (token("secret = \"s\"\nsecret_file = \"f\""), "one too many"),
        (two, "tokens \"a\" and \"b\" have the same secret"),
        ("socket_tokens = true\n".to_owned(), "socket_tokens asks for tokens"),
        (tls, "missing"),
    ] {
        let file = place.dir.path().join("agent.conf");
        fs::write(&file, &settings).unwrap();
        let agent = place.try_start_with(&["--config", file.to_str().unwrap()]).await;
        let error = format!("{:#}", agent.task.await.unwrap().unwrap_err());
        assert!(error.contains(text), "{settings}: {error}");
    }
}

/// A refused start must not touch the node: what only the settings tell comes before the kernel.
#[test]
fn nothing_is_attached_before_the_settings_are_known_to_hold() {
    let place = Place::new();
    let socket = place.dir.path().join("agent.sock");
    let file = place.dir.path().join("agent.conf");
    fs::write(&file, "token \"a\" {\n  policy = \"read\"\n}\n").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    for (more, text) in [
        (["--config", file.to_str().unwrap()], "token \"a\": secret or secret_file is required"),
        (["--http", &address], "Address already in use"),
    ] {
        let run = daemon::run(&place.settings_with(&more), |_| panic!("the kernel was touched"));
        let error = format!("{:#}", run.unwrap_err());
        assert!(error.contains(text), "{error}");
    }
    let refused = |_: &_| anyhow::bail!("the pins are taken");
    daemon::run(&place.settings_with(&[]), refused).unwrap_err();
    assert!(!socket.exists(), "nobody listens there");
}
