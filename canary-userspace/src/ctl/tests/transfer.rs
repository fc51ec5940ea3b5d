//! History, undo to a change, dry runs, export and import by command lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::story::{Lab, example, shares};

fn names(directory: &Path) -> Vec<String> {
    let found = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        found.map(|found| found.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn with_payments() -> Lab {
    let lab = Lab::start().await;
    lab.register("payments-blue-1", 1, 2).await;
    lab.register("payments-green-1", 3, 3).await;
    let resolver = lab.run(&["config", "write", &example("payments_resolver.hcl")]).await;
    assert_eq!(resolver.code, 0, "{}", resolver.err);
    lab.run(&["split", "set", "payments", "blue=90", "green=10"]).await;
    lab.run(&["split", "set", "payments", "blue=50", "green=50"]).await;
    lab
}

#[tokio::test]
async fn history_shows_what_moved_and_undo_goes_back_to_it() {
    let lab = with_payments().await;

    let history = lab.run(&["history", "payments", "--limit", "2"]).await;
    let lines: Vec<&str> = history.out.lines().collect();
    assert!(lines[0].starts_with("N  AGE  TIME"), "{}", history.out);
    assert!(lines[1].contains("split set  blue 90 -> 50, green 10 -> 50"), "{}", history.out);
    assert!(lines[2].contains("split set  blue 100 -> 90, green none -> 10"), "{}", history.out);
    assert_eq!(lines.len(), 3);
    let json = lab.run(&["history", "payments", "--json"]).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json[0]["action"], "split-set");

    let number = json[1]["number"].to_string();
    let look = lab.run(&["undo", "payments", "--to", &number, "--dry-run"]).await;
    let told = "payments blue 50 -> 90, green 50 -> 10";
    assert!(
        look.out.starts_with(&format!("Would undo: {told} (dry run: revision ")),
        "{}",
        look.out
    );
    assert_eq!(lab.memory.shares("payments"), shares(&[("blue", 5000), ("green", 5000)]));
    let undo = lab.run(&["undo", "payments", "--to", &number]).await;
    assert!(
        undo.out.starts_with(&format!("Undone: {told} (revision ")),
        "{}{}",
        undo.out,
        undo.err
    );
    let unknown = lab.run(&["undo", "payments", "--to", "99"]).await;
    assert_eq!((unknown.code, unknown.out.as_str()), (3, ""));
    assert_eq!(unknown.err, "no change 99 of service \"payments\" is known\n");
    let nobody = lab.run(&["history", "nobody"]).await;
    assert_eq!((nobody.code, nobody.err.as_str()), (0, "no change of \"nobody\" is known\n"));
    let all = lab.run(&["history"]).await;
    assert!(all.out.contains("  payments blue 90 -> 50, green 10 -> 50  "), "{}", all.out);
}

#[tokio::test]
async fn dry_runs_say_would_and_change_nothing() {
    let lab = with_payments().await;
    let file = lab.directory.path().join("payments-blue-1.hcl");
    let file = file.to_str().unwrap();
    let splitter = example("3_canary/payments_splitter.hcl");
    let entry = ["--kind", "service-splitter", "--name", "payments"];
    let before = lab.run(&["history", "--json"]).await.out;
    let lines: [(&[&str], &str); 8] = [
        (
            &["config", "write", &splitter],
            "Would write config entry: service-splitter/payments\nWould move: payments no weight moved (dry run",
        ),
        (
            &[&["config", "delete"], &entry[..]].concat(),
            "Would delete config entry: service-splitter/payments\nWould move: payments blue 50 -> 100, green 50 -> none (dry run",
        ),
        (
            &["split", "set", "payments", "blue=60", "green=40"],
            "Would set split: payments blue 50 -> 60, green 50 -> 40 (dry run",
        ),
        (
            &["rollback", "payments"],
            "Would roll back: payments blue 50 -> 100, green 50 -> 0 (dry run",
        ),
        (
            &["service", "register", file],
            "Would register service: payments (payments-blue-1)\nWould move: payments no weight moved",
        ),
        (
            &["service", "deregister", "payments-green-1"],
            "Would deregister service: payments-green-1\nWould move: payments no weight moved",
        ),
        (&["reload"], "Would reload: 0 new, 0 changed, 0 gone (dry run"),
        (
            &["import", "--replace", file],
            "Would import: 0 new, 0 changed, 3 gone (dry run: revision ",
        ),
    ];

    for (line, says) in lines {
        let ran = lab.run(&[line, &["--dry-run"]].concat()).await;
        assert!(ran.code == 0 && ran.out.starts_with(says), "{line:?}: {}{}", ran.out, ran.err);
    }

    assert_eq!(lab.run(&["history", "--json"]).await.out, before);
    assert_eq!(lab.memory.shares("payments"), shares(&[("blue", 5000), ("green", 5000)]));
    let refused = lab.run(&["split", "set", "payments", "blue=60", "--dry-run"]).await;
    assert_eq!(refused.code, 4, "{}", refused.out);
}

#[tokio::test]
async fn an_export_is_a_file_each_and_overwrites_nothing_unasked() {
    let lab = with_payments().await;
    let directory = lab.directory.path().join("backup");
    let to = directory.to_str().unwrap();

    let ran = lab.run(&["export", to]).await;

    assert_eq!(
        ran.out,
        format!("Exported: 2 config entries, 2 instances to {to}\n"),
        "{}",
        ran.err
    );
    assert_eq!(
        names(&directory),
        [
            "service-resolver.payments.json",
            "service-splitter.payments.json",
            "service.payments-blue-1.json",
            "service.payments-green-1.json",
        ]
    );
    let valid = lab.run(&["config", "validate", to]).await;
    assert_eq!(valid.code, 0, "{}", valid.err);
    let splitter = directory.join("service-splitter.payments.json");
    let written = lab.run(&["config", "write", splitter.to_str().unwrap()]).await;
    assert_eq!(written.code, 0, "{}", written.err);
    let again = lab.run(&["export", to]).await;
    assert_eq!(again.code, 1);
    assert!(again.err.contains("is there already: --force overwrites it"), "{}", again.err);
    lab.run(&["rollback", "payments"]).await;
    lab.run(&["service", "deregister", "payments-green-1"]).await;
    let forced = lab.run(&["export", to, "--force"]).await;
    assert_eq!(forced.code, 0, "{}", forced.err);
    assert!(fs::read_to_string(&splitter).unwrap().contains("100"));
    let stale = directory.join("service.payments-green-1.json");
    let warned = format!("WARNING: {} is of nothing that was exported\n", stale.display());
    assert_eq!(forced.err, warned);
    assert_eq!(names(&directory).len(), 4);
}

#[tokio::test]
async fn an_import_that_is_refused_names_file_and_place() {
    let lab = with_payments().await;
    let directory = lab.directory.path().join("new");
    fs::create_dir(&directory).unwrap();
    let text = "kind = \"service-splitter\"\nname = \"payments\"\nsplits = [{ weight = 100, service_subset = \"gren\" }]\n";
    let bad = directory.join("bad.hcl");
    fs::write(&bad, text).unwrap();
    let binary = lab.directory.path().join("binary.hcl");
    fs::write(&binary, b"name = \"\xff\"").unwrap();

    let refused = lab.run(&["import", directory.to_str().unwrap()]).await;
    let unreadable = lab.run(&["import", binary.to_str().unwrap()]).await;
    let absent = lab.run(&["import", "/nowhere/at/all.hcl"]).await;

    let place = format!("{}:3:44: service \"payments\" does not have a subset", bad.display());
    assert!(refused.code == 4 && refused.err.starts_with(&place), "{}", refused.err);
    let line = "\n  3 | splits = [{ weight = 100, service_subset = \"gren\" }]\n    |   ";
    assert!(refused.err.contains(line), "{}", refused.err);
    let place = format!("{}:1:9: illegal UTF-8 encoding\n  1 | name = ", binary.display());
    assert!(unreadable.code == 4 && unreadable.err.starts_with(&place), "{}", unreadable.err);
    assert_eq!(absent.code, 1, "{}", absent.err);
    assert_eq!(lab.memory.shares("payments"), shares(&[("blue", 5000), ("green", 5000)]));
}

const CHECKS: &str = r#"check { id = "disk" name = "Disk" ttl = "1h" status = "warning" }
check { name = "warm" ttl = "1h" status = "passing" service_id = "payments-blue-1" }
maintenance { reason = "new switch" }
maintenance { service_id = "payments-green-1" reason = "new disk" }
"#;

#[tokio::test]
async fn checks_and_maintenance_modes_are_part_of_a_backup() {
    let lab = with_payments().await;
    let file = lab.path("checks.hcl");
    fs::write(&file, CHECKS).unwrap();
    let to = lab.path("backup");
    let checks = async || lab.run(&["service", "checks"]).await.out;

    let ran = lab.run(&["import", &file]).await;
    assert!(ran.out.starts_with("Imported: 4 new, 0 changed, 0 gone"), "{}{}", ran.out, ran.err);
    let before = checks().await;
    let modes = ["(node)            _node_maintenance", "new switch", "new disk", "disk", "warm"];
    assert!(modes.iter().all(|mode| before.contains(mode)), "{before}");
    let ran = lab.run(&["export", &to]).await;
    assert_eq!(
        ran.out,
        format!("Exported: 2 config entries, 2 instances, 2 checks, 2 maintenance modes to {to}\n"),
        "{}",
        ran.err
    );
    let kept = names(Path::new(&to));
    let wanted = [
        "check.disk.json",
        "check.warm.json",
        "maintenance.json",
        "maintenance.payments-green-1.json",
    ];
    assert_eq!(kept[..4], wanted);
    let valid = lab.run(&["config", "validate", &to]).await;
    assert_eq!(valid.code, 0, "{}", valid.err);

    let path = |name: &str| format!("{to}/{name}");
    let services = ["blue", "green"].map(|name| path(&format!("service.payments-{name}-1.json")));
    let alone = ["import", "--replace", &services[0], &services[1]];
    let ran = lab.run(&alone).await;
    assert!(ran.out.starts_with("Imported: 0 new, 0 changed, 6 gone"), "{}{}", ran.out, ran.err);
    assert_eq!(checks().await.lines().count(), 1, "{}", checks().await);
    let ran = lab.run(&["import", "--replace", &to]).await;
    assert!(ran.out.starts_with("Imported: 6 new, 0 changed, 0 gone"), "{}{}", ran.out, ran.err);
    assert_eq!(checks().await, before);
}

#[tokio::test]
async fn an_import_with_a_check_that_is_refused_changes_nothing() {
    let lab = with_payments().await;
    let file = lab.path("checks.hcl");
    let service = "service {\n  name = \"web\"\n  address = \"10.0.0.9\"\n  port = 1\n  \
                   check { ttl = \"1m\" }\n}\n";
    fs::write(&file, format!("{CHECKS}{service}check {{ name = \"service:web\" ttl = \"1m\" }}\n"))
        .unwrap();
    let before = lab.run(&["history", "--json"]).await.out;

    let refused = lab.run(&["import", &file]).await;

    let place = format!("{file}:11:1: check id \"service:web\" (the store) belongs to service id");
    assert!(refused.code == 4 && refused.err.starts_with(&place), "{}", refused.err);
    assert_eq!(lab.run(&["history", "--json"]).await.out, before);
    assert_eq!(lab.run(&["service", "checks"]).await.out.lines().count(), 1);
    fs::write(&file, "maintenance { service_id = \"away\" raeson = \"x\" }\n").unwrap();
    let unknown = lab.run(&["import", &file]).await;
    assert!(unknown.code == 4 && unknown.err.contains("raeson"), "{}", unknown.err);
    fs::write(&file, "maintenance { service_id = \"away\" reason = \"x\" }\n").unwrap();
    let waits = lab.run(&["import", &file]).await;
    let told = "waits: no instance has the service id \"away\"";
    assert!(waits.code == 0 && waits.err.contains(told), "{}", waits.err);
}

#[tokio::test]
async fn a_maintenance_mode_of_a_file_ends_in_that_file() {
    let lab = with_payments().await;
    let file = lab.path("etc/checks.hcl");
    fs::write(&file, CHECKS).unwrap();
    // A directory that becomes empty is not believed.
    fs::write(lab.path("etc/other.hcl"), "# Nothing yet.\n").unwrap();
    let disable = ["service", "maintenance", "--node", "--disable"];

    let reload = lab.run(&["reload"]).await;
    let refused = lab.run(&disable).await;
    fs::remove_file(&file).unwrap();
    let again = lab.run(&["reload"]).await;

    assert_eq!((reload.code, again.code), (0, 0), "{}{}", reload.err, again.err);
    let told =
        format!("the maintenance mode is defined in {file}:3:1: delete it there and reload\n");
    assert_eq!((refused.code, refused.err), (4, told));
    assert_eq!(lab.run(&["service", "checks"]).await.out.lines().count(), 1);
}

/// An instance's id, tags and meta: whatever people write.
#[derive(Clone, Debug)]
struct Instance {
    id: String,
    tags: Vec<String>,
    meta: BTreeMap<String, String>,
    passing: u16,
    check: Option<Check>,
    /// Why it is in maintenance mode.
    maintenance: Option<String>,
}

/// A check on its own: of an instance, or of the node.
#[derive(Clone, Debug)]
struct Check {
    id: String,
    notes: String,
    status: &'static str,
}

/// A service: its instances, the weights of its subsets, and free pairs of its entries.
#[derive(Clone, Debug)]
struct Service {
    instances: Vec<Instance>,
    weights: Vec<u16>,
    meta: BTreeMap<String, String>,
}

fn instance() -> impl Strategy<Value = Instance> {
    let meta = btree_map("[a-zA-Z0-9_-]{1,6}", any::<String>(), 0..3);
    let free = ("\\PC{1,12}", vec(any::<String>(), 0..3), meta, 1_u16..);
    (free, of(check()), of(any::<String>())).prop_map(
        |((id, tags, meta, passing), check, maintenance)| Instance {
            id,
            tags,
            meta,
            passing,
            check,
            maintenance,
        },
    )
}

fn check() -> impl Strategy<Value = Check> {
    let status = prop_oneof![Just("passing"), Just("warning"), Just("critical")];
    ("\\PC{1,12}", any::<String>(), status).prop_map(|(id, notes, status)| Check {
        id,
        notes,
        status,
    })
}

fn service() -> impl Strategy<Value = Service> {
    let meta = btree_map("[a-zA-Z0-9_-]{1,6}", "\\PC{0,9}", 0..2);
    let weights = (0_u16..5000, 0_u16..5000).prop_map(|(a, b)| vec![a, b, 10_000 - a - b]);
    let weights = prop_oneof![Just(Vec::new()), weights];
    (vec(instance(), 0..3), weights, meta).prop_map(|(instances, weights, meta)| Service {
        instances,
        weights,
        meta,
    })
}

/// What people would have written for these services, and for a node of such a check and mode.
fn files(services: &[Service], node: &(Option<Check>, Option<String>), directory: &Path) {
    let mut checks = Vec::new();
    let mut modes = Vec::new();
    let mut tell = |of: Value, check: &Option<Check>, reason: &Option<String>| {
        if let Some(Check { id, notes, status }) = check {
            checks.push(json!({"ID": format!("{}{id}", checks.len()), "Name": "up", "TTL": "1h",
                "Notes": notes, "Status": status, "ServiceID": of}));
        }
        modes.extend(reason.iter().map(|reason| json!({"ServiceID": of, "Reason": reason})));
    };
    tell(json!(""), &node.0, &node.1);
    let mut host = 0;
    for (service, name) in services.iter().zip(["payments", "web-2", "x.y"]) {
        let write = |kind: &str, json: Value| {
            fs::write(directory.join(format!("{name}-{kind}.json")), json.to_string()).unwrap();
        };
        let instances = service.instances.iter().enumerate().map(|(number, instance)| {
            host += 1;
            let id = json!(format!("{name}{number}{}", instance.id));
            tell(id.clone(), &instance.check, &instance.maintenance);
            json!({"Name": name, "ID": id, "Tags": instance.tags,
                "Meta": instance.meta, "Address": format!("10.0.0.{host}"), "Port": 80,
                "Weights": {"Passing": instance.passing, "Warning": 1},
                "TaggedAddresses": {"virtual": {"Address": format!("10.96.0.{}", name.len()), "Port": 80}}})
        });
        write("services", json!({"services": instances.collect::<Vec<_>>()}));
        if service.weights.is_empty() {
            continue;
        }
        let subsets = service.weights.iter().enumerate().map(|(number, _)| {
            let filter = format!("Service.Meta.version == {number} or {number:?} in Service.Tags");
            (format!("s{number}"), json!({"Filter": filter}))
        });
        let splits = service.weights.iter().enumerate().map(|(number, weight)| {
            json!({"Weight": f64::from(*weight) / 100.0, "ServiceSubset": format!("s{number}")})
        });
        write(
            "resolver",
            json!({"Kind": "service-resolver", "Name": name, "Meta": service.meta,
            "DefaultSubset": "s0", "Subsets": subsets.collect::<serde_json::Map<_, _>>()}),
        );
        write(
            "splitter",
            json!({"Kind": "service-splitter", "Name": name, "Meta": service.meta,
            "Splits": splits.collect::<Vec<_>>()}),
        );
    }
    let node = json!({"checks": checks, "maintenance": modes}).to_string();
    fs::write(directory.join("node.json"), node).unwrap();
}

/// What is in force, and what the store says.
async fn everything(
    lab: &Lab,
    directory: &str,
) -> (crate::compile::Desired, Vec<(String, String)>) {
    let directory = lab.directory.path().join(directory);
    let ran = lab.run(&["export", directory.to_str().unwrap()]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let read = |name: String| {
        let text = fs::read_to_string(directory.join(&name)).unwrap();
        (name, text)
    };
    let published = lab.memory.get().published.clone();
    (published, names(&directory).into_iter().map(read).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn an_export_imported_into_an_empty_agent_gives_the_same_state(
        services in vec(service(), 3),
        node in (of(check()), of(any::<String>())),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (first, second) = (Lab::start().await, Lab::start().await);
            let written = first.directory.path().join("written");
            fs::create_dir(&written).unwrap();
            files(&services, &node, &written);
            let ran = first.run(&["import", written.to_str().unwrap()]).await;
            assert_eq!(ran.code, 0, "{}", ran.err);
            let before = everything(&first, "export").await;

            let export = first.directory.path().join("export");
            let ran = second.run(&["import", export.to_str().unwrap()]).await;

            assert_eq!(ran.code, 0, "{}", ran.err);
            assert_eq!(everything(&second, "export").await, before);
        });
    }
}
