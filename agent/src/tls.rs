//! TLS as an agent speaks it: version 1.3 only, one crypto provider, its own verifier, its identity always offered. Nothing is dialled here.

use std::sync::Arc;

use convoy_shared::{
    id::{Digest, RootVersion},
    label::Label,
    trust::ModeInForce,
};
use rustls::{
    ClientConfig, client::Resumption, client::danger::ServerCertVerifier,
    crypto::aws_lc_rs::default_provider, version::TLS13,
};
use rustls_pki_types::CertificateDer;

use crate::{
    clock::Clock,
    key::IdentityKey,
    state::State,
    verifier::{Policy, Verifier},
};

/// The application protocol.
pub const H2: &[u8] = b"h2";

/// How connections are made, apart from their ALPN protocols. Connections of one `Tls` share its tickets.
#[derive(Clone, Debug)]
pub struct Tls {
    config: ClientConfig,
    verifier: Arc<Verifier>,
}

/// Whether a connection may resume an earlier one of the same [`Tls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Never.
    Never,
    /// From tickets in memory.
    Allowed,
}

impl Tls {
    /// Without an identity: for joining.
    ///
    /// # Errors
    /// If the crypto provider cannot do TLS 1.3.
    pub fn stranger(policy: Policy) -> Result<Self, TlsError> {
        Self::build(policy, None, Resume::Never)
    }

    /// With the identity certificate (leaf first) and its key.
    ///
    /// # Errors
    /// If the key is not the certificate's.
    pub fn client(
        policy: Policy,
        chain: &[CertificateDer<'static>],
        key: &IdentityKey,
        resume: Resume,
    ) -> Result<Self, TlsError> {
        Self::build(policy, Some((chain, key)), resume)
    }

    fn build(
        policy: Policy,
        identity: Option<(&[CertificateDer<'static>], &IdentityKey)>,
        resume: Resume,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let verifier = Arc::new(Verifier::new(
            policy,
            provider.signature_verification_algorithms,
        ));
        let asked = Arc::clone(&verifier);
        let asked: Arc<dyn ServerCertVerifier> = asked;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Provider)?
            .dangerous()
            .with_custom_certificate_verifier(asked);
        let mut config = match identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.to_vec(), key.to_rustls())
                .map_err(TlsError::Identity)?,
            None => builder.with_no_client_auth(),
        };
        config.resumption = match resume {
            Resume::Never => Resumption::disabled(),
            Resume::Allowed => Resumption::in_memory_sessions(16),
        };
        Ok(Self { config, verifier })
    }

    /// What is asked about certificates.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The configuration for one connection.
    #[must_use]
    pub fn offering(&self, protocols: &[Vec<u8>]) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.to_vec();
        Arc::new(config)
    }
}

/// The ALPN protocols of a connection with this label.
#[must_use]
pub fn labelled(label: &Label) -> Vec<Vec<u8>> {
    vec![H2.to_vec(), label.to_protocol()]
}

/// The ALPN protocols of a connection without a label: it is shown the production certificate, and no bridge.
#[must_use]
pub fn unlabelled() -> Vec<Vec<u8>> {
    vec![H2.to_vec()]
}

/// The label of a session.
#[must_use]
pub fn session_label(state: &State, mode: ModeInForce) -> Label {
    match mode {
        ModeInForce::Verify => Label::Trusts(state.trust.document.anchors.numbers()),
        ModeInForce::Off => Label::TrustsAny,
    }
}

/// The [`Tls`] of an agent's sessions: its tickets live as long as everything that they were earned under stays as it was.
#[derive(Debug, Default)]
pub struct SessionTls {
    kept: Option<(Earned, Tls)>,
}

/// What tickets were earned under. rustls resumes without asking the verifier, also when the policy behind it has changed.
#[derive(Debug, PartialEq, Eq)]
struct Earned {
    trust: Digest,
    root: RootVersion,
    mode: ModeInForce,
    identity: Digest,
}

impl SessionTls {
    /// Drops all tickets.
    pub fn drop_tickets(&mut self) {
        self.kept = None;
    }

    /// What to connect with in this state now.
    ///
    /// # Errors
    /// If the key is not the identity certificate's.
    pub fn for_state(
        &mut self,
        state: &State,
        key: &IdentityKey,
        clock: &Clock,
    ) -> Result<Tls, TlsError> {
        let earned = Earned {
            trust: state.held().digest,
            root: state.root.root.version,
            mode: state.mode(clock),
            identity: Digest::of(state.leaf()),
        };
        let policy = Policy::Trust(state.snapshot(clock));
        if let Some((under, tls)) = &self.kept
            && *under == earned
        {
            // The last proof, and with it the end of a lease, may have moved.
            tls.verifier.follow(policy);
            return Ok(tls.clone());
        }
        let tls = Tls::client(policy, &state.identity, key, Resume::Allowed)?;
        self.kept = Some((earned, tls.clone()));
        Ok(tls)
    }
}

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not with this provider.
    #[error("the crypto provider cannot do TLS 1.3")]
    Provider(#[source] rustls::Error),
    /// The key is another one.
    #[error("the identity certificate does not fit the identity key: restore both from one backup")]
    Identity(#[source] rustls::Error),
}
