//! Lookups: a bounded loop over heads, and a body where the tag is right.

use super::key::TAIL;
use super::{Body, Bucket, Client, Flows, Hash, Head, Key, Kind, PLACES, Values};
use crate::word::Word;

/// An entry as it was read: head, values, and where they are.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'t> {
    /// Its head's word.
    pub word: &'t Word<u64>,
    /// Its body.
    pub body: &'t Body,
    /// The head as it was read.
    pub head: Head,
    /// What it holds.
    pub values: Values,
    /// Its place: the bucket's number times eight, and the number within.
    pub place: u32,
}

impl Entry<'_> {
    /// What stands for no entry where one could be.
    ///
    /// Verifier: an `Option` of an entry leaves its fields undefined where there is none, and the
    /// compiler may keep them on the stack all the same (`R3 !read_ok`).
    #[inline(always)]
    #[must_use]
    pub const fn none(self) -> Self {
        Self { head: Head(0), ..self }
    }

    /// Whether it is an entry.
    #[inline(always)]
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.head.0 != 0
    }
}

impl Client {
    /// The head of a live entry of this side and tag, as far as lookups compare it.
    #[inline(always)]
    const fn wanted(self, tag: u64) -> u64 {
        let kind = match self {
            Self::IsSource => 2,
            Self::IsDestination => 4,
            Self::IsUnknown => 6,
        };
        tag | kind << 20
    }
}

/// The entry of a tuple: `Forward` or `Foreign` where the client is its source, `Return` or
/// `Straight` where it is its destination, else `Fragment`.
#[inline(always)]
#[must_use]
pub fn find<'t, T: Flows + ?Sized>(
    tables: &'t T,
    key: &Key,
    hash: Hash,
    client: Client,
) -> Option<Entry<'t>> {
    let bucket = tables.flows(hash.first)?;
    let wanted = client.wanted(hash.tag);
    let home = hash.home();
    if let (Some(word), Some(body)) = (bucket.heads.get(home), bucket.bodies.get(home)) {
        // Both are on their way at once: the look at the body waits for the head.
        tables.fetch(body);
        let place = hash.first << 3 | u32::try_from(home).unwrap_or(0);
        if let Some(entry) = find_here(tables, (word, body), place, key, wanted) {
            return Some(entry);
        }
    }
    if let Some(entry) = find_in(tables, bucket, hash.first, key, wanted) {
        return Some(entry);
    }
    if tables.load(&bucket.own) >> 32 == 0 {
        return None;
    }
    find_in(tables, tables.flows(hash.second)?, hash.second, key, wanted)
}

/// Has what an insert of a tuple looks at on its way from memory, all of it at once: both its
/// buckets' heads, and the bodies of the first, one of which is written or pushed out.
#[inline(always)]
pub fn expect<T: Flows + ?Sized>(tables: &T, hash: Hash) {
    if let Some(first) = tables.flows(hash.first) {
        tables.load(&first.own);
        for body in &first.bodies {
            tables.fetch(body);
        }
    }
    if let Some(second) = tables.flows(hash.second) {
        tables.load(&second.own);
    }
}

/// The entry of a tuple in one bucket.
#[inline(always)]
pub(super) fn find_in<'t, T: Flows + ?Sized>(
    tables: &T,
    bucket: &'t Bucket,
    number: u32,
    key: &Key,
    wanted: u64,
) -> Option<Entry<'t>> {
    let mut place = number << 3;
    for at in bucket.heads.iter().zip(&bucket.bodies) {
        let entry = find_here(tables, at, place, key, wanted);
        if entry.is_some() {
            return entry;
        }
        place = place.wrapping_add(1);
    }
    None
}

/// The same at one place.
#[inline(always)]
fn find_here<'t, T: Flows + ?Sized>(
    tables: &T,
    (word, body): (&'t Word<u64>, &'t Body),
    place: u32,
    key: &Key,
    wanted: u64,
) -> Option<Entry<'t>> {
    let seen = tables.load(word);
    if seen & Head::MATCH != wanted {
        return None;
    }
    let body = tables.after(body, seen);
    let (differs, words) = compare(tables, body, key);
    // Values too: the head is read after all of them.
    let word = tables.after(word, differs | words[0] | words[1] | words[2] | words[3]);
    let head = Head(tables.load(word));
    (differs == 0 && head.is_of_same(Head(seen))).then(|| Entry {
        word,
        body,
        head,
        values: Values::of(words),
        place,
    })
}

/// The difference between a body's key and `key`, 0 for none, and the body's last four words.
#[inline(always)]
fn compare<T: Flows + ?Sized>(tables: &T, body: &Body, key: &Key) -> (u64, [u64; 4]) {
    let [a, b, c, d, rest @ ..] = &body.words;
    let [k, l, m, n, tail] = key.0;
    let words = rest.each_ref().map(|word| tables.load(word));
    let [first, ..] = words;
    let differs = (tables.load(a) ^ k)
        | (tables.load(b) ^ l)
        | (tables.load(c) ^ m)
        | (tables.load(d) ^ n)
        | ((first ^ tail) & TAIL);
    (differs, words)
}

/// The entry at a place, whatever it is; `None` for a place that is free or being written, or
/// that changes under the reader.
#[inline(always)]
#[must_use]
pub fn find_at<T: Flows + ?Sized>(tables: &T, place: u32) -> Option<Entry<'_>> {
    let bucket = tables.flows(place >> 3)?;
    let index = index(place);
    let (word, body) = (bucket.heads.get(index)?, bucket.bodies.get(index)?);
    let seen = Head(tables.load(word));
    if matches!(seen.kind(), Kind::Free | Kind::Claimed) {
        return None;
    }
    let body = tables.after(body, seen.0);
    let [.., a, b, c, d] = &body.words;
    let words = [a, b, c, d].map(|word| tables.load(word));
    let word = tables.after(word, words[0] | words[1] | words[2] | words[3]);
    let head = Head(tables.load(word));
    head.is_of_same(seen).then_some(Entry { word, body, head, values: Values::of(words), place })
}

/// The index of a place in its bucket.
///
/// Verifier: the least of two, not a check that leaves, which the compiler makes of a copy of the
/// register that is used.
#[inline(always)]
pub(crate) fn index(place: u32) -> usize {
    usize::try_from(place & 7).map_or(0, |index| index.min(PLACES - 1))
}

/// The tuple of an entry, as long as its head stays the same.
#[inline(always)]
#[must_use]
pub fn key_of<T: Flows + ?Sized>(tables: &T, entry: &Entry<'_>) -> Key {
    let [a, b, c, d, tail, ..] = &entry.body.words;
    let [a, b, c, d, tail] = [a, b, c, d, tail].map(|word| tables.load(word));
    Key([a, b, c, d, tail & TAIL])
}
