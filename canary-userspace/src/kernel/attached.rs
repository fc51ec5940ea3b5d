//! `INTERFACES`: what the programs know of the interfaces they are attached to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use canary_common::interface::Interface;
use canary_common::limits::BLIND_INTERFACE;

use super::foreign::Answer;
use super::interfaces::Link;
use super::load::take;

/// A row as the kernel copies it: flags, bridge, the bridge's address in two words.
pub(super) type Row = [u32; 4];

const _: () = assert!(size_of::<Row>() == size_of::<Interface>(), "a row is an interface");

/// Where rows are stored.
pub(super) trait Rows: Send {
    fn read(&self) -> Result<Vec<(u32, Row)>>;
    fn store(&mut self, index: u32, row: Row) -> Result<()>;
    fn remove(&mut self, index: u32);
}

impl Rows for HashMap<MapData, u32, Row> {
    fn read(&self) -> Result<Vec<(u32, Row)>> {
        self.iter().collect::<Result<_, _>>().context("read INTERFACES")
    }

    fn store(&mut self, index: u32, row: Row) -> Result<()> {
        self.insert(index, row, 0).context("insert into INTERFACES")
    }

    fn remove(&mut self, index: u32) {
        // It may never have been there.
        drop(Self::remove(self, &index));
    }
}

/// The table, and what is in it.
pub struct Table {
    rows: Box<dyn Rows>,
    known: BTreeMap<u32, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    row: Row,
    /// The question whose answer makes it young no more; `None` until one is put.
    question: Option<u64>,
    blind_since: Option<Instant>,
    /// It is young for as long as it is blind: conntrack could not be read.
    unread: bool,
}

/// The bridge that an interface is a port of, or the interface itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// The bridge's index; 0 for none.
    pub index: u32,
    /// The hardware address that frames for this node bear.
    pub mac: [u8; 6],
}

impl Bridge {
    /// For an interface that is a port of none.
    #[must_use]
    pub fn own(link: &Link) -> Self {
        Self { index: 0, mac: link.mac.unwrap_or_default() }
    }
}

impl Table {
    /// Takes the table out of the object, with the rows that an earlier agent left.
    ///
    /// # Errors
    ///
    /// If it is missing or of another shape.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let map: HashMap<MapData, u32, Row> =
            HashMap::try_from(take(ebpf, "INTERFACES")?).context("INTERFACES")?;
        Self::of(Box::new(map))
    }

    fn of(rows: Box<dyn Rows>) -> Result<Self> {
        let known = rows.read()?.into_iter().map(|(index, row)| {
            let [flags, ..] = row;
            let blind_since = (flags & Interface::BLIND != 0).then(Instant::now);
            (index, Known { row, question: None, blind_since, unread: false })
        });
        let known = known.collect();
        Ok(Self { rows, known })
    }

    /// Says what an interface is that is attached to. It is young if the attachment is new, or if
    /// nothing was known of it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn attached(
        &mut self,
        index: u32,
        bridge: Bridge,
        is_pod: bool,
        is_new: bool,
    ) -> Result<()> {
        let before = self.known.get(&index).copied();
        let [mut flags, ..] = before.map_or([0; 4], |known| known.row);
        if is_new || before.is_none() {
            flags |= Interface::YOUNG;
        }
        flags = if is_pod { flags | Interface::POD } else { flags & !Interface::POD };
        let question = before.filter(|_| !is_new).and_then(|known| known.question);
        let blind_since = before.and_then(|known| known.blind_since);
        let [a, b, c, d, e, f] = bridge.mac;
        let mac = [[a, b, c, d], [e, f, 0, 0]].map(u32::from_ne_bytes);
        let [first, second] = mac;
        let row = [flags, bridge.index, first, second];
        let unread = before.is_some_and(|known| known.unread);
        self.put(index, Known { row, question, blind_since, unread })
    }

    /// Makes every interface young: a frontend will be found that was not before.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn rejuvenate(&mut self) -> Result<()> {
        for (index, known) in self.known.clone() {
            self.put(index, Known { question: None, ..known }.with(Interface::YOUNG, true))?;
        }
        Ok(())
    }

    /// Whether an interface is young for which no question is put.
    #[must_use]
    pub fn wants_question(&self) -> bool {
        self.known.values().any(|known| known.is(Interface::YOUNG) && known.question.is_none())
    }

    /// A question was put that tells about all interfaces there are.
    pub fn asked(&mut self, question: u64) {
        let young = self.known.values_mut().filter(|known| known.is(Interface::YOUNG));
        for known in young.filter(|known| known.question.is_none()) {
            known.question = Some(question);
        }
    }

    /// All questions up to this one are answered; by nobody, if there is no conntrack. If it could
    /// not be read, interfaces stay young until it is, or until they have been blind.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn answered(&mut self, answer: Answer) -> Result<()> {
        let Answer { asked: question, blind, unread } = answer;
        for (index, known) in self.known.clone() {
            if known.question.is_some_and(|asked| asked <= question) {
                let stays = unread && known.blind_since.is_none();
                // Its question stays put as well: it is answered by whatever is read next.
                let question = known.question.filter(|_| stays);
                let mut after =
                    Known { question, unread: stays, ..known }.with(Interface::YOUNG, stays);
                if blind && after.blind_since.is_none() {
                    after.blind_since = Some(Instant::now());
                    after = after.with(Interface::BLIND, true);
                }
                self.put(index, after)?;
            }
        }
        Ok(())
    }

    /// Ends blindness that has lasted long enough: what was there before has sent a packet.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn tick(&mut self) -> Result<()> {
        let limit = Duration::from_secs(u64::from(BLIND_INTERFACE));
        for (index, known) in self.known.clone() {
            // `blind_since` stays: an interface is blind once.
            if known.is(Interface::BLIND)
                && known.blind_since.is_none_or(|since| since.elapsed() >= limit)
            {
                let after = known.with(Interface::BLIND, false);
                let after = if known.unread { after.with(Interface::YOUNG, false) } else { after };
                self.put(index, Known { unread: false, ..after })?;
            }
        }
        Ok(())
    }

    /// Says which interfaces hold more than half of the places of `FLOWS`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn crowded(&mut self, crowded: &BTreeSet<u32>) -> Result<()> {
        for (index, known) in self.known.clone() {
            let is = crowded.contains(&index);
            if known.is(Interface::CROWDED) != is {
                self.put(index, known.with(Interface::CROWDED, is))?;
            }
        }
        Ok(())
    }

    /// The interfaces that hold more than half of the places of `FLOWS`.
    pub fn crowded_now(&self) -> impl Iterator<Item = u32> {
        let crowded = self.known.iter().filter(|(_, known)| known.is(Interface::CROWDED));
        crowded.map(|(index, _)| *index)
    }

    /// An interface is gone.
    pub fn forget(&mut self, index: u32) {
        if self.known.remove(&index).is_some() {
            self.rows.remove(index);
        }
    }

    /// The interfaces that have a row.
    pub fn indices(&self) -> impl Iterator<Item = u32> {
        self.known.keys().copied()
    }

    fn put(&mut self, index: u32, known: Known) -> Result<()> {
        if self.known.get(&index).is_none_or(|before| before.row != known.row) {
            self.rows.store(index, known.row)?;
        }
        self.known.insert(index, known);
        Ok(())
    }
}

impl Known {
    fn is(&self, flag: u32) -> bool {
        let [flags, ..] = self.row;
        flags & flag != 0
    }

    fn with(mut self, flag: u32, on: bool) -> Self {
        let [flags, ..] = &mut self.row;
        *flags = if on { *flags | flag } else { *flags & !flag };
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Shared = Arc<Mutex<BTreeMap<u32, Row>>>;

    struct Fake(Shared);

    impl Rows for Fake {
        fn read(&self) -> Result<Vec<(u32, Row)>> {
            Ok(self.0.lock().unwrap().iter().map(|(index, row)| (*index, *row)).collect())
        }

        fn store(&mut self, index: u32, row: Row) -> Result<()> {
            self.0.lock().unwrap().insert(index, row);
            Ok(())
        }

        fn remove(&mut self, index: u32) {
            self.0.lock().unwrap().remove(&index);
        }
    }

    fn table() -> (Table, Shared) {
        let shared = Shared::default();
        (Table::of(Box::new(Fake(Arc::clone(&shared)))).unwrap(), shared)
    }

    fn told(asked: u64, blind: bool) -> Answer {
        Answer { asked, blind, unread: false }
    }

    fn flags(shared: &Shared, index: u32) -> u32 {
        shared.lock().unwrap()[&index][0]
    }

    #[test]
    fn an_interface_is_young_until_a_question_is_answered_that_was_put_after_it_was_attached() {
        let (mut table, rows) = table();
        table.attached(4, Bridge::default(), false, true).unwrap();
        assert!(table.wants_question());
        table.asked(1);
        table.attached(5, Bridge::default(), false, true).unwrap();

        table.answered(told(1, false)).unwrap();

        assert_eq!((flags(&rows, 4), flags(&rows, 5)), (0, Interface::YOUNG));
        assert!(table.wants_question());
        table.asked(2);
        table.answered(told(2, false)).unwrap();
        assert_eq!(flags(&rows, 5), 0);
        table.rejuvenate().unwrap();
        assert_eq!((flags(&rows, 4), flags(&rows, 5)), (Interface::YOUNG, Interface::YOUNG));
    }

    #[test]
    fn without_conntrack_it_is_blind_for_a_while_and_once() {
        let (mut table, rows) = table();
        table.attached(4, Bridge::default(), false, true).unwrap();
        table.asked(1);
        table.answered(told(1, true)).unwrap();
        assert_eq!(flags(&rows, 4), Interface::BLIND);
        table.tick().unwrap();
        assert_eq!(flags(&rows, 4), Interface::BLIND);

        table.known.get_mut(&4).unwrap().blind_since =
            Instant::now().checked_sub(Duration::from_secs(601));
        table.tick().unwrap();

        assert_eq!(flags(&rows, 4), 0);
        table.rejuvenate().unwrap();
        table.asked(2);
        table.answered(told(2, true)).unwrap();
        assert_eq!(flags(&rows, 4), 0);
    }

    #[test]
    fn while_conntrack_cannot_be_read_it_is_young_as_well() {
        let both = Interface::YOUNG | Interface::BLIND;
        for is_read_later in [false, true] {
            let (mut table, rows) = table();
            table.attached(4, Bridge::default(), false, true).unwrap();
            table.asked(1);
            table.answered(Answer { unread: true, ..told(1, true) }).unwrap();
            table.tick().unwrap();
            assert_eq!(flags(&rows, 4), both);
            assert!(!table.wants_question(), "nobody asks all the time");

            if is_read_later {
                table.answered(told(2, false)).unwrap();
                assert_eq!(flags(&rows, 4), Interface::BLIND, "for the rest of its time");
            }
            table.known.get_mut(&4).unwrap().blind_since =
                Instant::now().checked_sub(Duration::from_secs(601));
            table.tick().unwrap();

            assert_eq!(flags(&rows, 4), 0);
        }
    }

    #[test]
    fn a_row_holds_the_bridge_in_memory_order_and_goes_with_the_interface() {
        let (mut table, rows) = table();
        let bridge = Bridge { index: 9, mac: [2, 1, 3, 4, 5, 6] };

        table.attached(4, bridge, false, false).unwrap();

        let row = rows.lock().unwrap()[&4];
        assert_eq!(row[..2], [Interface::YOUNG, 9]);
        assert_eq!(row[2].to_ne_bytes(), [2, 1, 3, 4]);
        assert_eq!(row[3].to_ne_bytes(), [5, 6, 0, 0]);
        table.crowded(&BTreeSet::from([4])).unwrap();
        assert!(flags(&rows, 4) & Interface::CROWDED != 0);
        table.crowded(&BTreeSet::new()).unwrap();
        assert!(flags(&rows, 4) & Interface::CROWDED == 0);
        table.forget(4);
        assert!(rows.lock().unwrap().is_empty());
    }

    #[test]
    fn what_an_earlier_agent_left_is_kept() {
        let shared = Shared::default();
        shared.lock().unwrap().insert(4, [Interface::YOUNG, 0, 0, 0]);
        shared.lock().unwrap().insert(5, [0, 0, 0, 0]);
        let mut table = Table::of(Box::new(Fake(Arc::clone(&shared)))).unwrap();

        table.attached(4, Bridge::default(), false, false).unwrap();
        table.attached(5, Bridge::default(), false, false).unwrap();

        assert_eq!((flags(&shared, 4), flags(&shared, 5)), (Interface::YOUNG, 0));
        assert!(table.wants_question());
    }
}
