//! One table of the configuration file, read key by key. What a key is for is not known here.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use convoy_shared::settings::Span;
use toml::{Table, Value};

use super::ConfigurationError;
use crate::place::Command;

/// A table, and where it is.
pub(super) struct Section {
    file: PathBuf,
    /// Dotted. Empty for the whole file.
    name: String,
    table: Table,
}

impl Section {
    pub(super) fn whole(file: &Path, text: &str) -> Result<Self, ConfigurationError> {
        let table = text.parse().map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            ConfigurationError::Syntax {
                file: file.to_owned(),
                problem: format!("line {line}: {}", error.message().trim()),
            }
        })?;
        Ok(Self {
            file: file.to_owned(),
            name: String::new(),
            table,
        })
    }

    pub(super) fn problem(&self, key: &str, problem: impl Into<String>) -> ConfigurationError {
        let key = if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        };
        ConfigurationError::Key {
            file: self.file.clone(),
            key,
            problem: problem.into(),
        }
    }

    /// # Errors
    /// If there is a key that is none of these.
    pub(super) fn knows(&self, known: &[&str]) -> Result<(), ConfigurationError> {
        let Some(unknown) = self.table.keys().find(|key| !known.contains(&key.as_str())) else {
            return Ok(());
        };
        let nearest = known.iter().min_by_key(|key| distance(unknown, key));
        let meant = nearest.map_or_else(String::new, |key| format!(": is {key} meant? "));
        Err(self.problem(
            unknown,
            format!("no such key{meant}There are {}", known.join(", ")),
        ))
    }

    /// The keys of a table of tables.
    pub(super) fn keys(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    pub(super) fn section(&mut self, key: &str) -> Result<Option<Self>, ConfigurationError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Table(table)) => {
                let name = if self.name.is_empty() {
                    key.to_owned()
                } else {
                    format!("{}.{key}", self.name)
                };
                Ok(Some(Self {
                    file: self.file.clone(),
                    name,
                    table,
                }))
            }
            Some(other) => Err(self.wrong(key, &other, "a table")),
        }
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> ConfigurationError {
        let given = match value {
            Value::String(text) => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            Value::Array(list) if list.is_empty() => "an empty list".to_owned(),
            Value::Array(_) => "this list".to_owned(),
            other => format!("a {}", other.type_str()),
        };
        self.problem(key, format!("{given} is not {expected}"))
    }

    /// A text that `valid` accepts.
    fn text(
        &mut self,
        key: &str,
        expected: &str,
        valid: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, ConfigurationError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if valid(&text) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, &other, expected)),
        }
    }

    /// A line of text.
    pub(super) fn name(&mut self, key: &str) -> Result<Option<String>, ConfigurationError> {
        self.text(key, "a text in quotes, on one line", is_line)
    }

    /// One of these.
    pub(super) fn choice(
        &mut self,
        key: &str,
        choices: &[&str],
    ) -> Result<Option<String>, ConfigurationError> {
        let quoted: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
        let expected = format!("one of {}", quoted.join(", "));
        self.text(key, &expected, |text| choices.contains(&text))
    }

    /// A text that is part of a file's name.
    pub(super) fn file_name(&mut self, key: &str) -> Result<Option<String>, ConfigurationError> {
        self.text(key, "part of a file's name, without a slash", |text| {
            is_file_name(text)
        })
    }

    pub(super) fn parsed<T: FromStr>(
        &mut self,
        key: &str,
        expected: &str,
    ) -> Result<Option<T>, ConfigurationError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(self.wrong(key, &Value::String(text), expected)),
            },
            Some(other) => Err(self.wrong(key, &other, expected)),
        }
    }

    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>, ConfigurationError> {
        let path = self.text(key, "an absolute path like \"/etc/ssl/p1.pem\"", |text| {
            text.starts_with('/') && !text.ends_with('/') && is_line(text)
        })?;
        Ok(path.map(PathBuf::from))
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, ConfigurationError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.wrong(key, &other, "true or false")),
        }
    }

    /// Whether the value is true or false.
    pub(super) fn is_flag(&self, key: &str) -> bool {
        matches!(self.table.get(key), Some(Value::Boolean(_)))
    }

    pub(super) fn timeout(
        &mut self,
        key: &str,
        default: Duration,
    ) -> Result<Duration, ConfigurationError> {
        let expected = "a length of time between \"1s\" and \"10m\"";
        let Some(span) = self.parsed::<Span>(key, expected)? else {
            return Ok(default);
        };
        Duration::try_from(span.0)
            .ok()
            .filter(|time| (Duration::from_secs(1)..=Duration::from_mins(10)).contains(time))
            .ok_or_else(|| self.problem(key, format!("\"{span}\" is not {expected}")))
    }

    pub(super) fn command(&mut self, key: &str) -> Result<Option<Command>, ConfigurationError> {
        let expected = "a list of words like [\"systemctl\", \"restart\", \"cups\"], the program first (there is no shell)";
        let words = match self.table.remove(key) {
            None => return Ok(None),
            Some(Value::Array(words)) => words,
            Some(other) => return Err(self.wrong(key, &other, expected)),
        };
        let listed: Option<Vec<String>> = words
            .iter()
            .map(|word| {
                word.as_str()
                    .filter(|word| !word.contains('\0'))
                    .map(str::to_owned)
            })
            .collect();
        listed
            .and_then(Command::new)
            .map(Some)
            .ok_or_else(|| self.wrong(key, &Value::Array(words), expected))
    }

    /// A mode for a key's file: never for everybody, never to be written by a group.
    pub(super) fn key_mode(&mut self, key: &str) -> Result<Option<u32>, ConfigurationError> {
        let expected = "one of \"0400\", \"0600\", \"0440\", \"0640\"";
        let mode = self.text(key, expected, |text| {
            ["0400", "0600", "0440", "0640"].contains(&text)
        })?;
        Ok(mode.and_then(|mode| u32::from_str_radix(&mode, 8).ok()))
    }

    /// A user or a group, by name or number, from a file in the form of passwd(5) and group(5).
    pub(super) fn number_of(
        &mut self,
        key: &str,
        listed_in: &Path,
    ) -> Result<Option<u32>, ConfigurationError> {
        let Some(name) = self.name(key)? else {
            return Ok(None);
        };
        if let Ok(number) = name.parse() {
            return Ok(Some(number));
        }
        let list = std::fs::read_to_string(listed_in).unwrap_or_default();
        let number = list.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name.as_str()))
                .then(|| fields.nth(1).and_then(|number| number.parse().ok()))
                .flatten()
        });
        number.map(Some).ok_or_else(|| {
            let problem = format!(
                "{name:?} is neither a number nor a name in {}",
                listed_in.display()
            );
            self.problem(key, problem)
        })
    }

    /// What must be there.
    pub(super) fn required<T>(
        &self,
        key: &str,
        value: Option<T>,
        why: &str,
    ) -> Result<T, ConfigurationError> {
        value.ok_or_else(|| self.problem(key, format!("is missing: {why}")))
    }
}

fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

pub(super) fn is_file_name(text: &str) -> bool {
    is_line(text) && !text.contains('/') && !text.starts_with('.')
}

/// How many letters must be changed, put in or left out to make one word of another (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let above = *cell;
            left = (diagonal + usize::from(a != b))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
