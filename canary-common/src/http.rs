//! As much of HTTP/1 as tells how a server answered.

use crate::packet::Packet;
use crate::segment::Segment;
use crate::stats::Exchange;
use crate::wire::tcp;

/// Bytes of a status line that say what is asked here: `HTTP/1.1 200 `.
const STATUS_LINE: usize = 13;

/// The class of the HTTP/1 answer that a segment's payload begins with; `None` if it begins with
/// anything else, or has less than the status.
#[inline(always)]
pub fn answer<P: Packet + ?Sized>(packet: &P, segment: &Segment) -> Option<Exchange> {
    if segment.is_udp() || usize::try_from(segment.payload).ok()? < STATUS_LINE {
        return None;
    }
    let [offset, _] = packet.read::<2>(segment.l4_at.wrapping_add(tcp::OFFSET_AT)).ok()?;
    let payload_at = segment.l4_at.wrapping_add(usize::from(offset >> 4) << 2);
    let line = packet.peek::<STATUS_LINE>(payload_at).ok()?;
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', class, tens, ones, end] = line
    else {
        return None;
    };
    let is_status = minor.is_ascii_digit() && tens.is_ascii_digit() && ones.is_ascii_digit();
    // The reason behind the status may be left out, its space too.
    if !is_status || !matches!(end, b' ' | b'\r') {
        return None;
    }
    match class {
        b'1' => Some(Exchange::Informational),
        b'2' => Some(Exchange::Successful),
        b'3' => Some(Exchange::Redirection),
        b'4' => Some(Exchange::ClientError),
        b'5' => Some(Exchange::ServerError),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{TCP, UDP, Version};
    use crate::packets::{Draft, endpoint};

    fn class(payload: &str, protocol: u8, v6: bool) -> Option<Exchange> {
        let (source, destination) =
            if v6 { ("[fd00::1]:80", "[fd00::2]:4000") } else { ("10.0.0.1:80", "10.0.0.2:4000") };
        let ends = [source, destination].map(|at| endpoint(at.parse().unwrap(), protocol));
        let draft = Draft::new(ends[0], ends[1]).payload(payload.as_bytes());
        let version = if v6 { Version::V6 } else { Version::V4 };
        // The classes are the same whatever stands before the payload.
        let classes = [0, 3].map(|words| {
            let mut frame = draft.clone().tcp_options(words).build();
            let segment = Segment::of(frame.as_mut_slice(), 14, version).unwrap();
            answer(frame.as_mut_slice(), &segment)
        });
        assert_eq!(classes[0], classes[1]);
        classes[0]
    }

    #[test]
    fn status_lines_have_a_class_and_nothing_else_has() {
        let cases = [
            ("HTTP/1.1 200 OK\r\n", Some(Exchange::Successful)),
            ("HTTP/1.0 100 ", Some(Exchange::Informational)),
            ("HTTP/1.1 304\r\n", Some(Exchange::Redirection)),
            ("HTTP/1.1 404 Not Found\r\n", Some(Exchange::ClientError)),
            ("HTTP/1.1 503 Service Unavailable", Some(Exchange::ServerError)),
            ("HTTP/1.1 200", None),
            ("HTTP/1.1 600 \r\n", None),
            ("HTTP/1.1 2x0 \r\n", None),
            ("HTTP/1.1 2000\r\n", None),
            ("HTTP/2.0 200 \r\n", None),
            ("GET / HTTP/1.1\r\n", None),
            ("", None),
        ];
        for (payload, expected) in cases {
            for v6 in [false, true] {
                assert_eq!(class(payload, TCP, v6), expected, "{payload:?}");
            }
        }
        assert_eq!(class("HTTP/1.1 200 OK\r\n", UDP, false), None);
    }
}
