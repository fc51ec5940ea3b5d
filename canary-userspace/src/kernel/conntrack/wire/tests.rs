use canary_common::endpoint::{Address, Endpoint, TCP, UDP};

use super::*;

// `nfgenmsg` and attributes, recorded from Linux 6.18.

/// 10.1.0.77:1101 to 10.96.0.13:80, translated to 10.244.0.13:8080.
const TCP4: &str = "02000000\
    3400018014000180080001000a01004d080002000a60000d\
    1c000280050001000600000006000200044d00000600030000500000\
    3400028014000180080001000af4000d080002000a01004d\
    1c0002800500010006000000060002001f90000006000300044d0000\
    08000300000001a8080008000000000008000c00bb8708d208000b00000000010800070000000e0f\
    300004802c0001800500010003000000050002000000000005000300000000000600040000000000\
    06000500000000001c001880080001000000000008000200000000000800030000000000";

/// `fd01::4d` port 1101 to `fd02::1` port 80, translated to `fd03::d` port 8080.
const UDP6: &str = "0a000000\
    4c0001802c00018014000300fd01000000000000000000000000004d\
    14000400fd020000000000000000000000000001\
    1c000280050001001100000006000200044d00000600030000500000\
    4c0002802c00018014000300fd03000000000000000000000000000d\
    14000400fd01000000000000000000000000004d\
    1c0002800500010011000000060002001f90000006000300044d0000\
    08000300000001a8080008000000000008000c001f19129308000b00000000010800070000000e0f\
    1c001880080001000000000008000200000000000800030000000000";

/// As [`TCP4`], with an altered reply but no bit of translation, in zone 7.
const ZONED: &str = "02000000\
    3400018014000180080001000a01004d080002000a60000d\
    1c000280050001000600000006000200044d00000600030000500000\
    3400028014000180080001000af4000d080002000a01004d\
    1c0002800500010006000000060002001f90000006000300044d0000\
    06001200000700000800030000000008080008000000000008000c00331bc6fb08000b0000000001\
    0800070000000e0f";

/// An echo request.
const ICMP: &str = "02000000\
    3c00018014000180080001000a01004d080002000af4000d\
    24000280050001000100000006000400044d00000500050008000000\
    0500060000000000\
    3c00028014000180080001000af4000d080002000a01004d\
    24000280050001000100000006000400044d00000500050000000000\
    0500060000000000\
    0800030000000008080008000000000008000c004c36252808000b0000000001";

#[test]
fn a_translated_tcp_connection_is_read() {
    let entry = read(&bytes(TCP4)).unwrap().unwrap();

    let client = v4([10, 1, 0, 77], 1101);
    let frontend = v4([10, 96, 0, 13], 80);
    assert_eq!(entry.original, Tuple { source: client, destination: frontend });
    let backend = v4([10, 244, 0, 13], 8080);
    assert_eq!(entry.reply, Tuple { source: backend, destination: client });
    assert_eq!(entry.status, 0x1a8);
    assert_eq!((entry.zone, entry.timeout, entry.tcp_state), (0, Some(3599), Some(3)));
    assert!(entry.is_translated());
}

#[test]
fn a_translated_udp_flow_of_ipv6_is_read() {
    let entry = read(&bytes(UDP6)).unwrap().unwrap();

    let client = v6([0xfd, 1], 0x4d, 1101);
    let frontend = v6([0xfd, 2], 1, 80);
    assert_eq!(entry.original, Tuple { source: client, destination: frontend });
    let backend = v6([0xfd, 3], 0xd, 8080);
    assert_eq!(entry.reply, Tuple { source: backend, destination: client });
    assert_eq!((entry.zone, entry.timeout, entry.tcp_state), (0, Some(3599), None));
}

#[test]
fn the_tuples_tell_that_it_is_translated_and_not_the_status() {
    let entry = read(&bytes(ZONED)).unwrap().unwrap();
    let straight = Entry { reply: entry.original.reversed(), status: 0x1a8, ..entry };

    assert_eq!((entry.status, entry.zone), (8, 7));
    assert!(entry.is_translated());
    assert!(!straight.is_translated());
}

#[test]
fn the_zone_of_the_original_direction_counts() {
    let mut of_tuple = bytes(TCP4);
    of_tuple.splice(4..6, [0x3c, 0]);
    of_tuple.splice(56..56, [6, 0, 3, 0, 0, 9, 0, 0]);

    assert_eq!(read(&of_tuple).unwrap().unwrap().zone, 9);
}

#[test]
fn other_protocols_are_left_out() {
    assert_eq!(read(&bytes(ICMP)), Ok(None));
}

#[test]
fn unknown_attributes_are_passed_over() {
    let known = bytes(UDP6);
    let mut more = known.clone();
    more.extend([8, 0, 0x77, 0, 1, 2, 3, 4, 5, 0, 0x78, 0x40, 1]);

    assert_eq!(read(&more), read(&known));
}

#[test]
fn an_entry_that_is_cut_is_refused_or_lacks_what_was_cut() {
    for whole in [TCP4, UDP6, ZONED].map(bytes) {
        let entry = read(&whole).unwrap().unwrap();
        for len in 0..whole.len() {
            if let Ok(Some(cut)) = read(&whole[..len]) {
                assert_eq!((cut.original, cut.reply), (entry.original, entry.reply), "{len}");
            }
        }
    }
}

#[test]
fn no_byte_can_lie_so_that_more_is_read_than_there_is() {
    for whole in [TCP4, UDP6, ICMP].map(bytes) {
        for place in 0..whole.len() {
            for byte in [0, 1, 3, 4, 5, 0x7f, 0xff] {
                let mut lying = whole.clone();
                lying[place] = byte;
                // It says something or nothing, and ends.
                _ = read(&lying);
            }
        }
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    // The first attribute: shorter than its own header, reaching beyond the end; the address
    // within it beyond its parent; a port of one byte.
    for (place, len) in [(4, 0), (4, 3), (4, 0xff00_u16), (12, 0x7f), (48, 5)] {
        let mut lying = bytes(TCP4);
        lying.splice(place..place + 2, len.to_ne_bytes());

        assert_eq!(read(&lying), Err(Malformed), "{len} at {place}");
    }
}

#[test]
fn a_tuple_without_port_is_refused() {
    let mut lacking = bytes(TCP4);
    // Its type becomes one that nobody knows.
    lacking.splice(50..52, [99, 0]);

    assert_eq!(read(&lacking), Err(Malformed));
}

#[test]
fn messages_of_a_datagram_follow_each_other() {
    let datagram = [message(ENTRY, 0x12, 7, &bytes(ZONED)), message(3, 2, 7, &[0; 4])].concat();

    let mut rest = &datagram[..];
    let first = Message::next(&mut rest).unwrap().unwrap();
    let last = Message::next(&mut rest).unwrap().unwrap();

    assert_eq!((first.kind, first.flags, first.sequence), (ENTRY, 0x12, 7));
    assert_eq!(first.entry().unwrap().unwrap().zone, 7);
    assert_eq!((last.kind, last.error()), (3, 0));
    assert_eq!(Message::next(&mut rest), Ok(None));
}

#[test]
fn a_message_that_lies_about_its_length_ends_the_datagram() {
    let whole = message(3, 2, 7, &[0; 4]);
    for len in [0_u32, 15, 21, u32::MAX] {
        let mut lying = whole.clone();
        lying.splice(..4, len.to_ne_bytes());

        assert_eq!(Message::next(&mut &lying[..]), Err(Malformed), "{len}");
    }
    assert_eq!(Message::next(&mut &whole[..15]), Err(Malformed));
}

#[test]
fn an_error_is_its_number() {
    let datagram = message(2, 0, 7, &(-libc::ENOENT).to_ne_bytes());

    let message = Message::next(&mut &datagram[..]).unwrap().unwrap();

    assert_eq!(message.error(), libc::ENOENT);
}

#[test]
fn a_question_bears_the_tuple_as_the_kernel_writes_it() {
    for (whole, tuple_len) in [(TCP4, 52), (UDP6, 76)] {
        let whole = bytes(whole);
        let entry = read(&whole).unwrap().unwrap();
        let mut question = Question::default();

        let plain = question.lookup(7, &entry.original, 0).to_vec();
        let zoned = question.lookup(8, &entry.original, 9).to_vec();

        assert_eq!(plain[HEADER_LEN..], whole[..FAMILY_LEN + tuple_len]);
        assert_eq!(plain[..4], u32::try_from(plain.len()).unwrap().to_ne_bytes());
        assert_eq!(zoned[plain.len()..], [6, 0, 18, 0, 0, 9, 0, 0]);
    }
}

#[test]
fn a_filter_is_a_value_and_a_mask() {
    let mut question = Question::default();

    let all = question.dump(7, None).to_vec();
    let some = question.dump(7, Some((0x20, 0x60))).to_vec();

    assert_eq!(all.len(), HEADER_LEN + FAMILY_LEN);
    assert_eq!(all[4..8], [1, 1, 1, 3]);
    assert_eq!(some[all.len()..], [8, 0, 3, 0, 0, 0, 0, 0x20, 8, 0, 26, 0, 0, 0, 0, 0x60]);
}

fn read(payload: &[u8]) -> Result<Option<Entry>, Malformed> {
    Message { kind: ENTRY, flags: 0, sequence: 0, payload }.entry()
}

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEADER_LEN + payload.len()).unwrap();
    let mut message = len.to_ne_bytes().to_vec();
    message.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    message.extend([sequence.to_ne_bytes(), [0; 4]].concat());
    message.extend(payload);
    message
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
    (0..hex.len() / 2).map(digit).collect()
}

fn v4(address: [u8; 4], port: u16) -> Endpoint {
    Endpoint { address: Address::v4(address), port: port.to_be_bytes(), protocol: TCP }
}

fn v6(start: [u8; 2], end: u8, port: u16) -> Endpoint {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&start);
    address[15] = end;
    Endpoint { address: Address(address), port: port.to_be_bytes(), protocol: UDP }
}
