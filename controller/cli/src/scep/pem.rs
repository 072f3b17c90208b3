//! PEM and DER of certificates and revocation lists. What stands in them is not read here.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The bytes as PEM, with a line feed at its end.
pub(crate) fn armored(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    let text = STANDARD.encode(der);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// DER of the one certificate in these bytes, PEM or DER; else what is wrong, going on after the file's name.
pub(crate) fn certificate(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    const NONE: &str =
        "has no certificate, neither PEM (-----BEGIN CERTIFICATE-----) nor DER. Check the path";
    if is_der(bytes) {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NONE)?;
    let (_, rest) = text.split_once(BEGIN).ok_or(NONE)?;
    let (body, rest) = rest
        .split_once(END)
        .ok_or("ends in the middle of its certificate. Copy it again")?;
    if rest.contains(BEGIN) {
        return Err("has more than one certificate. Give a file with the SCEP server's CA alone");
    }
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD
        .decode(body)
        .ok()
        .filter(|der| is_der(der))
        .ok_or("has a certificate that cannot be read. Copy it again")
}

/// Whether the bytes are one SEQUENCE and nothing else.
fn is_der(bytes: &[u8]) -> bool {
    let (length, rest) = match bytes {
        [0x30, short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x30, 0x81, a, rest @ ..] => (usize::from(*a), rest),
        [0x30, 0x82, a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
        _ => return false,
    };
    rest.len() == length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der() -> Vec<u8> {
        let mut der = vec![0x30, 0x81, 0x90];
        der.extend((0..0x90).map(|byte: u8| byte));
        der
    }

    #[test]
    fn a_certificate_is_the_same_in_pem_and_der() {
        let pem = armored("CERTIFICATE", &der());
        assert!(
            pem.starts_with("-----BEGIN CERTIFICATE-----\nMIGQ"),
            "{pem}"
        );
        assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
        let commented = format!("subject=CN = ca\n{}\n", pem.replace('\n', "\r\n"));
        for given in [der(), pem.into_bytes(), commented.into_bytes()] {
            assert_eq!(certificate(&given), Ok(der()));
        }
    }

    #[test]
    fn what_is_not_one_certificate_is_refused() {
        let pem = armored("CERTIFICATE", &der());
        let twice = pem.repeat(2);
        let cut = &pem[..100];
        let key = armored("PRIVATE KEY", &der());
        let hollow = armored("CERTIFICATE", b"nothing");
        for (given, said) in [
            ("", "no certificate"),
            (&key, "no certificate"),
            (&twice, "more than one"),
            (cut, "in the middle"),
            (&hollow, "cannot be read"),
        ] {
            let refusal = certificate(given.as_bytes()).unwrap_err();
            assert!(refusal.contains(said), "{given}: {refusal}");
        }
        assert!(certificate(&der()[..40]).is_err());
    }
}
