//! The only place that writes to stdout and stderr. What is written is made elsewhere.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::{failure::Failure, words};

/// Where a command's answer goes, and whether a person sits there.
pub(crate) struct Screen<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Stdout is a terminal.
    pub(crate) terminal: bool,
    /// Stdin and stderr are a terminal: somebody can be asked.
    pub(crate) interactive: bool,
    /// How to mark what matters.
    pub(crate) paint: Paint,
}

impl<'a> Screen<'a> {
    /// The process's own streams, as they are.
    pub(crate) fn of_process(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        let terminal = io::stdout().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            out,
            err,
            terminal,
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
            paint: if terminal && !unwanted {
                Paint::Color
            } else {
                Paint::Plain
            },
        }
    }

    /// Streams at which nobody sits.
    #[cfg(test)]
    pub(crate) fn of_scripts(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self {
            out,
            err,
            terminal: false,
            interactive: false,
            paint: Paint::Plain,
        }
    }

    /// Text on stdout, with a line feed after it.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")
            .and_then(|()| self.out.flush())
            .map_err(Failure::Output)
    }

    /// Bytes on stdout, as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .map_err(Failure::Output)
    }

    /// One JSON document on stdout, for scripts and people.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|error| Failure::Output(error.into()))?;
        self.line(&text)
    }

    /// One JSON document on one line of stdout.
    pub(crate) fn json_line(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string(document).map_err(|error| Failure::Output(error.into()))?;
        self.line(&text)
    }

    /// A line for people on stderr. If nobody listens there is nobody to tell.
    pub(crate) fn note(&mut self, text: &str) {
        drop(writeln!(self.err, "{text}"));
    }

    /// Asks on stderr, and returns what was typed, without the line's end.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String, Failure> {
        write!(self.err, "{question}")
            .and_then(|()| self.err.flush())
            .map_err(Failure::Output)?;
        let mut typed = String::new();
        io::stdin()
            .lock()
            .read_line(&mut typed)
            .map_err(Failure::Input)?;
        Ok(typed.trim().to_owned())
    }
}

/// Whether marks are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Color,
}

impl Paint {
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn busy(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Color => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// A table without lines, each row at least as wide as its cells; the cells may be text from elsewhere.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = borderless();
    table.set_header(header);
    table.add_rows(rows.into_iter().map(plain));
    trimmed(&table)
}

/// Aligned rows without a header, indented by two.
pub(crate) fn rows<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = borderless();
    table.add_rows(rows.into_iter().map(plain));
    trimmed(&table)
        .lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Names and what they name, one per line.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts
        .iter()
        .map(|(name, fact)| format!("{name:width$}  {}", words::plain(fact)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn borderless() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

fn plain<const N: usize>(row: [String; N]) -> [String; N] {
    row.map(|cell| words::plain(&cell))
}

fn trimmed(table: &Table) -> String {
    // The preset leaves one space on each side of every cell.
    table
        .trim_fmt()
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_says_no_more_than_its_cells() {
        let text = table(
            ["NAME", "STATE"],
            [
                ["pc-1".to_owned(), "active".to_owned()],
                ["long-name\u{7}".to_owned(), "duplicated".to_owned()],
            ],
        );
        assert_eq!(
            text,
            "NAME            STATE\npc-1            active\nlong-name\\u{7}  duplicated"
        );
        assert_eq!(rows([["a".to_owned(), "b".to_owned()]]), "  a  b");
        assert_eq!(
            facts(&[("id", "1".to_owned()), ("name", "x".to_owned())]),
            "id    1\nname  x"
        );
    }
}
