//! EnvelopedData (RFC 5652 section 6) for one RSA recipient: made and opened. What the content means is not known here.

use std::fmt;

use aws_lc_rs::{
    cipher::{
        DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    iv::FixedLength,
    rand,
    rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey},
};
use der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

use super::{
    CertificateId, CmsError, DATA, ENVELOPED_DATA, RSA_ENCRYPTION, content_info, implicit_octets,
    part, to_content_info,
};
use crate::{
    algorithm::{Cipher, Policy},
    ber::{Reader, integer, null, octet_string, oid, sequence, tag, tlv, to_der},
    certificate::Certificate,
    key::RsaKey,
};

/// What was in an envelope.
pub struct Opened {
    /// The content: one ASN.1 SEQUENCE, in the sender's encoding.
    pub content: Zeroizing<Vec<u8>>,
    /// The cipher it was encrypted with.
    pub cipher: Cipher,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

/// Encrypts `content` to the RSA key of `recipient`, and returns a ContentInfo with EnvelopedData (DER).
///
/// The content key is fresh, and transported by RSAES-PKCS1-v1_5 to the recipient that issuer and serial number name.
///
/// # Errors
/// [`CmsError::RecipientKey`] unless the certificate has an RSA key of 2048 to 8192 bits, [`CmsError::Provider`].
pub fn seal(content: &[u8], recipient: &Certificate, cipher: Cipher) -> Result<Vec<u8>, CmsError> {
    let public =
        PublicEncryptingKey::from_der(recipient.spki()).map_err(|_| CmsError::RecipientKey)?;
    let public = Pkcs1PublicEncryptingKey::new(public).map_err(|_| CmsError::RecipientKey)?;
    let key = fresh_key(cipher)?;
    let mut transported = vec![0; public.ciphertext_size()];
    let transported = public
        .encrypt(&key, &mut transported)
        .map_err(|_| CmsError::Provider)?;

    let unbound = UnboundCipherKey::new(cipher.provider(), &key).map_err(|_| CmsError::Provider)?;
    // Room for the padding, so that no copy of the content stays behind in a smaller buffer.
    let mut encrypted = Zeroizing::new(Vec::with_capacity(content.len() + cipher.block_len()));
    encrypted.extend_from_slice(content);
    let context = PaddedBlockEncryptingKey::cbc_pkcs7(unbound)
        .and_then(|key| key.encrypt(&mut *encrypted))
        .map_err(|_| CmsError::Provider)?;
    let iv = <&[u8]>::try_from(&context).map_err(|_| CmsError::Provider)?;

    let recipient_info = sequence(&[
        &integer(&[0]),
        &CertificateId::encode(recipient),
        &sequence(&[&oid(RSA_ENCRYPTION), &null()]),
        &octet_string(transported),
    ]);
    let encrypted_content = sequence(&[
        &oid(DATA),
        &sequence(&[&oid(cipher.oid()), &octet_string(iv)]),
        &tlv(tag::context_primitive(0), &encrypted),
    ]);
    let enveloped = sequence(&[
        &integer(&[0]),
        &tlv(tag::SET, &recipient_info),
        &encrypted_content,
    ]);
    Ok(to_content_info(ENVELOPED_DATA, &enveloped))
}

/// Opens an envelope (a ContentInfo with EnvelopedData, BER) for `recipient`, whose key is `key`.
///
/// All content that SCEP encrypts is one ASN.1 SEQUENCE, and anything else is refused. A content key that cannot be decrypted
/// or has the wrong length, wrong padding, and content that is no SEQUENCE give the same error after about the same work: the
/// content is decrypted in any case, if need be with a random key (RFC 3218 section 2.3).
///
/// # Errors
/// [`CmsError::NotForUs`], a key transport or cipher that is not supported or refused by `policy`: this can be read off the
/// message without a key. [`CmsError::Undecryptable`] for everything else.
pub fn open(
    enveloped: &[u8],
    recipient: &Certificate,
    key: &RsaKey,
    policy: Policy,
) -> Result<Opened, CmsError> {
    open_if(enveloped, recipient, key, policy, &mut |_| true)
}

/// The same, if the transported content key may be used: `admits` is asked with its encrypted form before anything is decrypted. Each message has a
/// content key of its own, and somebody who sends one again in another envelope tries out what that envelope decrypts to.
///
/// # Errors
/// As [`open`]; [`CmsError::Undecryptable`] if it may not.
pub fn open_if(
    enveloped: &[u8],
    recipient: &Certificate,
    key: &RsaKey,
    policy: Policy,
    admits: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Opened, CmsError> {
    let der = to_der(enveloped)?;
    let mut fields = content_info(&der, ENVELOPED_DATA)?;
    fields
        .small_integer()
        .map_err(part("EnvelopedData version"))?;
    fields
        .optional(tag::context(0))
        .map_err(part("originator"))?;
    let recipients = fields
        .expect(tag::SET)
        .map_err(part("recipients"))?
        .reader();
    let mut content = fields
        .expect(tag::SEQUENCE)
        .map_err(part("encrypted content"))?
        .reader();
    fields
        .optional(tag::context(1))
        .map_err(part("unprotected attributes"))?;
    fields.finish().map_err(part("EnvelopedData"))?;

    content.oid().map_err(part("encrypted content"))?;
    let mut algorithm = content
        .expect(tag::SEQUENCE)
        .map_err(part("content encryption algorithm"))?
        .reader();
    let identifier = algorithm
        .oid()
        .map_err(part("content encryption algorithm"))?;
    let cipher = Cipher::from_oid(identifier).ok_or(CmsError::UnsupportedCipher(identifier))?;
    if cipher.needs_allow_legacy() && !policy.allow_legacy {
        return Err(CmsError::RefusedCipher(cipher));
    }
    let iv = algorithm
        .expect(tag::OCTET_STRING)
        .map_err(part("initialisation vector"))?
        .content;
    algorithm
        .finish()
        .map_err(part("content encryption algorithm"))?;
    if iv.len() != cipher.block_len() {
        return Err(CmsError::Malformed("initialisation vector"));
    }
    let encrypted = content
        .value()
        .and_then(|value| implicit_octets(&value, 0))
        .map_err(part("encrypted content"))?;
    content.finish().map_err(part("encrypted content"))?;
    let transported = content_key(recipients, recipient)?;
    if !admits(&transported) {
        return Err(CmsError::Undecryptable);
    }

    // Made before anything is known of the transported one, so that this costs the same in every case.
    let mut content_key = fresh_key(cipher)?;
    if let Some(decrypted) = key.decrypt_key(&transported)
        && decrypted.len() == content_key.len()
    {
        content_key.copy_from_slice(&decrypted);
    }
    let content = decrypt(cipher, &content_key, iv, encrypted).ok_or(CmsError::Undecryptable)?;
    Ok(Opened { content, cipher })
}

/// The encrypted content key for `recipient` (RFC 5652 section 6.2.1).
fn content_key(mut recipients: Reader<'_>, recipient: &Certificate) -> Result<Vec<u8>, CmsError> {
    while !recipients.is_empty() {
        let info = recipients.value().map_err(part("recipients"))?;
        if info.tag != tag::SEQUENCE {
            // Key agreement, passwords and the like.
            continue;
        }
        let mut fields = info.reader();
        fields.small_integer().map_err(part("recipient version"))?;
        let id = CertificateId::parse(&mut fields).map_err(part("recipient identifier"))?;
        if !id.names(recipient) {
            continue;
        }
        let algorithm = fields
            .expect(tag::SEQUENCE)
            .and_then(|value| value.reader().oid());
        let algorithm: ObjectIdentifier = algorithm.map_err(part("key transport algorithm"))?;
        if algorithm != RSA_ENCRYPTION {
            return Err(CmsError::UnsupportedKeyTransport(algorithm));
        }
        let key = fields
            .expect(tag::OCTET_STRING)
            .map_err(part("encrypted key"))?
            .content
            .to_vec();
        fields.finish().map_err(part("recipient"))?;
        return Ok(key);
    }
    Err(CmsError::NotForUs)
}

/// A random key; keys of DES have odd parity, which some peers check.
fn fresh_key(cipher: Cipher) -> Result<Zeroizing<Vec<u8>>, CmsError> {
    let mut key = Zeroizing::new(vec![0; cipher.key_len()]);
    rand::fill(&mut key).map_err(|_| CmsError::Provider)?;
    if matches!(cipher, Cipher::Des | Cipher::TripleDes) {
        for octet in key.iter_mut() {
            *octet ^= u8::from(octet.count_ones() % 2 == 0);
        }
    }
    Ok(key)
}

/// The content if everything about it is right.
fn decrypt(
    cipher: Cipher,
    key: &[u8],
    iv: &[u8],
    encrypted: Vec<u8>,
) -> Option<Zeroizing<Vec<u8>>> {
    let unbound = UnboundCipherKey::new(cipher.provider(), key).ok()?;
    let context = match cipher.block_len() {
        8 => DecryptionContext::Iv64(FixedLength::try_from(iv).ok()?),
        _ => DecryptionContext::Iv128(FixedLength::try_from(iv).ok()?),
    };
    let mut buffer = Zeroizing::new(encrypted);
    let len = PaddedBlockDecryptingKey::cbc_pkcs7(unbound)
        .ok()?
        .decrypt(&mut buffer, context)
        .ok()?
        .len();
    buffer.truncate(len);
    let is_sequence = buffer.first() == Some(&tag::SEQUENCE) && to_der(&buffer).is_ok();
    is_sequence.then_some(buffer)
}
