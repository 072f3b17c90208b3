//! What the two TCP ports answer to somebody without credentials, and what they do not.

use std::collections::BTreeSet;

use convoy_proto::v1::{self, agent_service_client::AgentServiceClient};
use tokio_stream::{StreamExt as _, once};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb;

use crate::{
    calls::{Method, assert_refused, explained, local, methods, port, refusal, speaks_tls_1_2},
    fleet::Fleet,
    road::runtime,
};

const SERVICES: [&str; 12] = [
    "convoy.v1.AddressService",
    "convoy.v1.AgentService",
    "convoy.v1.CertificateService",
    "convoy.v1.ClientService",
    "convoy.v1.GroupService",
    "convoy.v1.RecoveryService",
    "convoy.v1.RootService",
    "convoy.v1.RotationService",
    "convoy.v1.ScepAuthorityService",
    "convoy.v1.ScepService",
    "convoy.v1.SystemService",
    "convoy.v1.TokenService",
];

/// Asks a version of the reflection service for one thing.
macro_rules! reflect {
    ($version:ident, $channel:expr, $message:expr) => {{
        use pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest,
        };
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some($message(MessageRequest::ListServices)),
        };
        let mut client = ServerReflectionClient::new($channel.clone());
        let answers = client.server_reflection_info(once(request)).await;
        let mut answers = answers.expect("reflection").into_inner();
        let answer = answers.next().await.expect("an answer").expect("an answer");
        answer.message_response.expect("an answer")
    }};
}

/// The services that a version of the reflection service lists.
macro_rules! listed {
    ($version:ident, $channel:expr) => {{
        use pb::$version::server_reflection_response::MessageResponse;
        let answer = reflect!($version, $channel, |list: fn(String) -> _| list(
            String::new()
        ));
        let MessageResponse::ListServicesResponse(list) = answer else {
            panic!("{answer:?}");
        };
        let names = list.service.into_iter().map(|service| service.name);
        names.collect::<BTreeSet<String>>()
    }};
}

#[test]
fn anybody_may_learn_what_the_services_are_and_that_they_serve() {
    let fleet = Fleet::start();
    runtime().block_on(async {
        // On the operators' port without credentials, and on the local socket,
        for channel in [port(fleet.api_addr()).await, local(&fleet).await] {
            // both versions of reflection list the API's services,
            for listed in [listed!(v1, channel), listed!(v1alpha, channel)] {
                let own: Vec<&str> = listed
                    .iter()
                    .map(String::as_str)
                    .filter(|name| name.starts_with("convoy."))
                    .collect();
                assert_eq!(own, SERVICES);
                assert!(listed.contains("grpc.health.v1.Health"), "{listed:?}");
            }
            // both describe them, and nothing of the journal,
            for (symbol, known) in [
                ("convoy.v1.RotationService", true),
                ("convoy.v1.Client", true),
                ("convoy.journal.v1.Entry", false),
            ] {
                let first = {
                    use pb::v1::{
                        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                        server_reflection_request::MessageRequest,
                        server_reflection_response::MessageResponse,
                    };
                    let request = ServerReflectionRequest {
                        host: String::new(),
                        message_request: Some(MessageRequest::FileContainingSymbol(
                            symbol.to_owned(),
                        )),
                    };
                    let mut client = ServerReflectionClient::new(channel.clone());
                    match client.server_reflection_info(once(request)).await {
                        Ok(answers) => match answers.into_inner().next().await {
                            Some(Ok(answer)) => matches!(
                                answer.message_response,
                                Some(MessageResponse::FileDescriptorResponse(_))
                            ),
                            _ => false,
                        },
                        Err(_) => false,
                    }
                };
                assert_eq!(first, known, "{symbol}");
            }
            // and each of them serves, says its health.
            let mut health = HealthClient::new(channel);
            for service in SERVICES {
                let request = HealthCheckRequest {
                    service: service.to_owned(),
                };
                let answer = health.check(request).await.expect("health").into_inner();
                assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
            }
            let request = HealthCheckRequest {
                service: "convoy.v1.NoSuchService".to_owned(),
            };
            let unknown = health.check(request).await.expect_err("no such service");
            assert_eq!(unknown.code(), Code::NotFound);
        }
    });
}

#[test]
fn the_operators_port_does_nothing_for_strangers() {
    let mut fleet = Fleet::start();
    runtime().block_on(async {
        let channel = port(fleet.api_addr()).await;
        let mut all = methods();
        all.extend([
            Method::named("convoy.v1.TokenService", "NoSuchMethod"),
            Method::named("convoy.v1.NoSuchService", "Get"),
            Method::named("convoy.v2.TokenService", "CreateToken"),
            Method::named("grpcreflection", "ServerReflectionInfo"),
            Method::named("x", ""),
        ]);
        for method in all {
            let status = refusal(&channel, &method, ()).await;
            let what = format!("{method:?}");
            assert_refused(&what, &status, Code::Unauthenticated, "OPERATOR_REQUIRED");
        }
    });
    assert!(fleet.controller_lives());
    assert_eq!(fleet.json(&["token", "list"]), serde_json::json!([]));
}

#[test]
fn the_agents_port_serves_agents_only_over_tls_1_3_only() {
    let fleet = Fleet::start();
    runtime().block_on(async {
        // Given somebody without a client certificate,
        let channel = port(fleet.agents_addr()).await;
        // then the greeting is open to him, and joining asks for a token;
        let mut agents = AgentServiceClient::new(channel.clone());
        let greeting = v1::GreetRequest {
            nonce: vec![7; 32].into(),
        };
        let greeted = agents.greet(greeting).await.expect("greeted").into_inner();
        assert!(greeted.channel_proof.is_some() && greeted.roots.len() == 1);
        for nonce in [vec![], vec![7; 31], vec![7; 33]] {
            let greeting = v1::GreetRequest {
                nonce: nonce.into(),
            };
            let status = agents.greet(greeting).await.expect_err("refused");
            assert_refused("Greet", &status, Code::InvalidArgument, "INVALID_ARGUMENT");
        }
        let status = agents.join(v1::JoinRequest::default()).await;
        let status = status.expect_err("refused");
        assert_refused("Join", &status, Code::InvalidArgument, "INVALID_ARGUMENT");

        // what clients may do he may not,
        for name in ["RenewIdentity", "Session"] {
            let method = Method::named("convoy.v1.AgentService", name);
            let status = refusal(&channel, &method, ()).await;
            let reason = "CLIENT_CERTIFICATE_REQUIRED";
            assert_refused(name, &status, Code::Unauthenticated, reason);
        }
        // and there is nothing else.
        let mut others = methods();
        others.retain(|method| method.service != "convoy.v1.AgentService");
        others.push(Method::named("convoy.v1.AgentService", "NoSuchMethod"));
        others.push(Method::named("grpc.health.v1.Health", "Check"));
        let reflection = "grpc.reflection.v1.ServerReflection";
        others.push(Method::named(reflection, "ServerReflectionInfo"));
        for method in others {
            let status = refusal(&channel, &method, ()).await;
            assert_eq!(status.code(), Code::Unimplemented, "{method:?}: {status:?}");
            explained(&format!("{method:?}"), &status);
        }

        // Old TLS is refused on both ports.
        assert!(!speaks_tls_1_2(fleet.agents_addr()).await);
        assert!(!speaks_tls_1_2(fleet.api_addr()).await);
    });
}
