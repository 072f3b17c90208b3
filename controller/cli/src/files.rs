//! Reads what operators hand in: files, standard input and typed secrets, in memory that is wiped. Nothing of it is printed.

use std::{
    fs::File,
    io::{self, BufRead as _, Read, Write as _},
    path::Path,
};

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// No file that is handed in is larger. Bytes.
const LARGEST: u64 = 16 << 20;
/// No secret in a file is longer, with its line's end. Bytes.
const LONGEST_SECRET: u64 = 4 << 10;
/// Ctrl-C, as a terminal sends it that makes no signal of it.
const INTERRUPT: u8 = 3;

/// A whole file; `-` is standard input.
pub(crate) fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    at_most(path, LARGEST)
}

/// A whole file of text; `-` is standard input.
pub(crate) fn text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let bytes = bytes(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Failure::Declined(format!(
            "{} is not UTF-8 text. Check the path",
            path.display()
        ))
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The secret in a file, without its line's end; `-` is standard input.
pub(crate) fn secret(path: &Path) -> Result<Zeroizing<String>, Failure> {
    secret_in(&at_most(path, LONGEST_SECRET)?)
        .map_err(|problem| Failure::Declined(format!("{} {problem}", path.display())))
}

/// Asks for a secret at the terminal, which does not show it.
pub(crate) fn ask_secret(question: &str) -> Result<Zeroizing<String>, Failure> {
    let stdin = io::stdin();
    let shown = termios::tcgetattr(&stdin).map_err(|error| Failure::Input(error.into()))?;
    let mut hidden = shown.clone();
    // A signal would end this program before the terminal is as it was; a line may end with Ctrl-C instead.
    hidden
        .local_modes
        .remove(LocalModes::ECHO | LocalModes::ISIG);
    hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
    termios::tcsetattr(&stdin, OptionalActions::Flush, &hidden)
        .map_err(|error| Failure::Input(error.into()))?;
    let typed = ask_line(question);
    let restored = termios::tcsetattr(&stdin, OptionalActions::Now, &shown);
    drop(writeln!(io::stderr()));
    let typed = typed.map_err(Failure::Input)?;
    restored.map_err(|error| Failure::Input(error.into()))?;
    if typed.contains(&INTERRUPT) {
        return Err(Failure::Declined(
            "nothing was asked of anybody: the input was ended".to_owned(),
        ));
    }
    secret_in(&typed).map_err(|problem| Failure::Declined(format!("what was typed {problem}")))
}

fn ask_line(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    write!(io::stderr(), "{question}")?;
    let mut typed = Zeroizing::new(Vec::with_capacity(LONGEST_SECRET.try_into().unwrap_or(0)));
    let mut stdin = io::stdin().lock();
    loop {
        let buffer = stdin.fill_buf()?;
        let end = buffer
            .iter()
            .position(|byte| matches!(*byte, b'\n' | INTERRUPT));
        let read = end.map_or(buffer.len(), |end| end + 1);
        typed.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let over = end.is_some() || read == 0;
        stdin.consume(read);
        if over {
            return Ok(typed);
        }
    }
}

fn at_most(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unreadable = |source| Failure::File {
        path: path.to_owned(),
        source,
    };
    let (size, source): (u64, Box<dyn Read>) = if path == Path::new("-") {
        (most, Box::new(io::stdin()))
    } else {
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        (size, Box::new(file))
    };
    // Growing would leave copies behind.
    let room = usize::try_from(size.min(most).min(1 << 20)).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
    source
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        Ok(bytes)
    } else {
        Err(Failure::Declined(format!(
            "{} is larger than {most} bytes, so it is not what is wanted here. Check the path",
            path.display()
        )))
    }
}

/// The secret in these bytes; else what is wrong, going on after where they are from.
fn secret_in(bytes: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "is not UTF-8 text; a challenge password is 1 to 255 printable characters")?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("is empty; a challenge password is 1 to 255 printable characters");
    }
    if text.chars().count() > 255 || text.chars().any(char::is_control) {
        return Err("is no challenge password: that is one line of 1 to 255 printable characters");
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line() {
        for given in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(*secret_in(given.as_bytes()).unwrap(), "s3cret");
        }
        assert_eq!(*secret_in(b" inner space \n").unwrap(), " inner space ");
        for given in ["", "\n", "a\nb\n", "a\0", &"x".repeat(256)] {
            assert!(secret_in(given.as_bytes()).is_err(), "{given:?}");
        }
        assert!(secret_in(&[0xff]).is_err());
    }

    #[test]
    fn a_file_that_is_too_large_or_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, "x".repeat(5_000)).unwrap();
        let refusal = secret(&path).unwrap_err().to_string();
        assert!(refusal.contains("larger than 4096 bytes"), "{refusal}");
        let refusal = secret(&folder.path().join("none")).unwrap_err().to_string();
        assert!(refusal.starts_with("cannot read "), "{refusal}");
    }
}
