//! The log: by service, and bounded.

use super::*;

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.number).collect()
}

#[test]
fn a_service_sees_its_part_of_each_change_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap().store;
    let services: [&[&str]; 4] = [&["web"], &["pay"], &["web", "pay"], &["we"]];
    for (number, services) in (1..).zip(services) {
        store.commit(number, &[Write::Record(Box::new(record(number, services, "x")))]).unwrap();
    }

    let log = store.log();
    let web = log.of_service("web", 0, 10).unwrap();

    assert_eq!(numbers(&web), [3, 1]);
    assert_eq!(web[0].services().into_iter().collect::<Vec<_>>(), ["web"]);
    assert_eq!(numbers(&log.of_service("web", 1, 10).unwrap()), [3]);
    assert_eq!(numbers(&log.of_service("web", 0, 1).unwrap()), [3]);
    assert_eq!(numbers(&log.of_service("nobody", 0, 10).unwrap()), [0; 0]);
    assert_eq!(numbers(&log.all(2).unwrap()), [4, 3]);
    assert!(log.knows("web", 3).unwrap() && !log.knows("web", 2).unwrap());
    drop((store, log));
    assert_eq!(Store::open(dir.path()).unwrap().contents.last_change, 4);
}

#[test]
fn the_oldest_changes_go_by_number_and_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap().store;
    assert_eq!((store.bounds.records, store.bounds.bytes), (MAX_RECORDS, MAX_LOG_BYTES));
    store.bounds = super::super::log::Bounds { records: 10, bytes: 100_000 };
    let append = |numbers: std::ops::RangeInclusive<u64>, text: &str| {
        let write = |number| Write::Record(Box::new(record(number, &["web"], text)));
        store.commit(1, &numbers.map(write).collect::<Vec<_>>()).unwrap();
    };
    append(1..=15, "x");

    let log = store.log();
    assert_eq!(numbers(&log.all(99).unwrap()), [15, 14, 13, 12, 11, 10, 9, 8, 7, 6]);
    assert!(!log.knows("web", 5).unwrap() && log.knows("web", 6).unwrap());

    // Each a quarter of the log and a little more: the fourth does not fit beside three.
    (21..=25).for_each(|number| append(number..=number, &"y".repeat(25_000)));
    assert_eq!(numbers(&log.all(99).unwrap()), [25, 24, 23]);
    assert_eq!(numbers(&log.of_service("web", 0, 99).unwrap()), [25, 24, 23]);
    append(25..=25, "written again, and small");
    append(26..=26, &"y".repeat(25_000));
    assert_eq!(numbers(&log.all(99).unwrap()), [26, 25, 24, 23]);
    append(27..=27, &"z".repeat(100_001));
    assert_eq!(numbers(&log.all(99).unwrap()), [27]);
    append(28..=28, "small");
    assert_eq!(numbers(&log.all(99).unwrap()), [28]);
}
