//! The generated code, and the only conversion between it and the model. No decision is made here, and no I/O.

pub mod agent;
pub mod documents;
pub mod journal;
pub mod scep;
pub mod time;

/// The public API and the agent protocol, `convoy.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        rustdoc::invalid_html_tags,
        rustdoc::broken_intra_doc_links,
        rustdoc::bare_urls,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::as_conversions,
        unreachable_pub,
        unused_qualifications,
        reason = "generated code"
    )]
    tonic::include_proto!("convoy.v1");

    /// The API's descriptors, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/convoy_v1.bin"));
}
