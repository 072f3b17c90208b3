//! Feeds bytes to the entry point `cms_signed`. Nothing is expected but that it returns.

#![no_main]

#[path = "../entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    entry::cms_signed(bytes);
});
