//! Entries and instances in, chain and shares out: one file a case, in `tests/golden/chain`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;
use crate::entry::{Entry, check_names, reference::Entries};
use crate::source::files;
use crate::store::SourceFile;

/// The set of a case: files that stand in one, a line `---` between two.
///
/// An instance is as well as its meta `health` says.
fn snapshot(name: &str, text: &str) -> Snapshot {
    let parts = text.split("\n---\n").zip(1..).map(|(part, number)| SourceFile {
        path: format!("{name}-{number}.hcl"),
        content: part.into(),
    });
    let set = files::decode(&parts.collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let mut snapshot = Snapshot::default();
    for ((_, name), sourced) in set.entries {
        match sourced.value.clone() {
            Entry::Resolver(value) => {
                drop(snapshot.resolvers.insert(name, Arc::new(sourced.map(|_| value))));
            }
            Entry::Splitter(value) => {
                drop(snapshot.splitters.insert(name, Arc::new(sourced.map(|_| value))));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    for sourced in set.instances.into_values() {
        let health = match sourced.value.meta.get("health").map(String::as_str) {
            Some("critical") => Health::Critical,
            Some("warning") => Health::Warning,
            _ => Health::Passing,
        };
        Arc::make_mut(&mut snapshot.instances).push(Arc::new(Registered {
            node: Arc::default(),
            checks: Box::default(),
            instance: sourced.value,
            origin: sourced.origin,
            health,
        }));
    }
    Lab(snapshot).snapshot()
}

/// What a case comes to, in the words of a golden file.
fn outcome(snapshot: &Snapshot) -> String {
    let names: BTreeSet<&str> =
        snapshot.resolvers.keys().chain(snapshot.splitters.keys()).map(String::as_str).collect();
    if let Err(error) = check_names(&snapshot, &names) {
        return format!("refused: {:?} of {}: {}\n", error.part, error.service, error.text);
    }
    let compiled = compile(snapshot, &Claims::new());
    let mut text = String::new();
    for service in &compiled.desired.services {
        writeln!(text, "{} by {:?}", service.name, service.affinity).unwrap();
        for split in &service.splits {
            let key = &split.key;
            write!(text, "  {}/{}: weight {}", key.target, key.subset, split.weight).unwrap();
            write!(text, ", share {}", split.share).unwrap();
            for backend in &split.backends {
                let health = if backend.healthy { "" } else { " unhealthy" };
                write!(text, ", {}{health}", socket(&backend.endpoint)).unwrap();
            }
            for standby in &split.standby {
                write!(text, ", {} stands by", socket(standby)).unwrap();
            }
            text.push('\n');
        }
    }
    for refused in &compiled.refused {
        writeln!(text, "refused {}: {}", refused.service, refused.text).unwrap();
    }
    for warning in compiled.warnings.iter() {
        writeln!(text, "warning {}: {}", warning.service, warning.text).unwrap();
    }
    // The first file is of the service that the case is about.
    let splitter =
        snapshot.splitter("next").map(|_| "next").filter(|_| snapshot.splitter("web").is_none());
    let chain = discovery_chain(snapshot, splitter.unwrap_or("web")).unwrap();
    writeln!(text, "\n{}", serde_json::to_string_pretty(&chain).unwrap()).unwrap();
    text
}

/// `CANARY_BLESS=1` writes the files anew.
#[test]
fn every_case_gives_its_chain_and_shares() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chain");
    let mut cases: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hcl"))
        .collect();
    cases.sort();
    assert!(cases.len() > 25, "{} cases", cases.len());
    for case in cases {
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        let is = outcome(&snapshot(&name, &fs::read_to_string(&case).unwrap()));
        let golden = case.with_extension("txt");
        if env::var_os("CANARY_BLESS").is_some() {
            fs::write(&golden, &is).unwrap();
        }
        let should = fs::read_to_string(&golden).unwrap_or_default();
        assert!(is == should, "{name} differs; is:\n{is}");
    }
}
