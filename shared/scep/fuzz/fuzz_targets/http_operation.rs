//! Feeds bytes to the entry point `http_operation`. Nothing is expected but that it returns.

#![no_main]

#[path = "../entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    entry::http_operation(bytes);
});
