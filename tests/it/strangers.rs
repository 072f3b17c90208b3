//! Peers that the fleet does not know: they reach nothing, change nothing, and hinder nobody.

use std::{net::TcpStream, path::Path};

use convoy_agent::{
    address::Address,
    disk::StateDir,
    greet::greet,
    key::{FILE, IdentityKey},
    link::{Link, LinkError},
    refusal::Refusal,
    tls::{Resume, Tls, unlabelled},
    verifier::Policy,
};
use convoy_proto::v1;
use convoy_shared::{
    certificate::client_uri,
    id::{FleetId, Generation},
    label::{CheckToken, Label},
    proof::join_message,
    token::JoinToken,
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::CertificateDer;
use tonic::{Code, Status};

use crate::{fleet::Fleet, puppet::Puppet, road::runtime};

#[test]
fn idle_strangers_hinder_nobody() {
    // Given 200 strangers that connect and say nothing, and 200 that shake hands and ask for nothing,
    let mut fleet = Fleet::start();
    let address = fleet.agents_addr();
    let silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(address).expect("connected"))
        .collect();
    let tls = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let runtime = runtime();
    let idle: Vec<_> = (0..200)
        .map(|_| {
            let target = address.to_string().parse().expect("an address");
            runtime
                .block_on(Link::open(&target, &tls, &unlabelled()))
                .expect("a stranger may connect")
        })
        .collect();

    // when a host joins, then it is in session, and a rotation completes.
    fleet.join_and_run(&["one"]);
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
    drop((silent, idle));
}

#[test]
fn who_shows_no_certificate_of_the_fleet_reaches_nothing() {
    // Given a fleet, a client's address and name, which are no secret, and strangers who know them:
    let mut fleet = Fleet::with_agents(&["honest"]);
    let token = fleet.ok(&["token", "create"]);
    fleet.join("victim", &token);
    let before = fleet.client("victim");
    let puppet = Puppet::of(&fleet, "victim");
    let (fleet_id, id) = (puppet.state.fleet_id(), puppet.state.client_id);

    // one without a certificate,
    let anonymous = Tls::stranger(Policy::AcceptAny).expect("TLS");
    for refused in ask_for_everything(&puppet, &anonymous) {
        let refused = Refusal::from(refused);
        assert_eq!(refused.reason(), Some("CLIENT_CERTIFICATE_REQUIRED"));
        assert!(refused.is_unwanted());
    }

    // one with a certificate of another CA that names the client,
    let (mut other, ca_key) = (
        CertificateParams::default(),
        KeyPair::generate().expect("a key"),
    );
    other.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let other = other.self_signed(&ca_key).expect("a CA").der().clone();
    let forged = certified(
        &fleet.path("other"),
        &other,
        ca_key,
        fleet_id,
        &id.to_string(),
    );
    assert_refused_in_the_handshake(&puppet, &forged);

    // and one with a certificate of the fleet's own CA for a key that is not the client's,
    let ca = puppet.state.identity[1].clone();
    let ca_key = std::fs::read_to_string(fleet.data_dir().join("keys/client-ca.pem"));
    let ca_key = KeyPair::from_pem(&ca_key.expect("PEM")).expect("the CA's key");
    let stolen = certified(
        &fleet.path("stolen"),
        &ca,
        ca_key,
        fleet_id,
        &id.to_string(),
    );
    for refused in ask_for_everything(&puppet, &stolen) {
        assert_eq!(
            Refusal::from(refused).reason(),
            Some("CLIENT_CERTIFICATE_REQUIRED")
        );
    }

    // all reach nothing, and nothing has changed; nor does a client get a certificate for another key than its own.
    let another = StateDir::create(&fleet.path("another")).expect("a folder");
    let another = IdentityKey::load_or_create(&another).expect("a key");
    let refused = renew(&puppet, &puppet.tls(), &another);
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert_eq!(fleet.client("victim"), before);
    assert!(fleet.controller_lives());
    fleet.run("victim");
    fleet.await_connected(&["victim", "honest"]);
}

#[test]
fn a_join_request_is_worth_nothing_on_another_channel_or_for_another_key() {
    // Given a host that signs its request to join for its own channel and key, and a thief who reads it,
    let fleet = Fleet::start();
    let text = fleet.ok(&["token", "create"]);
    let token: JoinToken = text.parse().expect("a token");
    let address: Address = token.addresses[0].parse().expect("an address");
    let tls = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let runtime = runtime();
    let connect = || {
        let protocols = unlabelled();
        let opened = Link::open(&address, &tls, &protocols);
        runtime.block_on(opened).expect("a connection")
    };
    let key = |folder: &str| {
        let dir = StateDir::create(&fleet.path(folder)).expect("a folder");
        let key = IdentityKey::load_or_create(&dir).expect("a key");
        key.certificate_request("host").expect("a request")
    };
    let (own, thiefs) = (key("own"), key("thief"));
    let (mut channel, mut other) = (connect(), connect());
    let greeted = runtime
        .block_on(greet(&mut channel, token.root_digest))
        .expect("a controller");
    let fleet_id = greeted.root.root.fleet_id;
    let message = join_message(fleet_id, token.id, &own, &channel.exporter);
    let signature = token.secret.signing_key().expect("a key").sign(&message);
    let request = |certificate_request: &[u8]| v1::JoinRequest {
        token_id: token.id.as_bytes().to_vec().into(),
        certificate_request: certificate_request.to_vec().into(),
        token_signature: signature.clone().into(),
        name: "host".to_owned(),
        agent_version: "0".to_owned(),
        ..v1::JoinRequest::default()
    };

    // when he sends it on another channel, or another key's on the same, then he is refused, and nobody has joined;
    for (link, asked) in [(&mut other, &own), (&mut channel, &thiefs)] {
        let refused = runtime
            .block_on(link.client.join(request(asked)))
            .expect_err("refused");
        let refused = Refusal::from(refused);
        assert_eq!(refused.reason(), Some("TOKEN_UNKNOWN"), "{refused}");
    }
    assert_eq!(fleet.convoy(&["clients", "show", "host"]).code, 1);

    // and the host joins.
    let joined = runtime.block_on(channel.client.join(request(&own)));
    assert_eq!(joined.expect("joined").get_ref().group, "default");
    assert_eq!(fleet.client("host")["state"], "active");
}

#[test]
fn labels_of_strangers_change_nothing() {
    // Given a rotation that waits for a client,
    let mut fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("victim", &token);
    fleet.join("honest", &token);
    fleet.run("honest");
    fleet.rotate(&[]);
    fleet.await_missing(&["victim"]);
    let facts = |fleet: &Fleet| {
        let rotation = fleet.rotation();
        (fleet.client("victim"), rotation)
    };
    let before = facts(&fleet);

    // when strangers, and the client itself, come with labels that mean nothing,
    let puppet = Puppet::of(&fleet, "victim");
    let anonymous = Tls::stranger(Policy::AcceptAny).expect("TLS");
    for tls in [&anonymous, &puppet.gullible()] {
        for label in [
            Label::Decoy(CheckToken([7; 16])),
            Label::Probe(Generation(1)),
            Label::Probe(Generation(77)),
        ] {
            let outcome = puppet.shake(tls, &label);
            assert_eq!(
                outcome,
                convoy_shared::ack::HandshakeOutcome::Unreachable,
                "{label} was served"
            );
        }
        for malformed in [
            &b"convoy/"[..],
            b"convoy/t/",
            b"convoy/t/1..2",
            b"convoy/p/x",
            b"convoy/d/00",
            b"convoy/x/1",
        ] {
            let protocols = [b"h2".to_vec(), malformed.to_vec()];
            let opened = Link::open(&puppet.state.addresses[0], tls, &protocols);
            let refused = puppet.block_on(opened);
            assert!(matches!(refused, Err(LinkError::Tls(_))), "{malformed:?}");
        }
    }

    // and a stranger probes the candidate, which anyone may see,
    let candidate = Label::Probe(Generation(2));
    puppet.shake(&anonymous, &candidate);

    // then nothing has changed, and the fleet goes on.
    assert_eq!(facts(&fleet), before);
    fleet.run("victim");
    fleet.await_phase("Completed");
}

/// Asks for a session and for a renewal; why not.
fn ask_for_everything(puppet: &Puppet, tls: &Tls) -> [Status; 2] {
    let mut talk = puppet.begin(open(puppet, tls), puppet.hello());
    [talk.hear_end(), renew(puppet, tls, &puppet.key)]
}

fn renew(puppet: &Puppet, tls: &Tls, key: &IdentityKey) -> Status {
    let mut link = open(puppet, tls);
    let request = v1::RenewIdentityRequest {
        certificate_request: key.certificate_request("x").expect("a request").into(),
    };
    puppet
        .block_on(link.client.renew_identity(request))
        .expect_err("refused")
}

fn open(puppet: &Puppet, tls: &Tls) -> Link {
    try_open(puppet, tls).expect("a connection")
}

fn try_open(puppet: &Puppet, tls: &Tls) -> Result<Link, LinkError> {
    let protocols = unlabelled();
    puppet.block_on(Link::open(&puppet.state.addresses[0], tls, &protocols))
}

/// In TLS 1.3 a client has completed its handshake before the server has judged its certificate.
fn assert_refused_in_the_handshake(puppet: &Puppet, tls: &Tls) {
    let Ok(link) = try_open(puppet, tls) else {
        return;
    };
    let mut talk = puppet.begin(link, puppet.hello());
    let said = Refusal::from(talk.hear_end());
    assert_eq!(said.reason(), None, "the controller answered: {said}");
}

/// An identity certificate for a new key by this CA, and its key in this folder.
fn certified(
    folder: &Path,
    ca: &CertificateDer<'static>,
    ca_key: KeyPair,
    fleet: FleetId,
    id: &str,
) -> Tls {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    let uri = client_uri(fleet, id.parse().expect("an id"));
    params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ASCII"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let issuer = Issuer::from_ca_cert_der(ca, ca_key).expect("an issuer");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    let dir = StateDir::create(folder).expect("a folder");
    dir.write(FILE, key.serialize_pem().as_bytes())
        .expect("written");
    let key = IdentityKey::load(&dir).expect("a key");
    let chain = [certificate.der().clone(), ca.clone()];
    Tls::client(Policy::AcceptAny, &chain, &key, Resume::Never).expect("TLS")
}
