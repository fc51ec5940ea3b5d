//! `grpc` checks: the standard health service, asked for one service or for the server.

use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::names::Names;
use super::prober::Found;
use super::trust::Trust;
use crate::catalog::{GrpcProbe, Health, Tls};

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Asks and judges the answer.
pub(super) async fn probe(grpc: &GrpcProbe, tls: Tls, trust: &Arc<Trust>, names: &Names) -> Found {
    match ask(grpc, tls, trust, names).await {
        Ok(ServingStatus::Serving) => {
            (Health::Passing, format!("gRPC check {}: success", grpc.shown()))
        }
        Ok(_) => (Health::Critical, "gRPC application didn't report service healthy".to_owned()),
        Err(error) => (Health::Critical, failure(grpc, &error)),
    }
}

/// What is said of a question that got no answer.
pub(super) fn failure(grpc: &GrpcProbe, why: &str) -> String {
    format!("gRPC check {}: {why}", grpc.shown())
}

async fn ask(
    grpc: &GrpcProbe,
    tls: Tls,
    trust: &Arc<Trust>,
    names: &Names,
) -> Result<ServingStatus, String> {
    let channel = connect(&grpc.target, tls, trust, names).await?;
    let question = HealthCheckRequest { service: grpc.service.to_string() };
    let answer = HealthClient::new(channel).check(question).await.map_err(|status| {
        format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
    })?;
    Ok(answer.into_inner().status())
}

/// Connects to `target`, which is looked up if it is a name.
async fn connect(
    target: &str,
    tls: Tls,
    trust: &Arc<Trust>,
    names: &Names,
) -> Result<Channel, String> {
    let endpoint =
        Endpoint::from_shared(format!("http://{target}")).map_err(|error| error.to_string())?;
    let (target, trust, names) = (target.to_owned(), Arc::clone(trust), names.clone());
    let connector = service_fn(move |_: Uri| {
        let (target, trust, names) = (target.clone(), Arc::clone(&trust), names.clone());
        async move {
            let stream = names.connect(&target).await?;
            let stream: Box<dyn Stream> = match tls {
                Tls::Off => Box::new(stream),
                Tls::Verified | Tls::Unverified => {
                    let any = tls == Tls::Unverified;
                    Box::new(trust.handshake(&target, stream, any, &["h2"]).await?)
                }
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string);
        format!("rpc error: code = Unavailable desc = {cause}")
    })
}
