//! Certificates-only SignedData (RFC 8894 section 3.4): certificates and revocation lists without content or signer.

use super::{CmsError, DATA, SIGNED_DATA, content_info, part, to_content_info};
use crate::{
    ber::{Reader, Value, integer, oid, sequence, set_of, tag, tlv, to_der},
    certificate::Certificate,
};

/// What a certificates-only message holds, in the order in which it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bag {
    /// The X.509 certificates. Certificates of other kinds are left out.
    pub certificates: Vec<Certificate>,
    /// The revocation lists, each a CertificateList (DER).
    pub crls: Vec<Vec<u8>>,
}

/// A SignedData with certificates and revocation lists (each a CertificateList in DER), and nobody's signature.
///
/// It is DER but for one thing: the certificates keep the caller's order, because there are clients that take the first one
/// for theirs.
#[must_use]
pub fn certs_only(certificates: &[&Certificate], crls: &[&[u8]]) -> Vec<u8> {
    let content = sequence(&[
        &integer(&[1]),
        &set_of(tag::SET, Vec::new()),
        &sequence(&[&oid(DATA)]),
        &certificate_set(certificates),
        &if crls.is_empty() {
            Vec::new()
        } else {
            tlv(tag::context(1), &crls.concat())
        },
        &set_of(tag::SET, Vec::new()),
    ]);
    to_content_info(SIGNED_DATA, &content)
}

/// `certificates [0] IMPLICIT CertificateSet`; nothing where there are none.
pub(super) fn certificate_set(certificates: &[&Certificate]) -> Vec<u8> {
    if certificates.is_empty() {
        return Vec::new();
    }
    tlv(
        tag::context(0),
        &certificates
            .iter()
            .map(|certificate| certificate.to_der())
            .collect::<Vec<_>>()
            .concat(),
    )
}

/// Reads a certificates-only message (BER). Content and signers, which some servers add, are passed over: nothing of them is
/// verified.
///
/// # Errors
/// [`CmsError`] where it is no SignedData, or a certificate in it cannot be read.
pub fn read_certs_only(bytes: &[u8]) -> Result<Bag, CmsError> {
    let der = to_der(bytes)?;
    Ok(Outline::parse(&der)?.bag)
}

/// The fields of a SignedData (RFC 5652 section 5.1).
pub(super) struct Outline<'a> {
    pub(super) content_type: der::asn1::ObjectIdentifier,
    pub(super) content: Option<Value<'a>>,
    pub(super) bag: Bag,
    pub(super) signers: Reader<'a>,
}

impl<'a> Outline<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, CmsError> {
        let mut fields = content_info(der, SIGNED_DATA)?;
        fields.small_integer().map_err(part("SignedData version"))?;
        fields.expect(tag::SET).map_err(part("digest algorithms"))?;
        let mut encapsulated = fields
            .expect(tag::SEQUENCE)
            .map_err(part("encapsulated content"))?
            .reader();
        let content_type = encapsulated.oid().map_err(part("encapsulated content"))?;
        let content = encapsulated
            .optional(tag::context(0))
            .map_err(part("encapsulated content"))?;
        encapsulated
            .finish()
            .map_err(part("encapsulated content"))?;
        let mut bag = Bag::default();
        if let Some(set) = fields
            .optional(tag::context(0))
            .map_err(part("certificates"))?
        {
            let mut set = set.reader();
            while !set.is_empty() {
                let value = set.value().map_err(part("certificates"))?;
                if value.tag == tag::SEQUENCE {
                    bag.certificates.push(Certificate::from_der(value.der)?);
                }
            }
        }
        if let Some(set) = fields
            .optional(tag::context(1))
            .map_err(part("revocation lists"))?
        {
            let mut set = set.reader();
            while !set.is_empty() {
                let value = set.value().map_err(part("revocation lists"))?;
                if value.tag == tag::SEQUENCE {
                    bag.crls.push(value.der.to_vec());
                }
            }
        }
        let signers = fields.expect(tag::SET).map_err(part("signers"))?.reader();
        fields.finish().map_err(part("SignedData"))?;
        Ok(Self {
            content_type,
            content,
            bag,
            signers,
        })
    }
}
