//! CMS (RFC 5652) as SCEP uses it: signed, enveloped and certificates-only data.
