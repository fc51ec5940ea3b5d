//! Consul's command lines against a server that records.

use std::ffi::OsString;
use std::fs;

use super::*;
use crate::ctl::server::{Reply, Server};

const ENTRY: &str = "kind = \"service-splitter\",\nname = \"payments\"\n\
                     splits = [{ weight = 100, service_subset = \"blue\" }]\n";

/// Runs `consul` as if `CONSUL_HTTP_ADDR` were set to `address`.
async fn consul(address: &str, line: &[&str]) -> (Result<(), String>, String, String) {
    let words = ["consul"].iter().chain(line).map(OsString::from).collect();
    let environment = |name: &str| match name {
        "CONSUL_HTTP_ADDR" => Some(address.to_owned()),
        "CONSUL_HTTP_TOKEN" => Some("secret".to_owned()),
        _ => None,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(words, &environment, &mut Console::new(&mut out, &mut err)).await;
    let outcome = outcome.map_err(|failure| failure.to_string());
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[tokio::test]
async fn the_tutorials_command_works_as_printed() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("payments_splitter.hcl");
    fs::write(&file, ENTRY).unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start([Reply::new(200, "true").warning("careful")]);

    let (outcome, out, err) = consul(&server.address(), &["config", "write", file]).await;

    assert_eq!(outcome, Ok(()));
    assert_eq!(out, "Config entry written: service-splitter/payments\n");
    assert_eq!(err, "WARNING: careful\n");
    let asked = server.asked();
    assert_eq!(asked[0].line, "PUT /v1/config");
    assert_eq!(asked[0].token.as_deref(), Some("secret"));
}

#[tokio::test]
async fn what_the_agent_refuses_is_told_in_consuls_words() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("payments_splitter.hcl");
    fs::write(&file, ENTRY).unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start([
        Reply::new(500, "the sum of all split weights must be 100, not 90.000000"),
        Reply::new(200, "false"),
        Reply::new(404, "Config entry not found for \"K\" / \"N\""),
        Reply::new(500, "why"),
        Reply::new(500, "why"),
    ]);
    let address = &server.address();

    let refused = consul(address, &["config", "write", file]).await.0;
    let missed = consul(address, &["config", "write", "-cas", "-modify-index=3", file]).await.0;
    let absent = consul(address, &["config", "read", "-kind", "K", "-name", "N"]).await.0;
    let unlisted = consul(address, &["config", "list", "-kind=K"]).await.0;
    let undeleted = consul(address, &["config", "delete", "--kind", "K", "-name=N"]).await.0;

    let error = |text: &str| Err(text.to_owned());
    assert_eq!(
        refused,
        error(
            "Error writing config entry service-splitter/payments: Unexpected response code: 500 \
             (the sum of all split weights must be 100, not 90.000000)"
        )
    );
    assert_eq!(missed, error("Config entry not updated: service-splitter/payments"));
    assert_eq!(
        absent,
        error(
            "Error reading config entry K/N: Unexpected response code: 404 \
             (Config entry not found for \"K\" / \"N\")"
        )
    );
    assert_eq!(
        unlisted,
        error("Error listing config entries for kind \"K\": Unexpected response code: 500 (why)")
    );
    assert_eq!(
        undeleted,
        error("Error deleting config entry K/N: Unexpected response code: 500 (why)")
    );
}

#[tokio::test]
async fn entries_are_deleted_by_index() {
    let server = Server::start([Reply::new(200, "true"), Reply::new(200, "false")]);
    let address = &server.address();
    let which = ["config", "delete", "-kind", "K", "-name", "N", "-cas", "-modify-index", "4"];

    let (done, out, _) = consul(address, &which).await;
    let (missed, ..) = consul(address, &which).await;

    assert_eq!(done, Ok(()));
    assert_eq!(out, "Config entry deleted: K/N\n");
    assert_eq!(missed, Err("Config entry not deleted: K/N".to_owned()));
    assert_eq!(server.lines(), ["DELETE /v1/config/K/N?cas=4"; 2]);
}

#[tokio::test]
async fn what_is_missing_is_asked_for_in_consuls_words() {
    let server = Server::start([Reply::new(200, "true")]);
    for (line, text) in [
        (&["config", "read", "-name", "N"][..], "Must specify the -kind parameter"),
        (&["config", "read", "-kind", "K"], "Must specify the -name parameter"),
        (&["config", "list"], "Must specify the -kind parameter"),
        (
            &["config", "write"],
            "Must provide exactly one positional argument to specify the config entry to write",
        ),
        (
            &["config", "delete", "-kind", "K", "-name", "N", "-cas"],
            "Must specify a -modify-index greater than 0 with -cas",
        ),
        (
            &["config", "delete", "-kind", "K", "-name", "N", "-modify-index", "1"],
            "Cannot specify -modify-index without -cas",
        ),
        (
            &["config", "write", "/nowhere/a.hcl"],
            "Failed to load data: Failed to read file: open /nowhere/a.hcl: no such file or directory",
        ),
    ] {
        assert_eq!(consul(&server.address(), line).await.0, Err(text.to_owned()), "{line:?}");
    }
    assert_eq!(server.lines(), [""; 0]);
}

#[tokio::test]
async fn an_agent_that_is_not_there_reads_as_from_consuls_client() {
    let read = ["config", "read", "-kind", "K", "-name", "N"];

    let (outcome, ..) = consul("unix:///nowhere/agent.sock", &read).await;
    let (wrong, ..) = consul("ftp://127.0.0.1:8501", &read).await;

    assert_eq!(
        outcome,
        Err("Error reading config entry K/N: Get \"http://localhost/v1/config/K/N\": \
             dial unix /nowhere/agent.sock: connect: no such file or directory"
            .to_owned())
    );
    assert!(wrong.clone().unwrap_err().starts_with("Error connect to Consul agent: "), "{wrong:?}");
}

#[test]
fn tls_is_not_silently_left_out() {
    let common = Common::default();
    let with = |value: &'static str| {
        move |name: &str| (name == "CONSUL_HTTP_SSL").then(|| value.to_owned())
    };

    for (value, address) in [
        ("true", "https://127.0.0.1:8500"),
        ("1", "https://127.0.0.1:8500"),
        ("false", "http://127.0.0.1:8500"),
        ("0", "http://127.0.0.1:8500"),
        ("", "http://127.0.0.1:8500"),
    ] {
        let client = common.client(&with(value)).unwrap();
        assert_eq!(client.address().to_string(), address, "{value}");
    }
    let plain = Common { http_addr: Some("http://node:1".to_owned()), ..Common::default() };
    let client = plain.client(&with("true")).unwrap();
    assert_eq!(client.address().to_string(), "https://node:1");
}

#[tokio::test]
async fn a_broken_rule_is_the_servers_to_refuse_and_a_broken_file_is_not() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("bad.hcl");
    let shown = file.to_str().unwrap();
    let server =
        Server::start([Reply::new(500, "the sum of all split weights must be 100, not 90.000000")]);

    fs::write(&file, ENTRY.replace("100", "90")).unwrap();
    let rule = consul(&server.address(), &["config", "write", shown]).await.0;
    fs::write(&file, ENTRY.replace("weight", "wait")).unwrap();
    let key = consul(&server.address(), &["config", "write", shown]).await.0;

    assert_eq!(
        rule,
        Err("Error writing config entry service-splitter/payments: Unexpected response code: 500 \
             (the sum of all split weights must be 100, not 90.000000)"
            .to_owned())
    );
    let told = key.unwrap_err();
    assert!(told.starts_with("Failed to decode config entry input: "), "{told}");
    assert!(told.contains("invalid config key \"Splits[0].wait\""), "{told}");
    assert_eq!(server.lines().len(), 1);
}
