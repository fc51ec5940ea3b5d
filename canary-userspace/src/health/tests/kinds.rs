//! Each kind of check against a server of its kind.

use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic_health::ServingStatus;

use super::*;

/// An HTTP server that answers as its paths say.
async fn http_server() -> SocketAddr {
    let echo = async |method: Method, headers: HeaderMap, body: String| {
        let header = |name: &str| {
            let values = headers.get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(",")
        };
        let (agent, extra, host) = (header("user-agent"), header("x-extra"), header("host"));
        format!("{method} {agent} {extra} {host} {body}")
    };
    let router = Router::new()
        .route("/ok", get(|| async { "all is well" }))
        .route("/busy", get(|| async { (StatusCode::TOO_MANY_REQUESTS, "later") }))
        .route("/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "oh") }))
        .route("/moved", get(|| async { Redirect::temporary("/ok") }))
        .route("/long", get(|| async { "x".repeat(100_000) }))
        .route("/never", get(std::future::pending::<Response>))
        .route("/echo", any(echo))
        .fallback(|| async { StatusCode::NOT_FOUND.into_response() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The first result of a check of `fields`.
async fn result(fields: &str) -> (Health, String) {
    // None of them begins as what it is found to be, so that the first result is told.
    let check = check(&format!("{fields} interval = \"20ms\""));
    let state = Bench::with(&check).next().await.state;
    (state.status, state.output.to_string())
}

#[tokio::test]
async fn an_http_check_is_judged_by_the_status_code() {
    let server = http_server().await;
    for (path, extra, status, said) in [
        ("ok", "", Health::Passing, "200 OK Output: all is well"),
        ("busy", "", Health::Warning, "429 Too Many Requests Output: later"),
        ("broken", "", Health::Critical, "500 Internal Server Error Output: oh"),
        ("nowhere", "", Health::Critical, "404 Not Found Output: "),
        ("moved", "", Health::Passing, "200 OK Output: all is well"),
        ("moved", "disable_redirects = true", Health::Critical, "307 Temporary Redirect Output: "),
        ("long", "output_max_size = 3", Health::Passing, "200 OK Output: xxx"),
    ] {
        let url = format!("http://{server}/{path}");
        let found = result(&format!("http = \"{url}\" {extra}")).await;
        assert_eq!(found, (status, format!("HTTP GET {url}: {said}")), "{path} {extra}");
    }
}

#[tokio::test]
async fn an_http_check_sends_what_it_is_told_to_send() {
    let server = http_server().await;
    let url = format!("http://{server}/echo");
    let fields = format!(
        "http = \"{url}\" method = \"PUT\" body = \"ping\" \
         header {{ x-extra = [\"a\", \"b\"] host = [\"web.internal\"] }}"
    );
    let (status, output) = result(&fields).await;
    assert_eq!(status, Health::Passing);
    assert!(output.ends_with("PUT Canary Health Check a,b web.internal ping"), "{output}");
}

#[tokio::test]
async fn an_http_check_without_an_answer_is_critical_and_says_why() {
    let server = http_server().await;
    let (status, output) =
        result(&format!("http = \"http://{server}/never\" timeout = \"50ms\"")).await;
    assert_eq!(status, Health::Critical);
    assert_eq!(output, format!("Get \"http://{server}/never\": no answer within 50ms"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let (status, output) = result(&format!("http = \"http://{nobody}/\"")).await;
    assert_eq!(status, Health::Critical);
    assert!(output.contains("refused"), "{output}");
}

#[tokio::test]
async fn a_name_is_looked_up_when_it_is_probed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (status, output) = result(&format!("tcp = \"localhost:{port}\"")).await;
    assert_eq!(
        (status, output),
        (Health::Passing, format!("TCP connect localhost:{port}: Success"))
    );

    let (status, output) = result("tcp = \"no-such-host.invalid:1\"").await;
    assert_eq!(status, Health::Critical);
    assert!(output.starts_with("dial tcp no-such-host.invalid:1: "), "{output}");
}

#[tokio::test]
async fn a_grpc_check_asks_the_health_service() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Cart", ServingStatus::NotServing).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );

    let success = (Health::Passing, format!("gRPC check {server}: success"));
    assert_eq!(result(&format!("grpc = \"{server}\"")).await, success);
    let unwell = "gRPC application didn't report service healthy".to_owned();
    assert_eq!(result(&format!("grpc = \"{server}/shop.Cart\"")).await, (Health::Critical, unwell));
    let (status, output) = result(&format!("grpc = \"{server}/shop.Wishes\"")).await;
    assert_eq!(status, Health::Critical);
    assert!(output.contains("rpc error: code = NotFound"), "{output}");
    reporter.set_service_status("shop.Cart", ServingStatus::Serving).await;
    assert_eq!(result(&format!("grpc = \"{server}/shop.Cart\"")).await.0, Health::Passing);

    let (status, output) = result("grpc = \"127.0.0.1:1\"").await;
    assert_eq!(status, Health::Critical);
    assert!(output.contains("rpc error: code = Unavailable"), "{output}");
}

#[tokio::test]
async fn an_encrypted_target_must_be_trusted_unless_the_check_says_otherwise() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            // A client that only shakes hands is gone already.
            _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            _ = stream.shutdown().await;
        }
    });

    for (kind, on) in [
        (format!("tcp = \"localhost:{port}\""), "tcp_use_tls = true"),
        (format!("http = \"https://localhost:{port}/\""), ""),
    ] {
        let (status, output) = result(&format!("{kind} {on}")).await;
        assert_eq!(status, Health::Critical, "{output}");
        assert!(output.contains("invalid peer certificate"), "{output}");
        let (status, output) = result(&format!("{kind} {on} tls_skip_verify = true")).await;
        assert_eq!(status, Health::Passing, "{output}");
    }
}
