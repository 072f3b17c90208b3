//! What the operator's page tells to type is typed by a test: a command or an option that no test uses fails here. It reads the page and the sources of the
//! tests, and runs nothing.

use std::{collections::BTreeSet, fs, path::Path};

/// The programs that the page may name.
const PROGRAMS: [&str; 3] = ["convoy", "convoy-agent", "convoy-controller"];

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// The pieces of a page that stand in monospace: lines of its code blocks, and spans within its sentences.
fn code(page: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut in_block = false;
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            // A comment, and an assignment's beginning, are not typed to a program.
            let line = line.split(" #").next().unwrap_or_default();
            let line = line.split_once("=$(").map_or(line, |(_, command)| command);
            match (line.starts_with(' '), pieces.last_mut()) {
                (true, Some(above)) => *above = format!("{above}{line}"),
                (true, None) | (false, _) => pieces.push(line.to_owned()),
            }
        } else {
            pieces.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    pieces
}

/// A command of the page: the words of its path, and its options.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Command {
    path: Vec<String>,
    options: BTreeSet<String>,
}

fn command(piece: &str) -> Option<Command> {
    let words: Vec<&str> = piece
        .split(|c: char| c.is_whitespace() || "[]()|\"…".contains(c))
        .filter(|word| !word.is_empty())
        .skip_while(|word| word.contains('='))
        .collect();
    let (program, rest) = words.split_first()?;
    PROGRAMS.contains(program).then(|| {
        let is_word = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        let global = usize::from(rest.first() == Some(&"--data-dir")) * 2;
        let path = rest
            .iter()
            .skip(global)
            .take_while(|word| is_word(word) && !word.starts_with('-'));
        let options = rest.iter().filter(|word| word.starts_with("--"));
        Command {
            path: path.map(|word| (*word).to_owned()).collect(),
            options: options.map(|word| (*word).to_owned()).collect(),
        }
    })
}

#[test]
fn what_the_operators_page_says_to_type_is_typed_by_a_test() {
    let page = fs::read_to_string(house().join("docs/operating.md")).expect("the page");
    let mut tests = String::new();
    for folder in ["tests/it", "tests/it/fleet", "tests/machine"] {
        for entry in fs::read_dir(house().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_this = path.file_name().is_some_and(|name| name == "pages.rs");
            if path.is_file() && !is_this {
                tests += &fs::read_to_string(&path).unwrap_or_default();
            }
        }
    }
    // Words of one command stand beside each other, however they are wrapped.
    let tests: String = tests
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('\'', "\"");
    let commands: BTreeSet<Command> = code(&page)
        .iter()
        .filter_map(|piece| command(piece))
        .collect();
    assert!(
        commands.len() > 30,
        "the page is not understood: {commands:?}"
    );
    let mut untyped = Vec::new();
    for Command { path, options } in commands {
        let typed = path
            .iter()
            .map(|word| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(", ");
        if !tests.contains(&typed) {
            untyped.push(path.join(" "));
        }
        for option in options {
            if !tests.contains(&format!("\"{option}\"")) {
                untyped.push(format!("{} {option}", path.join(" ")));
            }
        }
    }
    assert!(
        untyped.is_empty(),
        "no test types what docs/operating.md says to type: {untyped:#?}"
    );
}

#[test]
fn commands_are_found_in_blocks_and_in_sentences() {
    let page = "a `convoy cert retire GENERATION`, and `--force`\n```sh\nTOKEN=$(convoy token create --uses 5)   # prints\n\
                convoy-agent run\n    --state-dir S\n```\n`CONVOY_SOCKET=x convoy …`";
    let found: Vec<_> = code(page)
        .iter()
        .filter_map(|piece| command(piece))
        .collect();
    let expected = |path: &[&str], options: &[&str]| Command {
        path: path.iter().map(|word| (*word).to_owned()).collect(),
        options: options.iter().map(|word| (*word).to_owned()).collect(),
    };
    assert_eq!(
        found,
        [
            expected(&["cert", "retire"], &[]),
            expected(&["token", "create"], &["--uses"]),
            expected(&["run"], &["--state-dir"]),
            expected(&[], &[]),
        ]
    );
}
