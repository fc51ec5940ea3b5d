mod damage;
mod faults;
mod killed;
mod log;

use serde_json::json;

use super::*;
use crate::audit::{Action, Altered, Author};

/// A change of some services with a text of its own.
fn record(number: u64, services: &[&str], text: &str) -> Record {
    let altered = |service: &&str| Altered {
        service: (*service).to_owned(),
        kind: "service-splitter".to_owned(),
        name: (*service).to_owned(),
        before: Value::Null,
        after: json!(text),
    };
    Record {
        number,
        time_ms: number,
        author: Author::Signal,
        action: Action::Reload,
        index: number,
        revision: number,
        changes: services.iter().map(altered).collect(),
        weights: BTreeMap::new(),
        severed: None,
    }
}

fn entry(weight: u64, create_index: u64, modify_index: u64) -> Stored {
    Stored { json: json!({"Kind": "service-splitter", "W": weight}), create_index, modify_index }
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Store::open(dir.path()).unwrap();
    assert_eq!(opened.contents, Contents::default());
    assert_eq!(opened.store.last_good().unwrap(), None);
    let files = vec![
        SourceFile { path: "b".into(), content: b"1".into() },
        SourceFile { path: "a".into(), content: b"2".into() },
    ];
    let past = Past::from([("service-splitter".to_owned(), Value::Null)]);

    let store = opened.store;
    store
        .commit(
            7,
            &[
                Write::Entry("service-splitter".into(), "web".into(), Some(entry(1, 7, 7))),
                Write::Entry("service-splitter".into(), "gone".into(), Some(entry(1, 7, 7))),
                Write::Registration("web-1".into(), Some(entry(2, 7, 7))),
                Write::Past("web".into(), Some(past.clone())),
                Write::LastGood(files.clone()),
                Write::Check("c1".into(), Some(entry(3, 7, 7))),
                Write::Check("c2".into(), Some(entry(4, 7, 7))),
                Write::CheckStates(vec![
                    ("c1".into(), Some(json!(1))),
                    ("c2".into(), Some(json!(2))),
                ]),
            ],
        )
        .unwrap();
    store
        .commit(
            8,
            &[
                Write::Entry("service-splitter".into(), "gone".into(), None),
                Write::Check("c2".into(), None),
                Write::CheckStates(vec![("c2".into(), None)]),
            ],
        )
        .unwrap();
    drop(store);
    let Opened { store, contents, warning } = Store::open(dir.path()).unwrap();

    assert_eq!(warning, None);
    assert_eq!(contents.index, 8);
    assert_eq!(contents.entries.len(), 1);
    assert_eq!(contents.entries[&("service-splitter".into(), "web".into())], entry(1, 7, 7));
    assert_eq!(contents.registrations["web-1"], entry(2, 7, 7));
    assert_eq!(contents.past["web"], past);
    assert_eq!(contents.checks, BTreeMap::from([("c1".to_owned(), entry(3, 7, 7))]));
    assert_eq!(contents.check_states, BTreeMap::from([("c1".to_owned(), json!(1))]));
    assert_eq!(store.last_good().unwrap(), Some(files));
}

#[test]
fn a_second_agent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Store::open(dir.path()).unwrap();

    let error = Store::open(dir.path()).unwrap_err();

    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    assert!(error.to_string().contains("another agent"), "{error}");
}
