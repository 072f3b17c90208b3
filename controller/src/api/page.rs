//! Pages of lists: a page token is the key of the page's last item, with a checksum. What is listed is none of its business.

use convoy_shared::id::Digest;
use tonic::Status;

use super::status;

/// A page without an explicit size holds so many.
const DEFAULT: u32 = 100;
/// The most that a page may hold.
const MOST: u32 = 1000;
/// A page token begins with so many hexadecimal digits of a checksum.
const SUM: usize = 8;

/// A page of items that come in ascending order of their keys, and the token of the next page. Only the page's items are rendered.
pub(super) fn page<T, U>(
    items: impl Iterator<Item = (String, T)>,
    size: u32,
    token: &str,
    render: impl Fn(T) -> U,
) -> Result<(Vec<U>, String), Status> {
    if size > MOST {
        return Err(status::invalid(
            "page_size",
            &format!("a page holds at most {MOST}"),
        ));
    }
    let after = match token {
        "" => "",
        _ => opened(token)
            .ok_or_else(|| status::invalid("page_token", &"not from an earlier response"))?,
    };
    let size = usize::try_from(if size == 0 { DEFAULT } else { size }).unwrap_or(usize::MAX);
    let mut rest = items.skip_while(|(key, _)| !after.is_empty() && key.as_str() <= after);
    let mut page = Vec::new();
    let mut last = String::new();
    for (key, item) in rest.by_ref().take(size) {
        last = key;
        page.push(render(item));
    }
    let next = if rest.next().is_some() {
        sealed(&last)
    } else {
        String::new()
    };
    Ok((page, next))
}

/// A key as a page token. The checksum tells it from what somebody made up, which would otherwise be an empty page or a wrong one.
fn sealed(key: &str) -> String {
    let mut sum = Digest::of(format!("convoy page v1 {key}").as_bytes()).to_string();
    sum.truncate(SUM);
    sum + key
}

/// The key in a page token, if it is one.
fn opened(token: &str) -> Option<&str> {
    let (_, key) = token.split_at_checked(SUM)?;
    (sealed(key) == token).then_some(key)
}

/// A number as a key that sorts as the number does.
pub(super) fn key(number: impl Into<u64>) -> String {
    format!("{:020}", number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let items = || (0u64..25).map(|n| (key(n), n));
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let (page, next) = page(items(), 10, &token, |n| n)
                .map_err(|s| s.to_string())
                .expect("a page");
            all.extend(page);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(all, (0..25).collect::<Vec<_>>());
        assert!(page(items(), 1001, "", |n| n).is_err());
        for made_up in ["zzz", "ü", &key(3_u64), &format!("00000000{}", key(3_u64))] {
            assert!(page(items(), 10, made_up, |n| n).is_err(), "{made_up}");
        }
    }
}
