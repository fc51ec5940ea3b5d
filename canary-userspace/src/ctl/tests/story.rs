//! The tutorial's story by command lines, against the real agent on a datapath of memory.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{Ran, canaryctl};
use crate::agent::memory::Memory;
use crate::api::{Listeners, Security};
use crate::ctl::console::Console;
use crate::ctl::consul;
use crate::daemon;
use crate::settings::Settings;
use crate::store::Store;

/// A running agent; it ends with the test's runtime.
pub(super) struct Lab {
    pub(super) directory: TempDir,
    pub(super) memory: Memory,
    _stop: oneshot::Sender<()>,
}

impl Lab {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::create_dir(directory.path().join("etc")).unwrap();
        let settings = Settings::from_args([
            "canary-agent",
            "--config-dir",
            &path("etc"),
            "--data-dir",
            &path("data"),
            "--socket",
            &path("agent.sock"),
            "--node-name",
            "node-1",
        ])
        .unwrap();
        let store = Store::open(&settings.data_dir).unwrap();
        let listeners = Listeners::bind(&settings.socket, settings.http).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let memory = Memory::default();
        let datapath = Box::new(memory.clone());
        tokio::spawn(async move {
            let stop = async { _ = stopped.await };
            let security = Security::load(&settings.api)?;
            daemon::serve(&settings, store, datapath, listeners, security, stop).await
        });
        let lab = Self { directory, memory, _stop: stop };
        assert_eq!(lab.run(&["status", "--wait"]).await.code, 0);
        lab
    }

    pub(super) async fn run(&self, line: &[&str]) -> Ran {
        canaryctl(&format!("unix://{}/agent.sock", self.directory.path().display()), line).await
    }

    /// A path beside the agent's own; of nothing it is the directory with its slash.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory.path().display())
    }

    /// Runs the tutorial's command.
    async fn consul(&self, line: &[&str]) -> (Result<(), String>, String) {
        let address = format!("unix://{}/agent.sock", self.directory.path().display());
        let environment = |name: &str| (name == "CONSUL_HTTP_ADDR").then(|| address.clone());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words = ["consul"].iter().chain(line).map(OsString::from).collect();
        let outcome = consul::run(words, &environment, &mut Console::new(&mut out, &mut err)).await;
        (outcome.map_err(|failure| failure.to_string()), String::from_utf8(out).unwrap())
    }

    pub(super) async fn register(&self, id: &str, host: u8, version: u8) -> Ran {
        let path = self.directory.path().join(format!("{id}.hcl"));
        let text = format!(
            "service {{\n  name = \"payments\"\n  id = \"{id}\"\n  address = \"10.244.1.{host}\"\n  port = 8080\n  \
             meta {{ version = \"{version}\" }}\n  \
             tagged_addresses {{ virtual {{ address = \"10.96.0.10\" port = 80 }} }}\n}}\n"
        );
        fs::write(&path, text).unwrap();
        self.run(&["service", "register", path.to_str().unwrap()]).await
    }
}

/// A file of the tutorial.
pub(super) fn example(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/payments").join(name);
    path.display().to_string()
}

pub(super) fn shares(of: &[(&str, u16)]) -> Vec<(String, u16)> {
    of.iter().map(|(subset, share)| ((*subset).to_owned(), *share)).collect()
}

#[tokio::test]
async fn the_tutorials_story_by_its_own_commands() {
    let lab = Lab::start().await;
    let blue = lab.register("payments-blue-1", 1, 2).await;
    assert_eq!(blue.out, "Registered service: payments (payments-blue-1)\n", "{}", blue.err);
    lab.register("payments-green-1", 3, 3).await;

    let (resolver, out) = lab.consul(&["config", "write", &example("payments_resolver.hcl")]).await;
    assert_eq!(
        (resolver, out.as_str()),
        (Ok(()), "Config entry written: service-resolver/payments\n")
    );
    assert_eq!(lab.memory.shares("payments"), shares(&[("blue", 10_000)]));

    let (splitter, _) =
        lab.consul(&["config", "write", &example("3_canary/payments_splitter.hcl")]).await;
    assert_eq!(splitter, Ok(()));
    assert_eq!(lab.memory.shares("payments"), shares(&[("blue", 5_000), ("green", 5_000)]));

    let status = lab.run(&["status", "payments"]).await;
    assert!(status.out.contains("  ✔ blue     50.00"), "{}", status.out);

    let back = lab.run(&["rollback", "payments"]).await;
    assert!(
        back.out.starts_with("Rolled back: payments blue 50 -> 100, green 50 -> 0 (revision "),
        "{}",
        back.out
    );
    assert_eq!(lab.memory.shares("payments"), shares(&[("blue", 10_000), ("green", 0)]));

    let undo = lab.run(&["undo", "payments"]).await;
    assert!(
        undo.out.starts_with("Undone: payments blue 100 -> 50, green 0 -> 50"),
        "{}{}",
        undo.out,
        undo.err
    );

    let set = lab.run(&["split", "set", "payments", "blue=99.99", "green=0.01"]).await;
    assert!(
        set.out.starts_with("Split set: payments blue 50 -> 99.99, green 50 -> 0.01"),
        "{}{}",
        set.out,
        set.err
    );
    let shown = lab.run(&["split", "show", "payments"]).await;
    assert!(shown.out.contains("green     0.01"), "{}", shown.out);

    let (read, out) =
        lab.consul(&["config", "read", "-kind", "service-splitter", "-name=payments"]).await;
    assert_eq!(read, Ok(()));
    assert!(out.contains("\n    \"Name\": \"payments\",\n"), "{out}");
    let (delete, _) =
        lab.consul(&["config", "delete", "-kind", "service-splitter", "-name", "payments"]).await;
    assert_eq!(delete, Ok(()));
    assert_eq!(lab.memory.shares("payments"), shares(&[("blue", 10_000)]));
}

#[tokio::test]
async fn an_entry_shown_as_hcl_can_be_written_back() {
    let lab = Lab::start().await;
    let read = ["config", "read", "--kind", "service-resolver", "--name", "payments"];
    lab.run(&["config", "write", &example("payments_resolver.hcl")]).await;

    let json = lab.run(&read).await;
    let hcl = lab.run(&[&read[..], &["--format", "hcl"]].concat()).await;
    let file = lab.directory.path().join("shown.hcl").display().to_string();
    fs::write(&file, &hcl.out).unwrap();
    lab.run(&["config", "delete", "--kind", "service-resolver", "--name", "payments"]).await;
    let write = lab.run(&["config", "write", &file]).await;
    let again = lab.run(&[&read[..], &["--format", "hcl"]].concat()).await;

    assert!(json.out.starts_with("{\n    \"Kind\": \"service-resolver\",\n"), "{}", json.out);
    assert!(
        hcl.out.starts_with("kind = \"service-resolver\"\nname = \"payments\"\n"),
        "{}",
        hcl.out
    );
    assert_eq!(write.code, 0, "{}", write.err);
    assert_eq!(again.out, hcl.out);
}

#[tokio::test]
async fn what_the_agent_refuses_has_its_exit_code() {
    let lab = Lab::start().await;
    lab.register("payments-blue-1", 1, 2).await;
    lab.run(&["config", "write", &example("payments_resolver.hcl")]).await;
    let bad = lab.directory.path().join("bad.hcl");
    let bad = bad.to_str().unwrap();
    let write = |text: &str| fs::write(bad, text).unwrap();

    let sum = lab.run(&["split", "set", "payments", "blue=90", "green=20"]).await;
    let subset = lab.run(&["split", "set", "payments", "blue=90", "gren=10"]).await;
    write(
        "kind = \"service-splitter\"\nname = \"payments\"\nsplits = [{ weight = 100, service_subset = \"gren\" }]\n",
    );
    let entry = lab.run(&["config", "write", bad]).await;
    let nobody = lab.run(&["rollback", "nobody"]).await;
    let missing =
        lab.run(&["config", "read", "--kind", "service-splitter", "--name", "payments"]).await;
    let unknown = lab.run(&["service", "deregister", "nobody"]).await;
    let stale = lab
        .run(&[
            "config",
            "write",
            "--cas",
            "--modify-index",
            "999",
            &example("payments_resolver.hcl"),
        ])
        .await;

    assert_eq!(sum.code, 4, "{}", sum.err);
    assert!(
        sum.err.contains("the sum of all split weights must be 100, not 110.000000"),
        "{}",
        sum.err
    );
    assert_eq!(subset.code, 4, "{}", subset.err);
    assert_eq!(entry.code, 4, "{}", entry.err);
    assert_eq!(
        entry.err,
        format!(
            "{bad}:3:44: service \"payments\" does not have a subset named \"gren\"\n  \
             3 | splits = [{{ weight = 100, service_subset = \"gren\" }}]\n    \
             |                                            ^\n  hint: did you mean \"green\"?\n"
        )
    );
    assert_eq!([nobody.code, missing.code, unknown.code, stale.code], [3, 3, 3, 6]);
    assert_eq!(lab.memory.shares("payments"), shares(&[("blue", 10_000)]));
}

#[tokio::test]
async fn reading_verbs_give_one_document() {
    let lab = Lab::start().await;
    lab.register("payments-blue-1", 1, 2).await;
    for line in [
        &["status", "--json"][..],
        &["status", "payments", "--json"],
        &["split", "show", "--json"],
        &["split", "show", "payments", "--json"],
        &["service", "list", "--json"],
        &["config", "list", "--kind", "service-resolver", "--json"],
        &["maps", "--json"],
        &["version", "--json"],
    ] {
        let ran = lab.run(line).await;
        assert_eq!(ran.code, 0, "{line:?}: {}", ran.err);
        assert!(serde_json::from_str::<Value>(&ran.out).is_ok(), "{line:?}: {}", ran.out);
    }
    let list = lab.run(&["service", "list"]).await;
    assert!(list.out.contains("payments  payments-blue-1  10.244.1.1:8080"), "{}", list.out);
    assert_eq!(lab.run(&["reload"]).await.code, 0);
}

#[tokio::test]
async fn a_write_says_what_it_changed() {
    let lab = Lab::start().await;
    lab.register("payments-blue-1", 1, 2).await;
    lab.register("payments-blue-2", 2, 2).await;
    lab.register("payments-green-1", 3, 3).await;
    let file = lab.directory.path().join("entry.hcl");
    let write = async |text: &str| {
        fs::write(&file, text).unwrap();
        lab.run(&["config", "write", file.to_str().unwrap()]).await
    };
    let resolver = |green: &str| {
        format!(
            "kind = \"service-resolver\"\nname = \"payments\"\ndefault_subset = \"blue\"\nsubsets = {{\n  \
             blue = {{ filter = \"Service.Meta.version == 2\" }}\n  green = {{ filter = \"{green}\" }}\n}}\n"
        )
    };
    let splitter = |blue: f64, green: f64| {
        format!(
            "kind = \"service-splitter\"\nname = \"payments\"\nsplits = [\n  \
             {{ weight = {blue}, service_subset = \"blue\" }},\n  \
             {{ weight = {green}, service_subset = \"green\" }}\n]\n"
        )
    };

    let first = write(&resolver("Service.Meta.version == 3")).await;
    let filter = write(&resolver("Service.Meta.version == \\\"3\\\"")).await;
    let new = write(&splitter(95.0, 5.0)).await;
    let moved = write(&splitter(75.0, 25.0)).await;
    let same = write(&splitter(75.0, 25.0)).await;

    assert_eq!(first.out, "Config entry written: service-resolver/payments\n");
    assert_eq!(
        first.err,
        "  + blue  \"Service.Meta.version == 2\"  2 instances\n  \
         + green  \"Service.Meta.version == 3\"  1 instance\n  \
         ~ default subset  none -> blue\n"
    );
    assert_eq!(
        filter.err,
        "  ~ green  \"Service.Meta.version == 3\" -> \"Service.Meta.version == \\\"3\\\"\"  \
         1 instance\n"
    );
    assert_eq!(new.out, "Config entry written: service-splitter/payments\n");
    assert_eq!(
        new.err,
        "  blue   none  ->  95.00 %  2 of 2 healthy  Service.Meta.version == 2\n  \
         green  none  ->   5.00 %  1 of 1 healthy  Service.Meta.version == \"3\"\n"
    );
    assert_eq!(
        moved.err,
        "  blue   95.00  ->  75.00 %  2 of 2 healthy  Service.Meta.version == 2\n  \
         green   5.00  ->  25.00 %  1 of 1 healthy  Service.Meta.version == \"3\"\n"
    );
    assert_eq!(same.err, "  unchanged\n");

    let directory = lab.run(&["config", "write", lab.directory.path().to_str().unwrap()]).await;
    assert_eq!(directory.code, 2);
    assert!(directory.err.contains("is a directory"), "{}", directory.err);
}

#[tokio::test]
async fn a_write_names_the_parts_of_a_resolver_that_it_changed() {
    let lab = Lab::start().await;
    let file = lab.directory.path().join("entry.hcl");
    let write = async |text: &str| {
        fs::write(&file, format!("kind = \"service-resolver\"\n{text}\n")).unwrap();
        let ran = lab.run(&["config", "write", file.to_str().unwrap()]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err.lines().filter(|line| line.starts_with("  ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let subset = "name = \"payments\"\nsubsets { blue {} }\n";
    let failover =
        "failover { blue { targets = [{ service = \"spare\" }, { service = \"api\" }] } }";

    assert_eq!(write(subset).await, ["  + blue  all instances  0 instances"]);
    assert_eq!(write(&format!("{subset}{failover}")).await, ["  ~ failover  blue -> spare, api"]);
    assert_eq!(
        write(&format!("{subset}load_balancer {{ policy = \"maglev\" }}")).await,
        ["  ~ failover  none", "  ~ load balancer  maglev"]
    );
    let redirect = "name = \"old\"\nredirect { service = \"payments\" service_subset = \"blue\" }";
    assert_eq!(write(redirect).await, ["  ~ redirect  payments/blue"]);
    assert_eq!(write("name = \"spare\"").await, ["  created"]);
}

#[tokio::test]
async fn files_are_compared_with_what_is_in_force() {
    let lab = Lab::start().await;
    lab.register("payments-blue-1", 1, 2).await;
    lab.register("payments-green-1", 3, 3).await;
    let desired = lab.directory.path().join("desired");
    fs::create_dir(&desired).unwrap();
    let put = |name: &str, text: &str| fs::write(desired.join(name), text).unwrap();
    put("resolver.hcl", &fs::read_to_string(example("payments_resolver.hcl")).unwrap());
    put("splitter.hcl", &fs::read_to_string(example("3_canary/payments_splitter.hcl")).unwrap());
    let directory = desired.to_str().unwrap();

    let new = lab.run(&["config", "diff", directory]).await;
    assert_eq!(new.code, 1, "{}", new.err);
    assert!(new.out.contains("service-splitter/payments (new)\n+   blue  50.00\n"), "{}", new.out);

    for file in ["resolver.hcl", "splitter.hcl"] {
        let file = desired.join(file);
        assert_eq!(lab.run(&["config", "write", file.to_str().unwrap()]).await.code, 0);
    }
    let same = lab.run(&["config", "diff", directory]).await;
    assert_eq!((same.code, same.out.as_str(), same.err.as_str()), (0, "", ""));

    lab.run(&["split", "set", "payments", "blue=75", "green=25"]).await;
    let moved = lab.run(&["config", "diff", directory]).await;
    assert_eq!(moved.code, 1);
    assert_eq!(
        moved.out,
        "service-splitter/payments\n-   blue  75.00\n+   blue  50.00   (1 of 1 healthy)\n\
         -   green  25.00\n+   green  50.00   (1 of 1 healthy)\n"
    );

    fs::remove_file(desired.join("splitter.hcl")).unwrap();
    let kept = lab.run(&["config", "diff", directory]).await;
    assert_eq!((kept.code, kept.out.as_str()), (0, ""));
    assert_eq!(kept.err, "only the agent has: service-splitter/payments (--prune counts them)\n");
    let pruned = lab.run(&["config", "diff", "--prune", "--json", directory]).await;
    assert_eq!(pruned.code, 1);
    let document: Value = serde_json::from_str(&pruned.out).unwrap();
    assert_eq!(document["same"], false);
    assert_eq!(document["entries"][0]["change"], "gone");
    assert_eq!(document["entries"][0]["fields"][0]["path"], "Splits[blue]");
    assert_eq!(document["entries"][0]["fields"][0]["before"], 75.0);
    assert_eq!(document["entries"][0]["fields"][0]["after"], Value::Null);

    put("bad.hcl", "kind = \"service-splitter\"\nname = payments\n");
    let bad = lab.run(&["config", "diff", directory]).await;
    assert_eq!((bad.code, bad.out.as_str()), (2, ""));
    assert!(bad.err.contains("bad.hcl:2:8: "), "{}", bad.err);
    let nobody =
        canaryctl("unix:///nowhere", &["config", "diff", &example("payments_resolver.hcl")]).await;
    assert_eq!(nobody.code, 2, "{}", nobody.err);
}

#[tokio::test]
async fn a_flow_is_explained_as_the_datapath_would_draw_it() {
    let lab = Lab::start().await;
    lab.register("payments-blue-1", 1, 2).await;
    lab.register("payments-blue-2", 2, 2).await;
    lab.register("payments-green-1", 3, 3).await;
    lab.run(&["config", "write", &example("payments_resolver.hcl")]).await;
    lab.run(&["config", "write", &example("3_canary/payments_splitter.hcl")]).await;
    let ask = async |client: &str, frontend: &str, more: &[&str]| {
        lab.run(&[&["explain", client, frontend], more].concat()).await
    };

    let mut green = 0;
    for port in 40_000..40_100 {
        let ran = ask(&format!("10.244.1.9:{port}"), "10.96.0.10:80", &["--json"]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        let flow: Value = serde_json::from_str(&ran.out).unwrap();
        let drawn: Vec<_> = flow["splits"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|split| split["drawn"] == true)
            .collect();
        let [drawn] = drawn.as_slice() else { panic!("{flow}") };
        let at = flow["position"].as_f64().unwrap();
        assert!(
            drawn["from"].as_f64().unwrap() <= at && at <= drawn["to"].as_f64().unwrap(),
            "{flow}"
        );
        let backend = flow["backend"].as_str().unwrap();
        if drawn["subset"] == "green" {
            green += 1;
            assert_eq!((backend, &flow["slot"]), ("10.244.1.3:8080", &Value::Null));
        } else {
            assert!(["10.244.1.1:8080", "10.244.1.2:8080"].contains(&backend), "{flow}");
            assert!(flow["slot"]["index"].as_u64() < flow["slot"]["of"].as_u64(), "{flow}");
        }
    }
    assert!((30..=70).contains(&green), "{green} of 100 at 50 %");

    let shown = ask("10.244.1.9:40000", "10.96.0.10:80", &[]).await;
    assert!(
        shown.out.starts_with("10.244.1.9:40000 -> 10.96.0.10:80/tcp  payments\n"),
        "{}",
        shown.out
    );
    let known = ask("10.244.1.9:7", "10.96.0.10:80", &[]).await;
    assert!(known.out.contains("known already, opening: it stays with "), "{}", known.out);
    lab.run(&["service", "deregister", "payments-green-1"]).await;
    lab.run(&["split", "set", "payments", "blue=0", "green=100"]).await;
    let refused = ask("10.244.1.9:40000", "10.96.0.10:80", &[]).await;
    assert!(refused.out.contains("  no healthy backend -> refused\n"), "{}", refused.out);
    let nobody = ask("10.244.1.9:40000", "10.96.0.11:80", &[]).await;
    assert_eq!((nobody.code, nobody.err.as_str()), (3, "no frontend is at 10.96.0.11:80/tcp\n"));
    let udp = ask("10.244.1.9:40000", "10.96.0.10:80", &["--udp"]).await;
    assert_eq!((udp.code, udp.err.as_str()), (3, "no frontend is at 10.96.0.10:80/udp\n"));
    let mixed = ask("[fd00::9]:40000", "10.96.0.10:80", &[]).await;
    assert_eq!(mixed.code, 4, "{}", mixed.err);
}

#[tokio::test]
async fn entries_of_every_kind_are_listed_with_their_kind() {
    let lab = Lab::start().await;
    lab.run(&["config", "write", &example("payments_resolver.hcl")]).await;
    lab.register("payments-blue-1", 1, 2).await;

    let list = lab.run(&["config", "list"]).await;
    let json = lab.run(&["config", "list", "--json"]).await;

    assert_eq!(list.out, "KIND              NAME\nservice-resolver  payments\n");
    let entries: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(entries.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn entries_that_are_listed_pass_the_filter() {
    let lab = Lab::start().await;
    lab.run(&["config", "write", &example("payments_resolver.hcl")]).await;
    let other = lab.path("other.hcl");
    fs::write(&other, "kind = \"service-resolver\"\nname = \"web\"\n").unwrap();
    lab.run(&["config", "write", &other]).await;
    let resolvers = ["--kind", "service-resolver", "--filter"];
    let list = async |of: &[&str], filter: &str| {
        lab.run(&[&["config", "list"], of, &[filter]].concat()).await
    };

    let one = list(&resolvers, "Name == \"web\"").await;
    let all = list(&["--filter"], "Name matches \"^pay\"").await;
    let wrong = list(&resolvers, "Nmae == web").await;
    let consul = ["config", "list", "-kind", "service-resolver", "-filter", "Name != web"];
    let (done, out) = lab.consul(&consul).await;

    assert_eq!(one.out, "web\n", "{}", one.err);
    assert_eq!(all.out, "KIND              NAME\nservice-resolver  payments\n", "{}", all.err);
    assert!(
        wrong.code == 2 && wrong.err.starts_with("--filter: service-resolver: Selector \"Nmae\""),
        "{}",
        wrong.err
    );
    assert_eq!((done, out.as_str()), (Ok(()), "payments\n"));
}

#[tokio::test]
async fn a_wrong_filter_is_told_with_what_to_write_instead() {
    let lab = Lab::start().await;
    lab.register("payments-blue-1", 1, 2).await;
    lab.register("payments-green-1", 3, 3).await;
    let path = lab.directory.path().join("resolver.hcl");
    let text = "kind = \"service-resolver\"\nname = \"payments\"\nsubsets = {\n  \
                green = { filter = \"Service.Meta.version == v3-rc1\" }\n}\n";
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();

    let listed = lab.run(&["service", "list", "--filter", "Meta.version == 3"]).await;
    let wrong = lab.run(&["service", "list", "--filter", "Service.Meta.version == 3"]).await;
    let unquoted = lab.run(&["service", "list", "--filter", "Meta.version == 1.2.3"]).await;
    let written = lab.run(&["config", "write", path]).await;
    let validated = lab.run(&["config", "validate", path]).await;

    assert!(
        listed.out.contains("payments-green-1") && !listed.out.contains("blue"),
        "{}",
        listed.out
    );
    assert_eq!(
        (wrong.code, wrong.err.as_str()),
        (2, "--filter: Selector \"Service.Meta\" is not valid (did you mean Meta.version?)\n")
    );
    assert_eq!(
        (unquoted.code, unquoted.err.as_str()),
        (
            2,
            "--filter: 1:20 (19): rule \"number\": Invalid number literal (quote the value: \"1.2.3\")\n"
        )
    );
    for ran in [written, validated] {
        assert_eq!(ran.code, 4, "{}", ran.err);
        assert!(ran.err.contains("(quote the value: \"v3-rc1\")"), "{}", ran.err);
    }
}
