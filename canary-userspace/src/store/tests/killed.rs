//! A process that writes, and dies without a word.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

/// Names the data directory to the child.
const CHILD: &str = "CANARY_TEST_STORE";
/// What the child says when a write is acknowledged.
const ACKNOWLEDGED: &str = "acknowledged ";
/// Entries that are written in turn.
const NAMES: u64 = 7;

#[test]
#[ignore = "the child of the test below"]
fn child() {
    let Some(directory) = env::var_os(CHILD) else { return };
    let Opened { store, contents, warning } = Store::open(Path::new(&directory)).unwrap();
    assert_eq!(warning, None);
    for index in contents.index + 1.. {
        let name = format!("n{}", index % NAMES);
        let writes = [
            Write::Entry("k".into(), name.clone(), Some(entry(index, index, index))),
            Write::Record(Box::new(record(index, &[&name], "x"))),
        ];
        store.commit(index, &writes).unwrap();
        println!("{ACKNOWLEDGED}{index}");
    }
}

#[test]
fn a_process_killed_at_any_write_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut found = 0;
    for round in 0..24_u32 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::tests::killed::child", "--ignored", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = found;
        let mut seen = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let note = |line: String, acknowledged: &mut u64| {
            let number = line.strip_prefix(ACKNOWLEDGED).and_then(|number| number.parse().ok());
            *acknowledged = number.unwrap_or(*acknowledged);
            number.is_some()
        };
        while seen < round % 5 + 1 {
            let line = lines.next().expect("the child writes").unwrap();
            seen += u32::from(note(line, &mut acknowledged));
        }
        // Somewhere in the next write, each time somewhere else.
        for _ in 0..round * 2000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            note(line.unwrap(), &mut acknowledged);
        }

        let Opened { store, contents, warning } = Store::open(dir.path()).unwrap();
        assert_eq!(warning, None);
        found = contents.index;
        let in_flight = acknowledged + 1;
        assert!(found == acknowledged || found == in_flight, "{found} after {acknowledged}");
        for last in found.saturating_sub(NAMES - 1).max(1)..=found {
            let key = ("k".to_owned(), format!("n{}", last % NAMES));
            assert_eq!(contents.entries[&key], entry(last, last, last));
        }
        assert_eq!(contents.last_change, found);
        assert_eq!(store.log().all(usize::MAX).unwrap().len(), usize::try_from(found).unwrap());
    }
}
