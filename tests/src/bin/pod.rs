//! What runs in a pod of a lab: the servers that its arguments name.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::Result;
use canary_tests::workload::{control, crowd, echo, syn, tutorial};
use clap::Parser;

/// Serves until its standard input closes.
#[derive(Debug, Parser)]
struct Arguments {
    /// What it calls itself.
    #[arg(long)]
    name: String,
    /// Port of the tutorial's HTTP service.
    #[arg(long)]
    http: Option<u16>,
    /// Port that answers with the name, over TCP and UDP.
    #[arg(long)]
    echo: Vec<u16>,
    /// Port that sends back what it gets.
    #[arg(long)]
    hold: Vec<u16>,
    /// What the HTTP service calls.
    #[arg(long)]
    upstream: Vec<SocketAddr>,
    /// How long it waits for an upstream.
    #[arg(long, default_value_t = 300)]
    timeout_ms: u64,
    /// How long an HTTP answer takes.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    crowd::raise_open_files()?;
    let counters = control::Counters::default();
    for port in &arguments.echo {
        echo::serve_name(*port, &arguments.name, &counters)?;
    }
    for port in &arguments.hold {
        echo::serve_hold(*port, &arguments.name, &counters)?;
    }
    if let Some(port) = arguments.http {
        syn::watch(port, &counters)?;
        let service = tutorial::Service {
            name: arguments.name,
            addresses: own_address().into_iter().collect(),
            upstreams: arguments.upstream,
            timeout: Duration::from_millis(arguments.timeout_ms),
            delay: Duration::from_millis(arguments.delay_ms),
        };
        tutorial::serve(port, service, &counters)?;
    }
    control::serve(&counters)
}

/// The address this pod speaks from: the one of its default route. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
