//! Loss of power, and no space left, at every single operation of a short history.

use super::super::disk::{Disk, FATES, Fate};
use super::*;

/// What a store holds, the log included.
type Image = (Contents, Vec<Record>);

fn image(store: &Store) -> Image {
    let contents = store.shared.read(tables::read_all).unwrap();
    (contents, store.log().all(usize::MAX).unwrap())
}

/// Changes of every sort.
fn history() -> Vec<Vec<Write>> {
    let web = |value: Option<Stored>| Write::Entry("service-splitter".into(), "web".into(), value);
    let file = |value| Write::FileEntry("service-resolver".into(), "web".into(), value);
    let instance = |value| Write::Registration("web-1".into(), value);
    let past = |value: Option<&str>| {
        let past = value.map(|text| Past::from([("service-splitter".to_owned(), json!(text))]));
        Write::Past("web".into(), past)
    };
    let recorded =
        |number, write: Write| vec![write, Write::Record(Box::new(record(number, &["web"], "x")))];
    let wide = "y".repeat(20_000);
    vec![
        recorded(1, web(Some(entry(1, 1, 1)))),
        vec![file(Some(entry(2, 2, 2))), past(Some("a"))],
        recorded(3, instance(Some(entry(3, 3, 3)))),
        recorded(4, web(Some(entry(2, 1, 4)))),
        vec![past(Some(&wide))],
        recorded(6, web(None)),
        recorded(7, instance(None)),
    ]
}

/// Performs the history and returns how much of it was acknowledged.
fn run(store: &Store) -> usize {
    let mut done = 0;
    for (number, writes) in (1..).zip(history()) {
        if store.commit(number, &writes).is_err() {
            break;
        }
        done += 1;
    }
    done
}

/// What a store holds after each part of the history.
fn images() -> Vec<Image> {
    let (store, _) = Disk::default().store().unwrap();
    let mut images = vec![image(&store)];
    for (number, writes) in (1..).zip(history()) {
        store.commit(number, &writes).unwrap();
        images.push(image(&store));
    }
    images
}

#[test]
fn power_lost_at_any_operation_loses_nothing_acknowledged() {
    let images = images();
    let all = images.len() - 1;
    let mut points = 0;
    for dies_at in 1.. {
        let disk = Disk::default();
        disk.get().dies_at = Some(dies_at);
        let done = disk.store().map(|(store, _)| run(&store));
        for fate in FATES {
            let survivors = disk.survivors(fate);
            let opened = survivors.store();
            // Until it was open for the first time there is nothing to lose: it is begun anew.
            let Ok((store, _)) = opened else {
                assert!(done.is_err(), "{dies_at} {fate:?}: {opened:?}");
                continue;
            };
            let found = image(&store);
            let done = *done.as_ref().unwrap_or(&0);
            let expected = &images[done..=all.min(done + 1)];
            assert!(expected.contains(&found), "{dies_at} {fate:?}, {done} done: {found:#?}");
            store.commit(99, &[Write::Past("later".into(), Some(Past::new()))]).unwrap();
        }
        points += 1;
        if done.is_ok_and(|done| done == all) {
            break;
        }
    }
    assert!(points > 50, "{points} operations");
}

#[test]
fn a_disk_without_space_at_any_operation_refuses_and_works_again() {
    let images = images();
    let (store, disk) = filled();
    let begin = disk.get().operations;
    run(&store);
    let operations = disk.get().operations - begin;
    for failing in 1..=operations {
        let (store, disk) = filled();
        let fails_at = disk.get().operations + failing;
        disk.get().fails_at = Some(fails_at);
        for (index, writes) in history().into_iter().enumerate() {
            let number = u64::try_from(index).unwrap() + 1;
            if let Err(error) = store.commit(number, &writes) {
                assert!(error.to_string().contains("disk: the store cannot be written"), "{error}");
                assert_eq!(image(&store), images[index], "operation {failing}");
                store.commit(number, &writes).unwrap();
            }
            assert_eq!(image(&store), images[index + 1], "operation {failing}");
        }
        drop(store);
        let (store, _) = disk.survivors(Fate::Lost).store().unwrap();
        assert_eq!(&image(&store), images.last().unwrap(), "operation {failing}");
    }
}

fn filled() -> (Store, Disk) {
    let disk = Disk::default();
    (disk.store().unwrap().0, disk)
}

#[test]
fn a_full_disk_refuses_and_works_again_once_there_is_room() {
    let (store, disk) = filled();
    let write = |n: u64, text: &str| Write::Entry("k".into(), format!("n{n}"), Some(wide(n, text)));
    store.commit(1, &[write(1, "")]).unwrap();
    let full = disk.get().synced_bytes();
    disk.get().room = Some(full);
    let mut refused = None;
    let text = "z".repeat(100_000);
    for n in 2..100 {
        let before = image(&store);
        if let Err(error) = store.commit(n, &[write(n, &text)]) {
            assert_eq!(image(&store), before);
            refused = Some((n, error.to_string()));
            break;
        }
    }
    let (n, error) = refused.expect("100 large entries do not fit");
    assert!(error.contains("the store cannot be written"), "{error}");
    disk.get().room = Some(0);
    for _ in 0..9 {
        store.commit(n, &[write(n, &text)]).unwrap_err();
    }

    disk.get().room = None;
    store.commit(n, &[write(n, &text)]).unwrap();

    drop(store);
    let (_, contents) = disk.survivors(Fate::Lost).store().unwrap();
    assert_eq!(contents.entries.len(), usize::try_from(n).unwrap());
    assert_eq!(contents.index, n);
}

fn wide(n: u64, text: &str) -> Stored {
    Stored { json: json!({"n": n, "text": text}), create_index: n, modify_index: n }
}
