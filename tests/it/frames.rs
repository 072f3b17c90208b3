//! Reads the gRPC messages out of one direction of an HTTP/2 connection (RFC 9113, section 4.1). What a message says is for others to read.

use std::collections::BTreeMap;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const PADDED: u8 = 8;

/// The complete messages, stream by stream.
pub(crate) fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let mut streams: BTreeMap<[u8; 4], Vec<u8>> = BTreeMap::new();
    while let Some((header, after)) = rest.split_at_checked(9) {
        let length = number(&[0, header[0], header[1], header[2]]);
        let Some((payload, after)) = after.split_at_checked(length) else {
            break;
        };
        rest = after;
        if header[3] != DATA {
            continue;
        }
        let data = if header[4] & PADDED == 0 {
            payload
        } else {
            &payload[1..payload.len() - usize::from(payload[0])]
        };
        let stream = [header[5], header[6], header[7], header[8]];
        streams.entry(stream).or_default().extend_from_slice(data);
    }
    streams.values().flat_map(|data| of_stream(data)).collect()
}

fn of_stream(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((header, after)) = data.split_at_checked(5) {
        assert_eq!(header[0], 0, "a compressed message");
        let Some((message, after)) = after.split_at_checked(number(&header[1..])) else {
            break;
        };
        found.push(message.to_vec());
        data = after;
    }
    found
}

fn number(big_endian: &[u8]) -> usize {
    big_endian
        .iter()
        .fold(0, |number, byte| number * 256 + usize::from(*byte))
}
