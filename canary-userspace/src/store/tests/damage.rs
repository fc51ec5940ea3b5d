//! Files that cannot be trusted.

use super::super::disk::Disk;
use super::*;

fn write(n: u64) -> Write {
    Write::Entry("k".into(), format!("n{n}"), Some(entry(n, 1, 1)))
}

/// A store's file, and what it holds.
fn filled() -> (Vec<u8>, Contents) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap().store;
    store.commit(1, &(0..300).map(write).collect::<Vec<_>>()).unwrap();
    store.commit(2, &[Write::Record(Box::new(record(1, &["web"], "x")))]).unwrap();
    drop(store);
    let contents = Store::open(dir.path()).unwrap().contents;
    (fs::read(dir.path().join(FILE_NAME)).unwrap(), contents)
}

/// Opens a file of these bytes: it says the same as before, or it is kept aside and said.
fn open(bytes: &[u8], contents: &Contents, damage: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
    let opened = Store::open(dir.path()).unwrap_or_else(|error| panic!("{damage}: {error}"));
    let corrupt = if let Some(warning) = opened.warning {
        assert!(warning.contains("corrupt") && warning.contains(FILE_NAME), "{warning}");
        assert_eq!(opened.contents, Contents::default(), "{damage}");
        let names = fs::read_dir(dir.path()).unwrap().map(|found| found.unwrap().path());
        let aside = |path: &PathBuf| path.to_string_lossy().contains("store.redb.corrupt-");
        let aside: Vec<PathBuf> = names.filter(aside).collect();
        assert_eq!(aside.len(), 1, "{damage}");
        assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "{damage}");
        true
    } else {
        assert_eq!(opened.contents, *contents, "{damage}");
        false
    };
    opened.store.commit(9, &[write(1)]).unwrap();
    corrupt
}

#[test]
fn a_file_cut_short_anywhere_is_kept_aside_and_said() {
    let (bytes, contents) = filled();
    for part in 1..32 {
        let length = bytes.len() * part / 32 + part;
        assert!(open(&bytes[..length], &contents, &format!("cut at {length}")), "{length}");
    }
}

#[test]
fn a_file_of_something_else_is_kept_aside_and_said() {
    let contents = Contents::default();
    for bytes in [&b"x"[..], b"kind = \"service-splitter\"\n", &[0; 4096], &[0xff; 8192]] {
        assert!(open(bytes, &contents, "no store"), "{} bytes", bytes.len());
    }
}

#[test]
fn a_bit_that_flipped_anywhere_is_harmless_or_said() {
    let (bytes, contents) = filled();
    let flip = |at: usize, bit: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << bit;
        match Disk::of(bytes).store() {
            Ok((_, found)) => {
                assert_eq!(found, contents, "bit {bit} of byte {at}");
                false
            }
            Err(error) => {
                let corrupt = matches!(error, StoreError::Corrupt { .. });
                assert!(corrupt, "bit {bit} of byte {at}: {error}");
                true
            }
        }
    };
    // The head of the file decides what all of the rest means.
    (0..320).for_each(|at| _ = flip(at, at % 7));
    let step = bytes.len() / 200;
    (0..200).for_each(|n| _ = flip(n * step + n, n % 8));
    // What the entries say is told from what they said.
    let entry = bytes.windows(18).position(|found| found == b"\"service-splitter\"").unwrap();
    assert!((0..8).all(|bit| flip(entry + bit, bit)));
}
