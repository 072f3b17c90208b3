//! SignedData (RFC 5652 section 5) with one signer: read, verified and made. Whom to trust is not decided here.

use std::{collections::BTreeSet, fmt};

use der::{Any, Decode as _, asn1::ObjectIdentifier};

use super::{
    CertificateId, CmsError, DATA, RSA_ENCRYPTION, SIGNED_DATA,
    certificates::{Bag, Outline, certificate_set},
    part, to_content_info,
};
use crate::{
    algorithm::{Hash, Policy, SignatureAlgorithm},
    ber::{
        Malformed, Reader, integer, null, octet_string, oid, sequence, set_of, tag, tlv, to_der,
    },
    certificate::Certificate,
    key::SigningKey,
};

/// content-type (RFC 5652 section 11.1).
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
/// message-digest (RFC 5652 section 11.2).
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");

/// A signed message with exactly one signer, parsed but not yet verified.
#[derive(Clone)]
pub struct SignedData {
    content_type: ObjectIdentifier,
    content: Vec<u8>,
    bag: Bag,
    signer: SignerInfo,
}

#[derive(Clone)]
struct SignerInfo {
    id: CertificateId,
    hash: Hash,
    algorithm: SignatureAlgorithm,
    /// In the sender's order; each value is DER.
    attributes: Vec<(ObjectIdentifier, Vec<Vec<u8>>)>,
    /// The attributes as they came, one after the other.
    encoded: Vec<Vec<u8>>,
    signature: Vec<u8>,
}

impl SignedData {
    /// Reads a ContentInfo with SignedData (BER). Nothing is verified yet.
    ///
    /// # Errors
    /// [`CmsError`]: no signer or several, a signed attribute that occurs twice, algorithms that are unknown, or anything
    /// malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, CmsError> {
        let der = to_der(bytes)?;
        let Outline {
            content_type,
            content,
            bag,
            mut signers,
        } = Outline::parse(&der)?;
        let content = match content {
            None => Vec::new(),
            Some(explicit) => {
                let mut explicit = explicit.reader();
                let octets = explicit
                    .expect(tag::OCTET_STRING)
                    .map_err(part("encapsulated content"))?
                    .content;
                explicit.finish().map_err(part("encapsulated content"))?;
                octets.to_vec()
            }
        };
        if signers.is_empty() {
            return Err(CmsError::NoSigner);
        }
        let signer = signers.expect(tag::SEQUENCE).map_err(part("SignerInfo"))?;
        if !signers.is_empty() {
            return Err(CmsError::SeveralSigners);
        }
        Ok(Self {
            content_type,
            content,
            bag,
            signer: SignerInfo::parse(signer.reader())?,
        })
    }

    /// The encapsulated content; empty where it is absent.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The X.509 certificates that came with the message, in its order.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.bag.certificates
    }

    /// The revocation lists that came with the message, each a CertificateList (DER).
    #[must_use]
    pub fn crls(&self) -> &[Vec<u8>] {
        &self.bag.crls
    }

    /// The certificate among [`Self::certificates`] that the SignerInfo names. That its key made the signature is for
    /// [`Self::verify`] to say.
    #[must_use]
    pub fn signer(&self) -> Option<&Certificate> {
        self.certificates()
            .iter()
            .find(|certificate| self.is_signed_as(certificate))
    }

    /// Whether the SignerInfo names this certificate, by issuer and serial number or by subject key identifier.
    #[must_use]
    pub fn is_signed_as(&self, certificate: &Certificate) -> bool {
        self.signer.id.names(certificate)
    }

    /// The digest algorithm of the signer.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.signer.hash
    }

    /// The value of a signed attribute; `None` where there is no such attribute.
    ///
    /// # Errors
    /// [`CmsError::AttributeValues`] where it has no value or several, [`CmsError::Malformed`] where the value cannot be read.
    pub fn attribute(&self, oid: ObjectIdentifier) -> Result<Option<Any>, CmsError> {
        let value = self.signer.value(oid)?;
        value
            .map(|der| Any::from_der(der).map_err(|_| CmsError::Malformed("signed attribute")))
            .transpose()
    }

    /// Verifies that `signer` signed this message, content and signed attributes alike.
    ///
    /// The attributes content-type and message-digest are mandatory and have to fit the content. The signature is tried over
    /// the attributes in the sender's order first, and then in the order of DER, which is what RFC 5652 section 5.4 wants. Of
    /// `policy`, nothing permits MD5; SHA-1 is accepted, and [`Self::hash`] tells.
    ///
    /// # Errors
    /// [`CmsError`] names what does not fit.
    pub fn verify(&self, signer: &Certificate, policy: Policy) -> Result<(), CmsError> {
        // No switch of the policy concerns signatures: the provider has no MD5.
        let Policy { allow_legacy: _ } = policy;
        let info = &self.signer;
        if !self.is_signed_as(signer) {
            return Err(CmsError::WrongSigner);
        }
        let content_type = info
            .value(CONTENT_TYPE)?
            .ok_or(CmsError::MissingAttribute(CONTENT_TYPE))?;
        if content_type != oid(self.content_type) {
            return Err(CmsError::SignedContentType);
        }
        let digest = info
            .value(MESSAGE_DIGEST)?
            .ok_or(CmsError::MissingAttribute(MESSAGE_DIGEST))?;
        let actual = info
            .hash
            .digest(&self.content)
            .ok_or(CmsError::RefusedHash(info.hash))?;
        if digest != octet_string(&actual) {
            return Err(CmsError::Digest);
        }
        let verify = |signed: &[u8]| {
            info.algorithm
                .verify(signer.spki(), signed, &info.signature)
        };
        let as_received = tlv(tag::SET, &info.encoded.concat());
        verify(&as_received).or_else(|wrong| {
            let sorted = set_of(tag::SET, info.encoded.clone());
            if sorted == as_received {
                Err(wrong)
            } else {
                verify(&sorted)
            }
        })?;
        Ok(())
    }
}

impl fmt::Debug for SignedData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedData")
            .field("content", &format_args!("{} octets", self.content.len()))
            .field("certificates", &self.bag.certificates)
            .field("hash", &self.signer.hash)
            .finish_non_exhaustive()
    }
}

impl SignerInfo {
    /// RFC 5652 section 5.3.
    fn parse(mut fields: Reader<'_>) -> Result<Self, CmsError> {
        fields.small_integer().map_err(part("SignerInfo version"))?;
        let id = CertificateId::parse(&mut fields).map_err(part("signer identifier"))?;
        let digest = fields
            .expect(tag::SEQUENCE)
            .and_then(|value| value.reader().oid());
        let digest = digest.map_err(part("digest algorithm"))?;
        let hash = Hash::from_oid(digest).ok_or(CmsError::UnsupportedHash(digest))?;
        let mut attributes = Vec::new();
        let mut encoded = Vec::new();
        if let Some(set) = fields
            .optional(tag::context(0))
            .map_err(part("signed attributes"))?
        {
            let mut seen = BTreeSet::new();
            let mut set = set.reader();
            while !set.is_empty() {
                let value = set
                    .expect(tag::SEQUENCE)
                    .map_err(part("signed attributes"))?;
                let (oid, values) = attribute(value.reader()).map_err(part("signed attributes"))?;
                if !seen.insert(oid) {
                    return Err(CmsError::DuplicateAttribute(oid));
                }
                attributes.push((oid, values));
                encoded.push(value.der.to_vec());
            }
        }
        let algorithm = fields
            .expect(tag::SEQUENCE)
            .map_err(part("signature algorithm"))?;
        let algorithm = SignatureAlgorithm::from_signer_info(algorithm.der, hash)
            .map_err(|why| CmsError::SignatureAlgorithm(Some(why)))?;
        if algorithm.hash() != hash {
            return Err(CmsError::SignatureAlgorithm(None));
        }
        let signature = fields
            .expect(tag::OCTET_STRING)
            .map_err(part("signature"))?
            .content
            .to_vec();
        fields
            .optional(tag::context(1))
            .map_err(part("unsigned attributes"))?;
        fields.finish().map_err(part("SignerInfo"))?;
        Ok(Self {
            id,
            hash,
            algorithm,
            attributes,
            encoded,
            signature,
        })
    }

    fn value(&self, oid: ObjectIdentifier) -> Result<Option<&[u8]>, CmsError> {
        match self
            .attributes
            .iter()
            .find(|(known, _)| *known == oid)
            .map(|(_, values)| values.as_slice())
        {
            None => Ok(None),
            Some([value]) => Ok(Some(value)),
            Some(_) => Err(CmsError::AttributeValues(oid)),
        }
    }
}

fn attribute(mut fields: Reader<'_>) -> Result<(ObjectIdentifier, Vec<Vec<u8>>), Malformed> {
    let oid = fields.oid()?;
    let mut set = fields.expect(tag::SET)?.reader();
    fields.finish()?;
    let mut values = Vec::new();
    while !set.is_empty() {
        values.push(set.value()?.der.to_vec());
    }
    Ok((oid, values))
}

/// Who signs a message, and how.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The certificate the SignerInfo names, by issuer and serial number.
    pub certificate: &'a Certificate,
    /// The key of that certificate.
    pub key: &'a dyn SigningKey,
    /// SHA-256, SHA-384 or SHA-512; an ECDSA key takes SHA-256 for all of them.
    pub hash: Hash,
}

/// A signed attribute with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The type of the attribute.
    pub oid: ObjectIdentifier,
    /// The one value, whole (DER).
    pub value_der: Vec<u8>,
}

/// Signs `content` of the type id-data, and returns a ContentInfo with SignedData (DER).
///
/// content-type and message-digest are added to `attributes`. The signer's certificate comes first among the certificates,
/// whether or not it is one of `certificates`; these keep their order. The signature algorithm of an RSA key is written as
/// `rsaEncryption`, which every peer reads. Empty content is written as an empty OCTET STRING: verifiers built on OpenSSL take
/// absent content for a detached signature, and refuse it.
///
/// # Errors
/// [`CmsError::SignerKey`], [`CmsError::DuplicateAttribute`], or [`CmsError::Key`] for SHA-1 and MD5.
pub fn sign(
    content: &[u8],
    signer: &Signer<'_>,
    attributes: Vec<Attribute>,
    certificates: &[&Certificate],
) -> Result<Vec<u8>, CmsError> {
    if signer.certificate.spki() != signer.key.spki() {
        return Err(CmsError::SignerKey);
    }
    let algorithm = signer.key.algorithm(signer.hash)?;
    let hash = algorithm.hash();
    let digest = hash.digest(content).ok_or(CmsError::RefusedHash(hash))?;
    let mut seen = BTreeSet::new();
    let mut encoded = Vec::with_capacity(attributes.len() + 2);
    let own = [
        Attribute {
            oid: CONTENT_TYPE,
            value_der: oid(DATA),
        },
        Attribute {
            oid: MESSAGE_DIGEST,
            value_der: octet_string(&digest),
        },
    ];
    for attribute in own.into_iter().chain(attributes) {
        if !seen.insert(attribute.oid) {
            return Err(CmsError::DuplicateAttribute(attribute.oid));
        }
        encoded.push(sequence(&[
            &oid(attribute.oid),
            &tlv(tag::SET, &attribute.value_der),
        ]));
    }
    let signature = signer.key.sign(hash, &set_of(tag::SET, encoded.clone()))?;

    let digest_algorithm = sequence(&[&oid(hash.oid()), &null()]);
    let signature_algorithm = match algorithm {
        SignatureAlgorithm::Ecdsa(_) => algorithm.identifier(),
        SignatureAlgorithm::Pkcs1(_) | SignatureAlgorithm::Pss(_) => None,
    }
    .unwrap_or_else(|| sequence(&[&oid(RSA_ENCRYPTION), &null()]));
    let signer_info = sequence(&[
        &integer(&[1]),
        &CertificateId::encode(signer.certificate),
        &digest_algorithm,
        &set_of(tag::context(0), encoded),
        &signature_algorithm,
        &octet_string(&signature),
    ]);
    let mut all = vec![signer.certificate];
    for certificate in certificates {
        if !all.contains(certificate) {
            all.push(certificate);
        }
    }
    let signed_data = sequence(&[
        &integer(&[1]),
        &tlv(tag::SET, &digest_algorithm),
        &sequence(&[&oid(DATA), &tlv(tag::context(0), &octet_string(content))]),
        &certificate_set(&all),
        &tlv(tag::SET, &signer_info),
    ]);
    Ok(to_content_info(SIGNED_DATA, &signed_data))
}
