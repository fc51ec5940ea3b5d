//! The manual's examples, run: what `docs/canaryctl.md` shows is what was seen.
//!
//! `CANARY_BLESS=1 cargo test manual` writes what it sees into the manual.

use std::env;
use std::fs;
use std::path::PathBuf;

use super::story::{Lab, example};
use crate::compile::SplitKey;
use crate::document::flows::Flow;

const BAD: &str = "kind = \"service-splitter\"\nname = \"payments\"\nsplits = [\n  \
                   { weight = 90, service_subset = \"blue\" },\n  \
                   { weight = 10, service_subset = \"gren\" }\n]\n";

/// Puts the files that the examples name beside the agent.
fn files(lab: &Lab) {
    let put = |name: &str, text: &str| fs::write(lab.path(name), text).unwrap();
    let resolver = fs::read_to_string(example("payments_resolver.hcl")).unwrap();
    put("payments_resolver.hcl", &resolver);
    put("payments_splitter.hcl", &BAD.replace("gren", "green"));
    put("bad.hcl", BAD);
    let services = [("blue-1", 1, 2), ("blue-2", 2, 2), ("green-1", 3, 3)].map(|(id, host, version)| {
        format!(
            "service {{\n  name = \"payments\"\n  id = \"payments-{id}\"\n  address = \"10.244.1.{host}\"\n  \
             port = 8080\n  meta {{ version = \"{version}\" }}\n  \
             tagged_addresses {{ virtual {{ address = \"10.96.0.10\" port = 80 }} }}\n}}\n"
        )
    });
    put("payments.hcl", &services.concat());
    let live = [("blue", 120), ("green", 41)].map(|(subset, live)| {
        let subset = subset.to_owned();
        let key = SplitKey { service: "payments".into(), target: "payments".into(), subset };
        (key, live)
    });
    lab.memory.get().live = live.into();
    lab.memory.get().flows = vec![Flow {
        kind: "forward".to_owned(),
        state: Some("established".to_owned()),
        protocol: "tcp".to_owned(),
        client: "10.244.1.9:40000".to_owned(),
        destination: "10.96.0.10:80".to_owned(),
        backend: Some("10.244.1.3:8080".to_owned()),
        port: Some(61_012),
        service: Some("payments".to_owned()),
        target: Some("payments".to_owned()),
        subset: Some("green".to_owned()),
        interface: Some("veth1".to_owned()),
        idle_seconds: 3,
        severed: false,
    }];
}

/// What a command of the manual prints, data first.
async fn run(lab: &Lab, line: &str) -> String {
    let words: Vec<String> = line
        .split(' ')
        .map(|word| match word.strip_suffix(".hcl") {
            Some(_) => lab.path(word),
            None => word.to_owned(),
        })
        .collect();
    let ran = lab.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
    (ran.out + &ran.err).replace(&lab.path(""), "")
}

#[tokio::test]
async fn the_manuals_examples_show_what_is_seen() {
    let manual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/canaryctl.md");
    let written = fs::read_to_string(&manual).unwrap();
    let lab = Lab::start().await;
    files(&lab);

    let mut seen = String::new();
    let mut example = false;
    for line in written.lines() {
        if line == "```console" {
            example = true;
        } else if line == "```" {
            example = false;
        }
        let command = line.strip_prefix("$ canaryctl ").filter(|_| example);
        if example && command.is_none() && line != "```console" {
            continue;
        }
        seen.push_str(line);
        seen.push('\n');
        if let Some(command) = command {
            seen.push_str(&run(&lab, command).await);
        }
    }

    if env::var_os("CANARY_BLESS").is_some() {
        fs::write(&manual, &seen).unwrap();
    }
    assert_eq!(seen, written);
}
