//! A flow of layout 1 as the two entries that it is in ours.

use std::collections::HashMap;

use canary_common::endpoint::{Endpoint, UDP};
use canary_common::flows::{Head, Key, Kind, Limit, NO_PARTNER, Values};
use canary_common::route::hairpin_address;
use canary_common::socket::SocketPick;

use super::super::insert::Wanted;
use super::v1::{self, Flow, Named, marks};

/// Rows of our tables, by row of the old ones.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Frontends.
    pub(super) frontends: HashMap<u32, Row>,
    /// Backends.
    pub(super) backends: HashMap<u32, Row>,
    /// Splits.
    pub(super) splits: HashMap<u16, Split>,
}

/// An old row that our tables have too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Whose it was.
    pub(super) old: Named,
    /// Our row.
    pub(super) id: u32,
}

/// A split that our tables have too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Our row.
    pub(super) id: u16,
    /// It has histograms.
    pub(super) timed: bool,
}

/// The way forth and back of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// To be stored first.
    pub(super) back: Wanted,
    /// Its partner is the place of the other.
    pub(super) forth: Wanted,
}

/// A flow whose frontend, backend and split our tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    client: Endpoint,
    frontend: Row,
    backend: Row,
    split: Split,
}

impl Rows {
    /// The frontend of a key, and its client.
    pub(super) fn frontend(&self, key: &v1::Key) -> Option<(Row, Endpoint)> {
        let row = of_owner(&self.frontends, key.frontend, key.generation)?;
        let protocol = row.old.endpoint.protocol;
        Some((row, Endpoint { address: key.client, port: key.port, protocol }))
    }

    /// What our tables have of a flow; `None` if something of it is not there any more.
    pub(super) fn known(&self, key: &v1::Key, flow: Flow) -> Option<Known> {
        let (frontend, client) = self.frontend(key)?;
        let backend = of_owner(&self.backends, flow.backend(), flow.generation())?;
        let split = *self.splits.get(&flow.statistics())?;
        Some(Known { client, frontend, backend, split })
    }
}

fn of_owner(rows: &HashMap<u32, Row>, id: u32, generation: u16) -> Option<Row> {
    rows.get(&id).copied().filter(|row| row.old.generation == generation)
}

impl Known {
    /// The client.
    pub(super) fn client(&self) -> Endpoint {
        self.client
    }

    /// Both entries, for a client whose packets come by `interface`: 0 for none of a pod.
    pub(super) fn pair(&self, flow: Flow, interface: u32) -> Pair {
        let Self { client, frontend, backend, split } = *self;
        let to = Endpoint { protocol: client.protocol, ..backend.old.endpoint };
        let address = if interface != 0 && client.address == to.address {
            hairpin_address(to.address.version())
        } else {
            client.address
        };
        let [by_client, by_server] = flow.seen();
        let values = Values {
            statistics: split.id,
            flags: if split.timed { Values::TIMED } else { 0 },
            backend: backend.id,
            interface,
            port: client.port,
            frontend: frontend.id,
            partner: NO_PARTNER,
            mark: 0,
        };
        let back = Wanted {
            key: Key::new(to, Endpoint { address, ..client }),
            values,
            kind: Kind::Return,
            state: back_state(flow, client.protocol),
            limit: Limit::Idle,
            seen: if by_server == 0 { by_client } else { by_server },
        };
        let forth = Wanted {
            key: Key::new(client, frontend.old.endpoint),
            values: Values { mark: by_client, ..values },
            kind: Kind::Forward,
            state: forth_state(flow, client.protocol),
            seen: by_client,
            ..back
        };
        Pair { back, forth }
    }
}

impl Rows {
    /// A pick at connect time; `None` if something of it is not there any more.
    pub(super) fn pick(
        &self,
        [frontend, generation, backend, split]: [u32; 4],
    ) -> Option<SocketPick> {
        let frontend = of_owner(&self.frontends, frontend, u16::try_from(generation).ok()?)?;
        let Endpoint { address, port, protocol } = frontend.old.endpoint;
        Some(SocketPick {
            address: address.0,
            port,
            statistics: self.splits.get(&u16::try_from(split).ok()?)?.id,
            // A socket's pick says nothing of the row's owner: it is for counters alone.
            backend: self.backends.get(&backend)?.id,
            protocol: protocol.into(),
        })
    }
}

/// An entry for a connection that somebody else translates.
pub(super) fn foreign(client: Endpoint, frontend: Row, seen: u32) -> Wanted {
    Wanted {
        key: Key::new(client, frontend.old.endpoint),
        values: Values { frontend: frontend.id, ..Values::default() },
        kind: Kind::Foreign,
        state: Head::ANSWERED | if client.protocol == UDP { Head::UDP | Head::OVER } else { 0 },
        limit: Limit::Closed,
        seen,
    }
}

/// What both directions say of a flow.
fn both(flow: Flow, protocol: u8) -> u64 {
    match (flow.has(marks::ANSWERED), protocol == UDP) {
        (true, true) => Head::ANSWERED | Head::UDP | Head::OVER,
        (true, false) => Head::ANSWERED,
        (false, true) => Head::UDP,
        // The SYN's answer may go by the old programs: any segment of the backend counts as one.
        (false, false) => Head::AGAIN,
    }
}

fn forth_state(flow: Flow, protocol: u8) -> u64 {
    both(flow, protocol)
        | bit(flow, marks::CLIENT_PAYLOAD, Head::PAYLOAD)
        | bit(flow, marks::CLIENT_FIN, Head::FIN)
}

fn back_state(flow: Flow, protocol: u8) -> u64 {
    let answered = if flow.has(marks::ANSWERED) { bit(flow, marks::LATE, Head::AGAIN) } else { 0 };
    both(flow, protocol)
        | answered
        | bit(flow, marks::SERVER_PAYLOAD, Head::PAYLOAD)
        | bit(flow, marks::SERVER_FIN, Head::FIN)
        | bit(flow, marks::JUDGED, Head::JUDGED)
}

fn bit(flow: Flow, mark: u32, bit: u64) -> u64 {
    if flow.has(mark) { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use canary_common::endpoint::{Address, TCP};
    use canary_common::route::HAIRPIN_V4;

    use super::*;

    fn at(last: u8, port: u16, protocol: u8) -> Endpoint {
        Endpoint { address: Address::v4([10, 0, 0, last]), port: port.to_be_bytes(), protocol }
    }

    fn rows(protocol: u8) -> Rows {
        let row = |endpoint, generation, id| Row { old: Named { endpoint, generation }, id };
        Rows {
            frontends: HashMap::from([(4, row(at(100, 80, protocol), 2, 40))]),
            backends: HashMap::from([(5, row(at(2, 8080, protocol), 3, 50))]),
            splits: HashMap::from([(6, Split { id: 60, timed: true })]),
        }
    }

    fn key(last: u8) -> v1::Key {
        let client = at(last, 4000, TCP);
        v1::Key { client: client.address, port: client.port, frontend: 4, generation: 2 }
    }

    fn flow(marks: u32) -> Flow {
        Flow([5, 0x0003_0006, marks, 70, 60, 0])
    }

    #[test]
    fn a_flow_becomes_a_way_forth_and_a_way_back_with_rows_of_ours() {
        let answered = flow(marks::ANSWERED | marks::CLIENT_PAYLOAD | marks::SERVER_FIN);

        let pair = rows(TCP).known(&key(1), answered).unwrap().pair(answered, 9);

        assert_eq!(pair.back.key, Key::new(at(2, 8080, TCP), at(1, 4000, TCP)));
        assert_eq!(pair.forth.key, Key::new(at(1, 4000, TCP), at(100, 80, TCP)));
        assert_eq!((pair.back.kind, pair.forth.kind), (Kind::Return, Kind::Forward));
        let values = pair.forth.values;
        assert_eq!((values.frontend, values.backend, values.statistics), (40, 50, 60));
        assert_eq!((values.interface, values.port), (9, 4000_u16.to_be_bytes()));
        assert!(values.has(Values::TIMED) && !values.has(Values::TRANSLATED));
        assert_eq!(pair.forth.state, Head::ANSWERED | Head::PAYLOAD);
        assert_eq!(pair.back.state, Head::ANSWERED | Head::FIN);
        assert_eq!((pair.forth.seen, pair.back.seen), (70, 60));
    }

    #[test]
    fn rows_that_had_another_owner_or_that_we_do_not_have_are_not_known() {
        let mut other_frontend = key(1);
        other_frontend.generation = 1;
        let rows = rows(TCP);

        assert_eq!(rows.known(&other_frontend, flow(0)), None);
        assert_eq!(rows.known(&key(1), Flow([5, 0x0002_0006, 0, 0, 0, 0])), None);
        assert_eq!(rows.known(&key(1), Flow([5, 0x0003_0007, 0, 0, 0, 0])), None);
        assert_eq!(rows.known(&key(1), Flow([8, 0x0003_0006, 0, 0, 0, 0])), None);
    }

    #[test]
    fn what_is_not_answered_counts_with_the_first_segment_that_comes_back() {
        let pair = rows(TCP).known(&key(1), flow(0)).unwrap().pair(flow(0), 0);
        assert_eq!((pair.forth.state, pair.back.state), (Head::AGAIN, Head::AGAIN));

        let answered = flow(marks::ANSWERED);
        let pair = rows(UDP).known(&key(1), answered).unwrap().pair(answered, 0);
        assert_eq!(pair.back.state, Head::ANSWERED | Head::UDP | Head::OVER);
    }

    #[test]
    fn a_socket_goes_on_believing_that_it_is_connected_to_the_frontend() {
        let pick = rows(TCP).pick([4, 2, 5, 6]).unwrap();

        assert_eq!(pick.frontend(), at(100, 80, TCP));
        assert_eq!((pick.statistics, pick.backend), (60, 50));
        assert_eq!(rows(TCP).pick([4, 1, 5, 6]), None);
    }

    #[test]
    fn a_pod_that_talks_to_itself_is_seen_from_its_stand_in() {
        let pair = rows(TCP).known(&key(2), flow(0)).unwrap().pair(flow(0), 9);

        assert_eq!(pair.back.key.destination().address, HAIRPIN_V4);
        assert_eq!(pair.forth.key.source(), at(2, 4000, TCP));
    }
}
