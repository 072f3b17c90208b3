//! Runs the fuzz targets' entry points over their corpus, cut off everywhere and with bytes changed: nothing may panic.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../fuzz/entry.rs"]
mod entry;

use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Every file of a target as it is, cut off at every `cut`th length, and with every `flip`th byte changed in three ways.
fn run(target: &str, cut: usize, flip: usize, entry: fn(&[u8])) {
    let directory = fuzz().join("corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().collect();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        entry(&bytes);
        for at in (0..bytes.len()).step_by(cut) {
            entry(&bytes[..at]);
        }
        for at in (0..bytes.len()).step_by(flip) {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                entry(&changed);
            }
        }
    }
}

#[test]
fn ber() {
    run("ber", 1, 1, entry::ber);
}

#[test]
fn cms_signed() {
    run("cms_signed", 1, 9, entry::cms_signed);
}

#[test]
fn cms_enveloped() {
    run("cms_enveloped", 1, 1, entry::cms_enveloped);
}

#[test]
fn request() {
    run("request", 1, 1, entry::request);
}

#[test]
fn server_receive() {
    run("server_receive", 1, 3, entry::server_receive);
}

#[test]
fn client_receive() {
    run("client_receive", 1, 5, entry::client_receive);
}

#[test]
fn client_enrolment() {
    run("client_receive", 211, 211, entry::client_enrolment);
}

#[test]
fn http_operation() {
    run("http_operation", 1, 1, entry::http_operation);
}
