//! Reads tables of settings key by key, so that everything that is wrong is said at once, with its table and key.

use std::path::Path;

use convoy_shared::settings::{ScepPatch, ScepSettings};
use toml::{Table, Value};

use crate::{failure::Failure, words::plain};

/// The failure of a file that has problems.
pub(crate) fn refused(path: &Path, problems: &[String]) -> Failure {
    let problems: Vec<String> = problems
        .iter()
        .map(|problem| {
            let lines: Vec<String> = problem.lines().map(plain).collect();
            format!("\n  {}", lines.join("\n  "))
        })
        .collect();
    Failure::Declined(format!(
        "{} is not right, and nothing was changed. Put these right and try again:{}",
        path.display(),
        problems.concat()
    ))
}

/// The settings of a table; `place` is its name, empty for a whole file.
pub(crate) fn patch(place: &str, table: Table, problems: &mut Vec<String>) -> ScepPatch {
    let known = ScepPatch::all(&ScepSettings::default()).fields();
    let mut patch = ScepPatch::default();
    for (key, value) in table {
        if !known.contains(&key.as_str()) {
            problems.push(unknown(place, &key, &known));
            continue;
        }
        match setting(&key, value) {
            Ok(set) => patch = set.after(&patch),
            Err(problem) => problems.push(at(place, &key, &problem)),
        }
    }
    patch
}

/// One setting. A number also stands for a text of digits, as in `key_length = 2048`.
fn setting(key: &str, value: Value) -> Result<ScepPatch, String> {
    let read = |value: Value| {
        Table::from_iter([(key.to_owned(), value)])
            .try_into::<ScepPatch>()
            .map_err(|error| error.message().to_owned())
    };
    let digits = match &value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Datetime(instant) => Some(instant.to_string()),
        _ => None,
    };
    read(value).or_else(|problem| match digits {
        Some(digits) if problem.contains("expected a string") => read(Value::String(digits)),
        _ => Err(problem),
    })
}

/// A key that nobody knows, with the one that may be meant.
pub(crate) fn unknown(place: &str, key: &str, known: &[&str]) -> String {
    let problem = match known.iter().min_by_key(|known| distance(key, known)) {
        Some(nearest) if distance(key, nearest) <= key.chars().count().max(3) / 2 => {
            format!("there is no such key; {nearest} may be meant")
        }
        _ => format!("there is no such key. There are {}", known.join(", ")),
    };
    at(place, key, &problem)
}

/// A problem with where it is.
pub(crate) fn at(place: &str, key: &str, problem: &str) -> String {
    // What settings say of themselves begins with their name.
    let problem = problem
        .strip_prefix(key)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(problem);
    if place.is_empty() {
        format!("{key}: {problem}")
    } else {
        format!("[{place}] {key}: {problem}")
    }
}

/// A name as a key of TOML.
pub(crate) fn bare(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        Value::String(name.to_owned()).to_string()
    }
}

/// How many letters have to be changed, put in or left out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, pair), left_out) in b.iter().zip(row.windows(2)).zip(row.iter().skip(1)) {
            let (replaced, put_in) = match (pair, next.last()) {
                ([diagonal, ..], Some(last)) => (diagonal + usize::from(from != *to), last + 1),
                _ => continue,
            };
            next.push(replaced.min(put_in).min(left_out + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (ScepPatch, Vec<String>) {
        let mut problems = vec![];
        let patch = patch("groups.default.scep", text.parse().unwrap(), &mut problems);
        (patch, problems)
    }

    #[test]
    fn all_problems_are_said_at_once_with_table_and_key() {
        let (_, problems) = read(
            "key_lenght = \"2048\"\npolls = -1\nserver = \"https://h/\"\nzzz = 1\nrestart = \"yes\"",
        );
        assert_eq!(problems.len(), 5, "{problems:#?}");
        assert_eq!(
            problems[0],
            "[groups.default.scep] key_lenght: there is no such key; key_length may be meant"
        );
        for key in ["polls", "server", "restart"] {
            let place = format!("[groups.default.scep] {key}: ");
            let of = problems
                .iter()
                .find(|problem| problem.starts_with(&place))
                .unwrap();
            assert!(!of.contains(&format!("{key}: {key}")), "{of}");
        }
        assert!(
            problems[4].contains("There are server, port"),
            "{problems:#?}"
        );
    }

    #[test]
    fn numbers_and_times_may_stand_without_quotes() {
        let (patch, problems) =
            read("key_length = 4096\ncapacity = 2.5\nrequest_start = 2027-01-31T02:00:00Z");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(patch.key_length.unwrap().to_string(), "4096");
        assert_eq!(patch.capacity.unwrap().to_string(), "2.5");
        assert_eq!(
            patch.request_start.unwrap().to_string(),
            "2027-01-31T02:00:00Z"
        );
    }

    #[test]
    fn distances() {
        for (a, b, apart) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("port", "prt", 1),
            ("kitten", "sitting", 3),
            ("", "ab", 2),
        ] {
            assert_eq!(distance(a, b), apart, "{a} {b}");
            assert_eq!(distance(b, a), apart, "{b} {a}");
        }
        assert_eq!(bare("a-b_1"), "a-b_1");
        assert_eq!(bare("a.b"), "\"a.b\"");
    }
}
