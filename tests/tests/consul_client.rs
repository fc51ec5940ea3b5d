//! Consul's client libraries for Python and JavaScript speak to the agent as to Consul.

use std::{env, ffi::OsString, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use canary_tests::lab::{AgentOptions, Lab};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Where the agent offers its API over TCP, in the lab's own namespace.
const ADDRESS: &str = "127.0.0.1:8501";
/// The secret of the agent's one token.
const SECRET: &str = "8f2f5c0e-lab";

#[test]
fn the_python_client_drives_the_agent() -> Result<()> {
    let python = named("CANARY_PYTHON", "a Python with the package py-consul")?;
    Lab::run("python", |lab| {
        let _agent = lab.agent(AgentOptions::default().args(["--http", ADDRESS]))?;
        drive(lab, Command::new(&python).arg(script("py")), &format!("http://{ADDRESS}"))
    })
}

#[test]
fn the_javascript_client_drives_the_agent() -> Result<()> {
    let modules = named("CANARY_NODE_MODULES", "the directory of the npm package consul")?;
    Lab::run("node", |lab| {
        let _agent = lab.agent(AgentOptions::default().args(["--http", ADDRESS]))?;
        let mut node = Command::new("node");
        node.arg(script("js")).env("NODE_PATH", &modules);
        drive(lab, &mut node, &format!("http://{ADDRESS}"))
    })
}

#[test]
fn both_clients_do_the_same_over_tls_with_a_token() -> Result<()> {
    let python = named("CANARY_PYTHON", "a Python with the package py-consul")?;
    let modules = named("CANARY_NODE_MODULES", "the directory of the npm package consul")?;
    Lab::run("tlsapi", |lab| {
        let directory = lab.directory();
        certificates(directory)?;
        let file = |name: &str| directory.join(name).display().to_string();
        let settings = format!(
            "http_tls {{\n  cert_file = {:?}\n  key_file = {:?}\n}}\n\
             token \"lab\" {{\n  secret = {SECRET:?}\n  policy = \"write\"\n}}\n",
            file("agent.pem"),
            file("agent.key"),
        );
        fs::write(file("agent.conf"), settings).context("write the settings")?;
        let options = AgentOptions::default();
        let _agent =
            lab.agent(options.args(["--http", ADDRESS, "--config", &file("agent.conf")]))?;
        let mut node = Command::new("node");
        node.env("NODE_PATH", &modules);
        for (client, language) in [(Command::new(&python), "py"), (node, "js")] {
            let mut client = client;
            client.arg(script(language)).env("CANARY_TOKEN", SECRET);
            client.env("CANARY_CA_FILE", file("ca.pem"));
            drive(lab, &mut client, &format!("https://{ADDRESS}"))?;
        }
        Ok(())
    })
}

/// Runs a client to its end; what it leaves behind is nothing.
fn drive(lab: &Lab, client: &mut Command, url: &str) -> Result<()> {
    let output = lab.node().output(client.arg(url))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    assert_eq!(output.stdout, b"passed\n", "{said}");
    let status = lab.status()?;
    assert!(status.services.is_empty(), "{:?}", status.services);
    Ok(())
}

/// An authority, and a certificate of it for the agent's address.
fn certificates(directory: &Path) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than the certificate's: OpenSSL takes equal ones for a self-signed one.
    params.distinguished_name.push(DnType::CommonName, "lab authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("agent.pem", certificate.pem()),
        ("agent.key", key.serialize_pem()),
    ] {
        fs::write(directory.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

fn script(language: &str) -> OsString {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/consul_client")
        .with_extension(language)
        .into()
}

/// What `cargo xtask test` installs. Without it nothing is shown, so that is a failure.
fn named(variable: &str, what: &str) -> Result<OsString> {
    env::var_os(variable).with_context(|| {
        format!("{variable} is not set: it names {what}; `cargo xtask test` makes one and sets it")
    })
}
