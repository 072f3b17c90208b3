//! A fleet for the unit tests: its keys, documents and identities. Never part of the agent.

use std::net::Ipv4Addr;

use convoy_proto::documents::{SignedRoot, encode_root, encode_trust};
use convoy_shared::{
    address::Addresses,
    certificate::{client_uri, spki_digest},
    envelope::{Envelope, PayloadType, Role, SigningKey},
    id::{AnchorNumber, ClientId, Epoch, FleetId, GroupName, Incarnation, Revision, RootVersion},
    root::Root,
    trust::{Anchor, AnchorKind, Anchors, Mode, TrustDocument},
};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    CustomExtension, IsCa, KeyPair, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{
    clock::{self, Mark},
    disk::StateDir,
    key::IdentityKey,
    state::{SignedTrust, State},
};

pub(crate) struct Fleet {
    _folder: tempfile::TempDir,
    pub(crate) dir: StateDir,
    key: IdentityKey,
    clients: CertifiedIssuer<'static, KeyPair>,
    pub(crate) server: Server,
    start: Timestamp,
}

/// A server certificate and its key.
pub(crate) struct Server {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Server {
    /// Self-signed; with CA:TRUE as `openssl req -x509` makes it, or as an end entity.
    pub(crate) fn self_signed(ca: bool) -> Self {
        Self::with(ca, vec![])
    }

    /// Self-signed, with a critical extension that nobody knows: webpki does not read such a certificate.
    pub(crate) fn odd() -> Self {
        let mut odd = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999], vec![5, 0]);
        odd.set_criticality(true);
        Self::with(false, vec![odd])
    }

    fn with(ca: bool, extensions: Vec<CustomExtension>) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
        params
            .subject_alt_names
            .push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        params.custom_extensions = extensions;
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let certificate = params.self_signed(&key).expect("signed");
        Self {
            chain: vec![certificate.der().clone()],
            key,
        }
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    pub(crate) fn pin(&self, number: u64) -> Anchor {
        Anchor {
            number: AnchorNumber(number),
            kind: AnchorKind::Pin(spki_digest(&self.chain[0]).expect("a certificate")),
        }
    }
}

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).expect("32 bytes")
}

fn fleet_id() -> FleetId {
    FleetId::from_bytes(&[1; 16]).expect("16 bytes")
}

pub(crate) fn client_id() -> ClientId {
    ClientId::from_bytes(&[2; 16]).expect("16 bytes")
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StateDir::create(&folder.path().join("state")).expect("made");
        let key = IdentityKey::load_or_create(&dir).expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let clients = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("a CA");
        Self {
            _folder: folder,
            dir,
            key,
            clients,
            server: Server::self_signed(true),
            start: clock::wall(),
        }
    }

    pub(crate) const fn start(&self) -> Timestamp {
        self.start
    }

    pub(crate) const fn key(&self) -> &IdentityKey {
        &self.key
    }

    pub(crate) fn clients_ca(&self) -> CertificateDer<'static> {
        self.clients.der().clone()
    }

    /// Signs roots of version 1.
    fn root_of(&self, version: u64) -> Root {
        let seed = u8::try_from(version).expect("small");
        Root {
            fleet_id: fleet_id(),
            version: RootVersion(version),
            root: Role::new(vec![signing_key(seed).public()], 1).expect("a role"),
            policy: Role::new(vec![signing_key(seed + 100).public()], 1).expect("a role"),
            issued_at: self.start,
            expires_at: self.start + SignedDuration::from_hours(10_000),
            off_allowed: true,
            max_off: SignedDuration::from_hours(2_000),
        }
    }

    pub(crate) fn root(&self) -> SignedRoot {
        let root = self.root_of(1);
        let envelope = Envelope::sign(PayloadType::Root, encode_root(&root), &[&signing_key(1)]);
        SignedRoot { envelope, root }
    }

    /// Version 2, with other keys for both roles.
    pub(crate) fn next_root(&self) -> SignedRoot {
        let root = self.root_of(2);
        let keys = [&signing_key(1), &signing_key(2)];
        let envelope = Envelope::sign(PayloadType::Root, encode_root(&root), &keys);
        SignedRoot { envelope, root }
    }

    /// Signs as the policy role of root version 1.
    pub(crate) fn sign(&self, document: &TrustDocument) -> Envelope {
        Envelope::sign(
            PayloadType::Trust,
            encode_trust(document),
            &[&self.policy_key()],
        )
    }

    pub(crate) fn policy_key(&self) -> SigningKey {
        signing_key(101)
    }

    /// A trust document with the pin of the fleet's server as anchor 1.
    pub(crate) fn trust(&self, revision: u64, mode: Mode) -> SignedTrust {
        self.trust_with(revision, mode, vec![self.server.pin(1)])
    }

    pub(crate) fn trust_with(
        &self,
        revision: u64,
        mode: Mode,
        anchors: Vec<Anchor>,
    ) -> SignedTrust {
        let document = TrustDocument {
            fleet_id: fleet_id(),
            audience: GroupName::default_group(),
            root_version: RootVersion(1),
            epoch: Epoch::FIRST,
            revision: Revision(revision),
            mode,
            anchors: Anchors::new(anchors).expect("anchors"),
            server_names: vec!["localhost".to_owned()],
            addresses: Addresses::of(vec!["localhost:7443".parse().expect("an address")])
                .expect("addresses"),
            issued_at: self.start,
            expires_at: self.start + SignedDuration::from_hours(1_000),
        };
        SignedTrust {
            envelope: self.sign(&document),
            document,
        }
    }

    /// Certifies the key of a request as the client's, for these many days around the start.
    pub(crate) fn certify(
        &self,
        request: &[u8],
        before: i64,
        after: i64,
    ) -> Vec<CertificateDer<'static>> {
        let mut request =
            CertificateSigningRequestParams::from_der(&request.to_vec().into()).expect("a request");
        let uri = client_uri(fleet_id(), client_id());
        request.params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ASCII"))];
        let day = |days: i64| {
            let time = self.start + SignedDuration::from_hours(24 * days);
            let time = time.to_zoned(jiff::tz::TimeZone::UTC);
            let number = |n: i8| u8::try_from(n).expect("positive");
            rcgen::date_time_ymd(time.year().into(), number(time.month()), number(time.day()))
        };
        request.params.not_before = day(-before);
        request.params.not_after = day(after);
        let certificate = request.signed_by(&self.clients).expect("signed");
        vec![certificate.der().clone(), self.clients_ca()]
    }

    /// A client that has joined, at revision 5, in mode `verify`.
    pub(crate) fn state(&self) -> State {
        let request = self.key.certificate_request("host").expect("a request");
        State {
            client_id: client_id(),
            group: GroupName::default_group(),
            name: "host".to_owned(),
            addresses: vec!["localhost:7443".parse().expect("an address")],
            earlier_roots: vec![],
            root: self.root(),
            trust: self.trust(5, Mode::Verify),
            identity: self.certify(&request, 1, 29),
            last_proof: self.start,
            mark: Mark::first(self.start),
            incarnation: Incarnation(1),
        }
    }
}
