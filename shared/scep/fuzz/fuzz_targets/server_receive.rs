//! Feeds bytes to the entry point `server_receive`. Nothing is expected but that it returns.

#![no_main]

#[path = "../entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    entry::server_receive(bytes);
});
