//! The house in order: which crate may import what, how files open, what they may not speak of. It reads the sources, and runs nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

/// The names in a crate's `[dependencies]`.
fn dependencies(package: &str) -> BTreeSet<String> {
    let manifest =
        fs::read_to_string(house().join(package).join("Cargo.toml")).expect("a manifest");
    manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Every file of the house with one of these endings.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![house()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn arrows_point_down() {
    // Each crate, and the crates of the house that it may import.
    let floors: [(&str, &[&str]); 11] = [
        ("shared", &[]),
        ("shared/scep", &[]),
        ("shared/host", &[]),
        ("controller/fleet", &["convoy-shared"]),
        ("proto", &["convoy-fleet", "convoy-shared"]),
        (
            "controller",
            &[
                "convoy-fleet",
                "convoy-host",
                "convoy-proto",
                "convoy-scep",
                "convoy-shared",
            ],
        ),
        (
            "agent",
            &[
                "convoy-host",
                "convoy-proto",
                "convoy-scep",
                "convoy-shared",
            ],
        ),
        ("controller/cli", &["convoy-proto", "convoy-shared"]),
        (
            "deploy/demo",
            &["convoy-agent", "convoy-cli", "convoy-controller"],
        ),
        ("tests/load", &["convoy-scep"]),
        (
            "tests",
            &[
                "convoy-agent",
                "convoy-cli",
                "convoy-controller",
                "convoy-fleet",
                "convoy-proto",
                "convoy-scep",
                "convoy-shared",
            ],
        ),
    ];
    for (package, allowed) in floors {
        for name in dependencies(package) {
            assert!(
                !name.starts_with("convoy-") || allowed.contains(&name.as_str()),
                "{package} imports {name}, which is not below it"
            );
        }
    }
}

#[test]
fn the_model_is_pure() {
    let impure = [
        "tokio", "tonic", "prost", "redb", "hyper", "axum", "rustls", "tracing", "rand",
    ];
    for package in ["shared", "shared/scep", "controller/fleet"] {
        for name in dependencies(package) {
            assert!(!impure.contains(&name.as_str()), "{package} imports {name}");
        }
        for path in files(&[".rs"]) {
            let shipped = path.starts_with(house().join(package).join("src"));
            let tests = |part: std::path::Component<'_>| {
                part.as_os_str() == "tests" || part.as_os_str() == "tests.rs"
            };
            if !shipped || path.components().any(tests) {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source file");
            for call in [
                "::now()",
                "std::fs",
                "std::net",
                "std::process",
                "std::thread",
                "std::env",
            ] {
                assert!(!text.contains(call), "{} uses {call}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_lives_in_it() {
    for path in files(&[".rs"]) {
        let text = fs::read_to_string(&path).expect("a source file");
        assert!(
            text.starts_with("//! "),
            "{} does not open with a sentence on what lives there",
            path.display()
        );
    }
}

#[test]
fn the_code_map_knows_every_crate() {
    let map = fs::read_to_string(house().join("README.md")).expect("a README");
    let workspace = fs::read_to_string(house().join("Cargo.toml")).expect("a manifest");
    let members = workspace
        .lines()
        .skip_while(|line| !line.starts_with("members"))
        .skip(1)
        .take_while(|line| *line != "]")
        .map(|line| line.trim().trim_matches(['"', ',']).trim_matches('"'));
    for member in members {
        assert!(
            map.contains(&format!("`{member}")),
            "the code map does not name {member}"
        );
    }
}

#[test]
fn no_module_of_the_tests_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("it");
    let main = fs::read_to_string(folder.join("main.rs")).expect("main.rs");
    for entry in fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("UTF-8");
        assert!(
            stem == "main" || main.contains(&format!("mod {stem};")),
            "tests/it/{stem} is not part of the binary"
        );
    }
}
