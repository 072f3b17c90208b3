//! What NDES's challenge page says. How it is fetched is not here.

use std::time::Duration;

use zeroize::Zeroizing;

/// What the page says.
pub(super) enum Page {
    /// A challenge for one request.
    OneTime {
        challenge: Zeroizing<String>,
        /// How long it is good, if the page says so.
        lifetime: Option<Duration>,
    },
    /// The one challenge for all requests: NDES's `UseSinglePassword`.
    Reusable { challenge: Zeroizing<String> },
    /// There is no room for another challenge.
    Full,
    /// The user may not have challenges.
    NoPermission,
    /// None of these: it is another page, or not in English.
    Other,
}

const CHALLENGE: &str = "the enrollment challenge password is:";
const REUSABLE: &str = "this password can be used multiple times";
const EXPIRES: &str = "will expire within ";
const FULL: &str = "the password cache is full";
const NO_PERMISSION: &str = "you do not have sufficient permission to enroll with scep";
/// Longer than any challenge: NDES's `PasswordLength` is 8 bytes, 16 hex digits, unless changed.
const LONGEST: usize = 256;

/// Reads the page.
pub(super) fn read(bytes: &[u8]) -> Page {
    let text = one_line(&decode(bytes));
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    if let Some(challenge) = challenge(&text, &lower) {
        if lower.contains(REUSABLE) {
            Page::Reusable { challenge }
        } else {
            Page::OneTime {
                challenge,
                lifetime: lifetime(&lower),
            }
        }
    } else if lower.contains(FULL) {
        Page::Full
    } else if lower.contains(NO_PERMISSION) {
        Page::NoPermission
    } else {
        Page::Other
    }
}

/// UTF-16 of either order, with or without a byte order mark, or UTF-8.
fn decode(bytes: &[u8]) -> Zeroizing<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, _) = bytes.as_chunks::<2>();
        let units = pairs.iter().map(|pair| unit(*pair));
        let characters =
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        // Room for all of it, so that growing leaves no copies behind.
        let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
        text.extend(characters);
        text
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        // The page begins with "<HTML>", perhaps after a line break: ASCII, in UTF-16 with a zero in each pair.
        [_, 0, _, 0, ..] => wide(bytes, u16::from_le_bytes),
        [0, _, 0, _, ..] => wide(bytes, u16::from_be_bytes),
        _ => Zeroizing::new(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// With single spaces for any white space.
fn one_line(text: &str) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(text.len()));
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// What stands in bold behind the words. The thumbprint of the CA's certificate stands in bold, too, before them.
fn challenge(text: &str, lower: &str) -> Option<Zeroizing<String>> {
    let at = lower.find(CHALLENGE)? + CHALLENGE.len();
    let bold = lower.get(at..)?.trim_start().strip_prefix("<b")?;
    let bold = bold.split_once('>')?.1;
    // Of both texts each byte stands at the same place: the case of ASCII does not change its length.
    let (_, bold) = text.split_at_checked(text.len().checked_sub(bold.len())?)?;
    let challenge = bold.split_once('<')?.0.trim();
    let fits = (1..=LONGEST).contains(&challenge.len())
        && challenge.bytes().all(|b| b.is_ascii_graphic() && b != b'&');
    fits.then(|| Zeroizing::new(challenge.to_owned()))
}

fn lifetime(lower: &str) -> Option<Duration> {
    let (_, rest) = lower.split_once(EXPIRES)?;
    let (number, unit) = rest.split_once(' ')?;
    let minutes: u32 = number.parse().ok().filter(|minutes| *minutes > 0)?;
    unit.starts_with("minute")
        .then(|| Duration::from_mins(minutes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: &str = "<HTML><Body>The thumbprint (hash value) for the CA certificate is: <B> 35DB1B2E F5B0A6A1 </B> <P> \
        The enrollment challenge password is: <B> 3BB3F5A8C2B3A4E1 </B> <P> \
        This password can be used only once and will expire within 60 minutes. <P>\r\n</Body></HTML>\r\n";

    fn le(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn one_time(bytes: &[u8]) -> Option<(String, Option<Duration>)> {
        match read(bytes) {
            Page::OneTime {
                challenge,
                lifetime,
            } => Some((challenge.to_string(), lifetime)),
            Page::Reusable { .. } | Page::Full | Page::NoPermission | Page::Other => None,
        }
    }

    #[test]
    fn the_page_is_read_in_every_encoding() {
        let be: Vec<u8> = ONCE.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let expected = Some((
            "3BB3F5A8C2B3A4E1".to_owned(),
            Some(Duration::from_secs(3600)),
        ));
        for bytes in [
            ONCE.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", ONCE.as_bytes()].concat(),
            le(ONCE),
            [b"\xff\xfe".to_vec(), le(ONCE)].concat(),
            [le(ONCE), vec![0]].concat(),
            be.clone(),
            [b"\xfe\xff".to_vec(), be].concat(),
        ] {
            assert_eq!(one_time(&bytes), expected, "{:x?}", &bytes[..8]);
        }
    }

    #[test]
    fn white_space_and_case_do_not_matter() {
        let page = "the  Enrollment\r\nchallenge password is:\r\n<b class=x>\r\n aB3 \r\n</b>";
        assert_eq!(one_time(page.as_bytes()), Some(("aB3".to_owned(), None)));
    }

    #[test]
    fn the_page_says_how_long_a_challenge_is_good() {
        let minutes = |text: &str| one_time(text.as_bytes()).expect(text).1;
        assert_eq!(
            minutes(&ONCE.replace("60", "15")),
            Some(Duration::from_secs(900))
        );
        for odd in ["0", "-1", "sixty", "99999999999999999999"] {
            assert_eq!(minutes(&ONCE.replace("60", odd)), None, "{odd}");
        }
    }

    #[test]
    fn one_password_for_all_is_told_apart() {
        let page = ONCE.replace(
            "This password can be used only once and will expire within 60 minutes.",
            "This password can be used multiple times and will not expire.",
        );
        assert!(matches!(
            read(&le(&page)),
            Page::Reusable { challenge } if *challenge == "3BB3F5A8C2B3A4E1"
        ));
    }

    #[test]
    fn what_is_no_challenge_is_not_taken_for_one() {
        for (from, to) in [
            ("3BB3F5A8C2B3A4E1", ""),
            ("3BB3F5A8C2B3A4E1", "two words"),
            ("3BB3F5A8C2B3A4E1", "&nbsp;"),
            ("3BB3F5A8C2B3A4E1", "ä"),
            ("<B> 3BB3F5A8C2B3A4E1 </B>", ""),
            ("The enrollment challenge", "The"),
        ] {
            let page = ONCE.replace(from, to);
            assert!(one_time(&le(&page)).is_none(), "{page}");
        }
        let long = ONCE.replace("3BB3F5A8C2B3A4E1", &"A".repeat(LONGEST + 1));
        assert!(one_time(long.as_bytes()).is_none());
        for cut in 0..le(ONCE).len() {
            // Cut anywhere, it is a whole challenge or none.
            let found = one_time(&le(ONCE)[..cut]);
            assert!(found.is_none_or(|(c, _)| c == "3BB3F5A8C2B3A4E1"), "{cut}");
        }
    }

    #[test]
    fn the_page_says_why_there_is_no_challenge() {
        let full = "<HTML><Body>The password cache is full. <P> \
            Network Device Enrollment Service stores unused passwords for later use.</Body></HTML>";
        assert!(matches!(read(&le(full)), Page::Full));
        let refused = "<HTML><Body>You do not have sufficient permission to enroll with SCEP. \
            Please contact your system administrator.</Body></HTML>";
        assert!(matches!(read(&le(refused)), Page::NoPermission));
        assert!(matches!(read(b""), Page::Other));
        assert!(matches!(read(b"<html>It works!</html>"), Page::Other));
    }
}
