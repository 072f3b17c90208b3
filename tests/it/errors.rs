//! What each method of the API says to bad input: a code, a reason and words, and nothing changes. And how lists are paged.

use convoy_proto::v1::{
    self, certificate_service_client::CertificateServiceClient,
    client_service_client::ClientServiceClient, group_service_client::GroupServiceClient,
    rotation_service_client::RotationServiceClient, token_service_client::TokenServiceClient,
};
use prost_types::{Duration, Timestamp};
use tonic::Code;

use crate::{
    calls::{Method, assert_refused, explained, local, methods, refusal},
    fleet::Fleet,
    road::runtime,
};

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Asserts that a call is refused with this code and reason.
macro_rules! refused {
    ($client:ident.$method:ident, $code:ident $reason:literal, $message:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        #[allow(clippy::needless_update, reason = "some messages have no other field")]
        let message = v1::$message { $($field $(: $value)?,)* ..Default::default() };
        let what = format!("{message:?}");
        match $client.$method(message).await {
            Ok(_) => panic!("{what} was not refused"),
            Err(status) => assert_refused(&what, &status, Code::$code, $reason),
        }
    }};
}

/// Asserts that a call is refused because a field is not what it must be.
macro_rules! invalid {
    ($client:ident.$method:ident, $($message:tt)*) => {
        refused!($client.$method, InvalidArgument "INVALID_ARGUMENT", $($message)*)
    };
}

fn duration(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

fn timestamp(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

/// Request ids that are too long, or could not be shown.
fn bad_ids() -> [String; 3] {
    ["r".repeat(70), "r".repeat(100_000), "a\nb".to_owned()]
}

/// Page tokens that no response has held.
fn bad_tokens() -> [String; 4] {
    [
        "zzz".to_owned(),
        "0".to_owned(),
        "ü".repeat(9),
        "t".repeat(100_000),
    ]
}

/// Durations that no option takes.
fn bad_durations() -> [Option<Duration>; 6] {
    [
        duration(0, 0),
        duration(-1, 0),
        duration(0, -5),
        duration(5, i32::MAX),
        duration(i64::MAX, 999_999_999),
        duration(i64::MIN, i32::MIN),
    ]
}

#[test]
fn groups_and_tokens() {
    let mut fleet = Fleet::start();
    let before = fleet.json(&["groups", "list"]);
    runtime().block_on(async {
        let channel = local(&fleet).await;
        let mut groups = GroupServiceClient::new(channel.clone());
        let mut tokens = TokenServiceClient::new(channel);
        let bad_names = ["", " ", "A", "a b", "-a", "a/b", "ü", "a\0", &"a".repeat(64), &"a".repeat(100_000)];
        for name in bad_names {
            invalid!(groups.create_group, CreateGroupRequest { name: name.to_owned() });
            invalid!(tokens.create_token, CreateTokenRequest { group: name.to_owned() });
        }
        refused!(groups.create_group, AlreadyExists "GROUP_EXISTS", CreateGroupRequest { name: "default".to_owned() });
        for request_id in bad_ids() {
            invalid!(groups.create_group, CreateGroupRequest { request_id: request_id.clone(), name: "good".to_owned() });
            invalid!(tokens.create_token, CreateTokenRequest { request_id: request_id.clone(), group: "default".to_owned() });
            invalid!(tokens.revoke_token, RevokeTokenRequest { request_id, id: NOBODY.to_owned() });
        }
        for page_token in bad_tokens() {
            invalid!(groups.list_groups, ListGroupsRequest { page_token: page_token.clone() });
            invalid!(tokens.list_tokens, ListTokensRequest { page_token });
        }
        for page_size in [1001, u32::MAX] {
            invalid!(groups.list_groups, ListGroupsRequest { page_size });
            invalid!(tokens.list_tokens, ListTokensRequest { page_size });
        }
        refused!(tokens.create_token, NotFound "GROUP_UNKNOWN", CreateTokenRequest { group: "nowhere".to_owned() });
        for uses in [1_000_001, u32::MAX] {
            invalid!(tokens.create_token, CreateTokenRequest { group: "default".to_owned(), uses });
        }
        for lifetime in bad_durations().into_iter().chain([duration(367 * 86_400, 0)]) {
            invalid!(tokens.create_token, CreateTokenRequest { group: "default".to_owned(), lifetime });
        }
        for id in ["", "x", &NOBODY[1..], &"0".repeat(100_000)] {
            invalid!(tokens.revoke_token, RevokeTokenRequest { id: id.to_owned() });
        }
        refused!(tokens.revoke_token, NotFound "TOKEN_UNKNOWN", RevokeTokenRequest { id: NOBODY.to_owned() });
    });
    assert!(fleet.controller_lives());
    assert_eq!(fleet.json(&["groups", "list"]), before);
    assert_eq!(fleet.json(&["token", "list"]), serde_json::json!([]));
}

#[test]
fn clients_and_certificates() {
    let mut fleet = Fleet::start();
    let id = fleet.join("one", &fleet.ok(&["token", "create"]));
    let before = [
        fleet.json(&["clients", "list"]),
        fleet.json(&["cert", "list"]),
    ];
    runtime().block_on(async {
        let channel = local(&fleet).await;
        let mut clients = ClientServiceClient::new(channel.clone());
        let mut certificates = CertificateServiceClient::new(channel);
        invalid!(clients.get_client, GetClientRequest {});
        invalid!(clients.resolve_client, ResolveClientRequest {});
        invalid!(clients.decommission_client, DecommissionClientRequest {});
        // Seven characters of an id are too few.
        for client in [NOBODY, "nobody", &id[..7], "ü", &"x".repeat(100_000)] {
            let client = client.to_owned();
            refused!(clients.get_client, NotFound "CLIENT_UNKNOWN", GetClientRequest { client: client.clone() });
            refused!(clients.resolve_client, NotFound "CLIENT_UNKNOWN", ResolveClientRequest { client: client.clone() });
            refused!(clients.decommission_client, NotFound "CLIENT_UNKNOWN", DecommissionClientRequest { client });
        }
        refused!(clients.resolve_client, FailedPrecondition "NOTHING_TO_RESOLVE", ResolveClientRequest { client: id.clone() });
        refused!(clients.list_clients, NotFound "GROUP_UNKNOWN", ListClientsRequest { group: "nowhere".to_owned() });
        invalid!(clients.list_clients, ListClientsRequest { group: "A B".to_owned() });
        for request_id in bad_ids() {
            invalid!(clients.resolve_client, ResolveClientRequest { request_id: request_id.clone(), client: id.clone() });
            invalid!(clients.decommission_client, DecommissionClientRequest { request_id: request_id.clone(), client: id.clone() });
            invalid!(certificates.import_certificate, ImportCertificateRequest { request_id: request_id.clone() });
            invalid!(certificates.retire_certificate, RetireCertificateRequest { request_id, generation: 1 });
        }
        for page_token in bad_tokens() {
            invalid!(clients.list_clients, ListClientsRequest { page_token: page_token.clone() });
            invalid!(certificates.list_certificates, ListCertificatesRequest { page_token });
        }
        invalid!(clients.list_clients, ListClientsRequest { page_size: 1001 });
        invalid!(certificates.list_certificates, ListCertificatesRequest { page_size: 1001 });
        refused!(certificates.import_certificate, InvalidArgument "CERTIFICATE_UNREADABLE", ImportCertificateRequest {});
        for generation in [2, u64::MAX] {
            refused!(certificates.get_certificate, NotFound "GENERATION_UNKNOWN", GetCertificateRequest { generation });
        }
        for generation in [0, 2, u64::MAX] {
            refused!(certificates.retire_certificate, NotFound "GENERATION_UNKNOWN", RetireCertificateRequest { generation, force: true });
        }
        refused!(certificates.retire_certificate, FailedPrecondition "CERTIFICATE_IN_USE", RetireCertificateRequest { generation: 1 });
    });
    assert!(fleet.controller_lives());
    assert_eq!(
        [
            fleet.json(&["clients", "list"]),
            fleet.json(&["cert", "list"])
        ],
        before
    );
}

#[test]
fn rotations() {
    let mut fleet = Fleet::start();
    fleet.join("one", &fleet.ok(&["token", "create"]));
    fleet.import_new();
    runtime().block_on(async {
        let mut rotations = RotationServiceClient::new(local(&fleet).await);
        for to_generation in [0, 3, u64::MAX] {
            refused!(rotations.start_rotation, NotFound "GENERATION_UNKNOWN", StartRotationRequest { to_generation });
        }
        refused!(rotations.start_rotation, FailedPrecondition "GENERATION_SERVED", StartRotationRequest { to_generation: 1 });
        for strategy in [-1, 3, 77, i32::MAX] {
            invalid!(rotations.start_rotation, StartRotationRequest { to_generation: 2, strategy });
        }
        for length in bad_durations().into_iter().chain([duration(91 * 86_400, 0)]) {
            invalid!(rotations.start_rotation, StartRotationRequest { to_generation: 2, return_window: length });
            invalid!(rotations.start_rotation, StartRotationRequest { to_generation: 2, off_lease: length });
        }
        refused!(rotations.get_rotation, NotFound "NO_ROTATION_YET", GetRotationRequest {});
        refused!(rotations.watch_rotation, NotFound "NO_ROTATION_YET", WatchRotationRequest {});
        refused!(rotations.pause_rotation, FailedPrecondition "NO_ROTATION_RUNNING", PauseRotationRequest {});
        refused!(rotations.resume_rotation, FailedPrecondition "NO_ROTATION_RUNNING", ResumeRotationRequest {});
        refused!(rotations.abort_rotation, FailedPrecondition "NO_ROTATION_RUNNING", AbortRotationRequest {});
        for id in ["x", &NOBODY[1..], &"0".repeat(100_000)] {
            let id = id.to_owned();
            invalid!(rotations.get_rotation, GetRotationRequest { id: id.clone() });
            invalid!(rotations.watch_rotation, WatchRotationRequest { id: id.clone() });
            invalid!(rotations.pause_rotation, PauseRotationRequest { id: id.clone() });
            invalid!(rotations.resume_rotation, ResumeRotationRequest { id: id.clone() });
            invalid!(rotations.abort_rotation, AbortRotationRequest { id: id.clone() });
            invalid!(rotations.waive_client, WaiveClientRequest { id });
        }
        let id = NOBODY.to_owned();
        refused!(rotations.get_rotation, NotFound "ROTATION_UNKNOWN", GetRotationRequest { id: id.clone() });
        refused!(rotations.watch_rotation, NotFound "ROTATION_UNKNOWN", WatchRotationRequest { id: id.clone() });
        refused!(rotations.pause_rotation, NotFound "ROTATION_UNKNOWN", PauseRotationRequest { id: id.clone() });
        refused!(rotations.resume_rotation, NotFound "ROTATION_UNKNOWN", ResumeRotationRequest { id: id.clone() });
        refused!(rotations.abort_rotation, NotFound "ROTATION_UNKNOWN", AbortRotationRequest { id });
        for request_id in bad_ids() {
            invalid!(rotations.start_rotation, StartRotationRequest { request_id: request_id.clone(), to_generation: 2 });
            invalid!(rotations.pause_rotation, PauseRotationRequest { request_id: request_id.clone() });
            invalid!(rotations.resume_rotation, ResumeRotationRequest { request_id: request_id.clone() });
            invalid!(rotations.abort_rotation, AbortRotationRequest { request_id: request_id.clone() });
            invalid!(rotations.waive_client, WaiveClientRequest { request_id });
        }
        let until = timestamp(4_102_444_800, 0);
        for reason in [String::new(), " ".to_owned(), "ü".repeat(501)] {
            invalid!(rotations.waive_client, WaiveClientRequest { client: "one".to_owned(), reason, until });
        }
        for until in [None, timestamp(i64::MAX, 0), timestamp(0, -1), timestamp(0, i32::MAX)] {
            invalid!(rotations.waive_client, WaiveClientRequest { client: "one".to_owned(), reason: "gone".to_owned(), until });
        }
        invalid!(rotations.waive_client, WaiveClientRequest { reason: "gone".to_owned(), until });
        refused!(rotations.waive_client, NotFound "CLIENT_UNKNOWN", WaiveClientRequest { client: "nobody".to_owned(), reason: "gone".to_owned(), until });
        refused!(rotations.waive_client, FailedPrecondition "NO_ROTATION_RUNNING", WaiveClientRequest { client: "one".to_owned(), reason: "gone".to_owned(), until });
        for page_token in bad_tokens() {
            invalid!(rotations.list_rotations, ListRotationsRequest { page_token });
        }
        invalid!(rotations.list_rotations, ListRotationsRequest { page_size: 1001 });
    });
    assert!(fleet.controller_lives());
    assert_eq!(fleet.json(&["rotation", "list"]), serde_json::json!([]));
}

/// No message of the API: its only field has the number of none, and a wire type that none of the first fields has.
#[derive(Clone, PartialEq, prost::Message)]
struct Garbage {
    #[prost(fixed32, tag = "1")]
    first: u32,
    #[prost(fixed32, tag = "2")]
    second: u32,
}

#[test]
fn what_is_no_message_or_no_method_is_explained_too() {
    let mut fleet = Fleet::start();
    runtime().block_on(async {
        let channel = local(&fleet).await;
        for method in methods() {
            if method.takes_nothing {
                continue;
            }
            let garbage = Garbage {
                first: 1,
                second: 2,
            };
            let status = refusal(&channel, &method, garbage).await;
            explained(&format!("{method:?}"), &status);
        }
        for method in [
            Method::named("convoy.v1.TokenService", "NoSuchMethod"),
            Method::named("convoy.v1.NoSuchService", "Get"),
            Method::named("x", ""),
        ] {
            let status = refusal(&channel, &method, ()).await;
            let what = format!("{method:?}");
            assert_refused(&what, &status, Code::Unimplemented, "UNIMPLEMENTED");
        }
        // More than any message holds.
        let mut certificates = CertificateServiceClient::new(channel);
        let huge = v1::ImportCertificateRequest {
            certificate_pem: "x".repeat(8 << 20),
            ..Default::default()
        };
        let status = certificates.import_certificate(huge).await;
        explained("a huge message", &status.expect_err("refused"));
    });
    assert!(fleet.controller_lives());
}

/// Reads a list one element at a time; the names, in order.
macro_rules! one_by_one {
    ($client:ident.$method:ident, $message:ident, $list:ident, $name:ident) => {{
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            #[allow(clippy::needless_update, reason = "some messages have no other field")]
            let request = v1::$message {
                page_size: 1,
                page_token,
                ..Default::default()
            };
            let answer = $client.$method(request).await.expect("a page").into_inner();
            assert_eq!(answer.$list.len(), 1);
            names.extend(answer.$list.into_iter().map(|one| one.$name));
            if answer.next_page_token.is_empty() {
                break names;
            }
            page_token = answer.next_page_token;
        }
    }};
}

#[test]
fn lists_are_paged_without_gap_or_repetition() {
    let fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "9"]);
    for group in ["zebras", "ants", "cats"] {
        fleet.ok(&["groups", "create", group]);
    }
    for name in ["zoe", "anna", "carl"] {
        fleet.join(name, &token);
    }
    fleet.import_new();
    fleet.import_new();
    fleet.ok(&["token", "create"]);
    for _ in 0..3 {
        fleet.ok(&["rotation", "start", "--to", "2"]);
        fleet.ok(&["rotation", "abort"]);
    }
    runtime().block_on(async {
        let channel = local(&fleet).await;
        let mut groups = GroupServiceClient::new(channel.clone());
        let mut clients = ClientServiceClient::new(channel.clone());
        let mut tokens = TokenServiceClient::new(channel.clone());
        let mut certificates = CertificateServiceClient::new(channel.clone());
        let mut rotations = RotationServiceClient::new(channel);
        let names = one_by_one!(groups.list_groups, ListGroupsRequest, groups, name);
        assert_eq!(names, ["ants", "cats", "default", "zebras"]);
        let names = one_by_one!(clients.list_clients, ListClientsRequest, clients, name);
        assert_eq!(names, ["zoe", "anna", "carl"]);
        let uses = one_by_one!(tokens.list_tokens, ListTokensRequest, tokens, uses);
        assert_eq!(uses, [9, 1]);
        let generations = one_by_one!(
            certificates.list_certificates,
            ListCertificatesRequest,
            certificates,
            generation
        );
        assert_eq!(generations, [1, 2, 3]);
        let ids = one_by_one!(
            rotations.list_rotations,
            ListRotationsRequest,
            rotations,
            id
        );
        let listed = fleet.json(&["rotation", "list"]);
        let listed: Vec<_> = listed
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["id"].clone())
            .collect();
        assert_eq!(ids, listed);
        assert_eq!(ids.len(), 3);
    });
}
