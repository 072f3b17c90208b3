//! PEM (RFC 7468), read leniently and written strictly. What is inside a block is not looked at.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use zeroize::Zeroizing;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A block that is not closed, or not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPem;

/// One block: lines of 64 characters, each ended by a line feed.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(general_purpose::STANDARD.encode(der));
    // Room for everything at once, so that no copy of a secret stays behind in a smaller buffer.
    let mut out = Zeroizing::new(String::with_capacity(
        text.len() + text.len() / 64 + 2 * label.len() + 64,
    ));
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

/// The content of every block with one of these labels, in order. Text between blocks and other blocks are passed over.
pub(crate) fn blocks<'a>(
    text: &'a str,
    labels: &'a [&'a str],
) -> impl Iterator<Item = Result<Zeroizing<Vec<u8>>, BadPem>> + 'a {
    let mut lines = text.lines().map(str::trim);
    std::iter::from_fn(move || {
        let wanted = |line: &str| {
            let label = line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
            labels.iter().find(|wanted| **wanted == label).copied()
        };
        let label = lines.by_ref().find_map(wanted)?;
        let mut encoded = Zeroizing::new(String::with_capacity(text.len().min(16 * 1024)));
        for line in lines.by_ref() {
            if let Some(end) = line.strip_prefix("-----END ") {
                let closed = end.strip_suffix("-----") == Some(label);
                return Some(if closed {
                    decode(&encoded)
                } else {
                    Err(BadPem)
                });
            }
            encoded.extend(line.split_ascii_whitespace());
        }
        Some(Err(BadPem))
    })
}

fn decode(encoded: &str) -> Result<Zeroizing<Vec<u8>>, BadPem> {
    LENIENT
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| BadPem)
}
