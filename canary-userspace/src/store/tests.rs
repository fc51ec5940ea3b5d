use serde_json::json;

use super::*;

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

#[test]
fn a_corrupt_store_is_moved_aside_and_said() {
    for damage in [Damage::NotADatabase, Damage::Truncated, Damage::Scribbled] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let filled = Store::open(dir.path()).unwrap().store;
        let write = |n: u64| Write::Entry("k".into(), format!("n{n}"), Some(entry(n, 1, 1)));
        filled.commit(1, &(0..500).map(write).collect::<Vec<_>>()).unwrap();
        drop(filled);
        damage.inflict(&path);

        let Opened { store, contents, warning } = Store::open(dir.path()).unwrap();

        let warning = warning.unwrap_or_else(|| panic!("{damage:?} went unseen"));
        assert!(warning.contains("corrupt") && warning.contains(FILE_NAME), "{warning}");
        assert_eq!(contents, Contents::default(), "{damage:?}");
        store.commit(1, &[write(1)]).unwrap();
        let aside = |name: &str| name.starts_with("store.redb.corrupt-");
        let names = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!(names.filter(|name| aside(name.to_str().unwrap())).count(), 1, "{damage:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    NotADatabase,
    Truncated,
    Scribbled,
}

impl Damage {
    fn inflict(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Self::NotADatabase => bytes = b"kind = \"service-splitter\"\n".repeat(1000),
            Self::Truncated => bytes.truncate(bytes.len() / 2),
            Self::Scribbled => {
                let from = bytes.windows(18).position(|w| w == b"\"service-splitter\"").unwrap();
                bytes[from..from + 4].fill(b'#');
            }
        }
        fs::write(path, bytes).unwrap();
    }
}
