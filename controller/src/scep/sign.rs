//! A permit made a certificate. Nothing is recorded here, and nothing handed out.

use convoy_fleet::issuance::{Issued, Permit};
use convoy_scep::{certificate::SubjectAltName, issue::Leaf};
use convoy_shared::id::Digest;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;

use super::{
    Scep,
    authority::{AuthorityError, EARLIER, serial},
    names,
};

impl Scep {
    /// Signs a certificate. Nothing is recorded yet, and it must not be handed out before it is.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn sign_certificate(
        &self,
        permit: &Permit,
        transaction: String,
        subject: &[u8],
        spki: &[u8],
        now: Timestamp,
    ) -> Result<Issued, AuthorityError> {
        let (number, authority) = self.current()?;
        let sans: Vec<SubjectAltName> = permit
            .sans
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        let usages: Vec<ObjectIdentifier> = permit
            .profile
            .extended_key_usages
            .iter()
            .filter_map(|usage| names::key_usage(usage))
            .collect();
        let ca = &authority.certificate;
        let not_before = now.checked_sub(EARLIER).unwrap_or(now).max(ca.not_before());
        let not_after = now
            .checked_add(permit.profile.lifetime)
            .unwrap_or(ca.not_after())
            .min(ca.not_after());
        let serial = serial()?;
        let crl_url = self.crl_url(number);
        let certificate = authority.issue(&Leaf {
            subject,
            spki,
            sans: &sans,
            key_usage: Leaf::usual_key_usage(),
            extended_key_usage: &usages,
            serial: &serial,
            not_before,
            not_after,
            crl_url: crl_url.as_deref(),
        })?;
        Ok(Issued {
            serial: certificate.serial().to_vec(),
            certificate: certificate.to_der().to_vec(),
            subject: certificate.subject_text(),
            spki: Digest::of(spki),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            authority: number,
            transaction,
            challenge: permit.challenge,
            renews: permit.renews.clone(),
            profile: permit.profile.name.clone(),
            client: permit.client,
            sans: permit.sans.clone(),
        })
    }
}
