//! The built-in SCEP server of a story.

use convoy_proto::v1::{self, scep_authority_service_server::ScepAuthorityService};
use tonic::{Request, Response, Status};

use super::{Answer, PC_1, Played};

fn ca(number: u32, state: &str) -> v1::ScepCa {
    v1::ScepCa {
        number,
        certificate: vec![0x30, 2, 5, 0].into(),
        fingerprint: vec![0xab; 32].into(),
        state: state.to_owned(),
        subject: "CN=Convoy SCEP CA".to_owned(),
        key: if number == 1 { 1 } else { 2 },
        ra_certificate: if number == 1 { vec![] } else { vec![0x30, 0] }.into(),
        ..v1::ScepCa::default()
    }
}

fn challenge(id: &str) -> v1::ScepChallenge {
    v1::ScepChallenge {
        id: id.to_owned(),
        uses: 1,
        profile: "default".to_owned(),
        ..v1::ScepChallenge::default()
    }
}

fn issued() -> v1::IssuedCertificate {
    v1::IssuedCertificate {
        serial: "0A0B".to_owned(),
        subject: "CN=p1.example".to_owned(),
        client: PC_1.to_owned(),
        profile: "default".to_owned(),
        authority: 1,
        certificate: vec![0x30, 2, 5, 0].into(),
        ..v1::IssuedCertificate::default()
    }
}

fn request(state: &str, reason: &str) -> v1::ScepRequest {
    v1::ScepRequest {
        transaction_id: "TX1".to_owned(),
        state: state.to_owned(),
        subject: "CN=p1.example".to_owned(),
        profile: "default".to_owned(),
        reason: reason.to_owned(),
        ..v1::ScepRequest::default()
    }
}

#[tonic::async_trait]
impl ScepAuthorityService for Played {
    async fn get_scep_authority(
        &self,
        _: Request<v1::GetScepAuthorityRequest>,
    ) -> Answer<v1::GetScepAuthorityResponse> {
        let manual = self.0.lock().unwrap().manual;
        Ok(Response::new(v1::GetScepAuthorityResponse {
            url: "http://10.0.0.1:8082/scep".to_owned(),
            approval: if manual { 2 } else { 1 },
            authorities: vec![ca(1, "former"), ca(2, "current")],
            issued: 12,
            revoked: 1,
            waiting: 2,
        }))
    }

    async fn set_scep_authority(
        &self,
        asked: Request<v1::SetScepAuthorityRequest>,
    ) -> Answer<v1::SetScepAuthorityResponse> {
        let asked = asked.into_inner();
        let mut state = self.0.lock().unwrap();
        state.change(format!("approval {}", asked.approval), &asked.request_id)?;
        state.manual = asked.approval == 2;
        Ok(Response::new(v1::SetScepAuthorityResponse {
            approval: asked.approval,
        }))
    }

    async fn roll_over_scep_authority(
        &self,
        asked: Request<v1::RollOverScepAuthorityRequest>,
    ) -> Answer<v1::RollOverScepAuthorityResponse> {
        let asked = asked.into_inner();
        let mut state = self.0.lock().unwrap();
        let change = format!("rollover {} key {}", asked.activate, asked.key);
        state.change(change, &asked.request_id)?;
        Ok(Response::new(v1::RollOverScepAuthorityResponse {
            authority: Some(ca(2, "next")),
        }))
    }

    async fn create_scep_challenge(
        &self,
        asked: Request<v1::CreateScepChallengeRequest>,
    ) -> Answer<v1::CreateScepChallengeResponse> {
        let asked = asked.into_inner();
        let change = format!(
            "challenge uses {:?} cn {:?} {:?} lifetime {:?} client {:?} group {:?} secret {:?}",
            asked.uses,
            asked.common_name,
            asked.subject_alt_names,
            asked.lifetime.map(|lifetime| lifetime.seconds),
            asked.client,
            asked.group,
            asked.secret,
        );
        let mut state = self.0.lock().unwrap();
        state.change(change, &asked.request_id)?;
        Ok(Response::new(v1::CreateScepChallengeResponse {
            challenge: Some(challenge("00AA")),
            secret: "ABCDEFGH234567".to_owned(),
        }))
    }

    async fn list_scep_challenges(
        &self,
        _: Request<v1::ListScepChallengesRequest>,
    ) -> Answer<v1::ListScepChallengesResponse> {
        Ok(Response::new(v1::ListScepChallengesResponse {
            challenges: vec![challenge("00AA")],
            next_page_token: String::new(),
        }))
    }

    async fn revoke_scep_challenge(
        &self,
        asked: Request<v1::RevokeScepChallengeRequest>,
    ) -> Answer<v1::RevokeScepChallengeResponse> {
        let asked = asked.into_inner();
        let mut state = self.0.lock().unwrap();
        state.change(format!("revoke challenge {}", asked.id), &asked.request_id)?;
        Ok(Response::new(v1::RevokeScepChallengeResponse {
            challenge: Some(challenge(&asked.id)),
        }))
    }

    async fn list_scep_profiles(
        &self,
        _: Request<v1::ListScepProfilesRequest>,
    ) -> Answer<v1::ListScepProfilesResponse> {
        let state = self.0.lock().unwrap();
        let default = v1::ScepProfile {
            name: "default".to_owned(),
            lifetime: Some(prost_types::Duration {
                seconds: 365 * 86_400,
                nanos: 0,
            }),
            extended_key_usages: vec!["serverAuth".to_owned()],
            subject_alt_name_kinds: vec!["dns".to_owned(), "ip".to_owned()],
            subject_alt_names: vec![],
        };
        let mut profiles = state.profiles.clone();
        profiles.entry("default".to_owned()).or_insert(default);
        Ok(Response::new(v1::ListScepProfilesResponse {
            profiles: profiles.into_values().collect(),
        }))
    }

    async fn set_scep_profile(
        &self,
        asked: Request<v1::SetScepProfileRequest>,
    ) -> Answer<v1::SetScepProfileResponse> {
        let asked = asked.into_inner();
        let profile = asked.profile.unwrap();
        let change = format!(
            "profile {} {} s {:?} {:?}",
            profile.name,
            profile.lifetime.unwrap().seconds,
            profile.extended_key_usages,
            profile.subject_alt_names
        );
        let mut state = self.0.lock().unwrap();
        state.change(change, &asked.request_id)?;
        state.profiles.insert(profile.name.clone(), profile.clone());
        Ok(Response::new(v1::SetScepProfileResponse {
            profile: Some(profile),
        }))
    }

    async fn list_scep_requests(
        &self,
        asked: Request<v1::ListScepRequestsRequest>,
    ) -> Answer<v1::ListScepRequestsResponse> {
        let mut requests = vec![request("waiting", "")];
        if asked.into_inner().all {
            requests.push(request("denied", "unknown printer"));
        }
        Ok(Response::new(v1::ListScepRequestsResponse {
            requests,
            next_page_token: String::new(),
        }))
    }

    async fn approve_scep_request(
        &self,
        asked: Request<v1::ApproveScepRequestRequest>,
    ) -> Answer<v1::ApproveScepRequestResponse> {
        let asked = asked.into_inner();
        let mut state = self.0.lock().unwrap();
        state.change(
            format!("approve {}", asked.transaction_id),
            &asked.request_id,
        )?;
        Ok(Response::new(v1::ApproveScepRequestResponse {
            certificate: Some(issued()),
        }))
    }

    async fn deny_scep_request(
        &self,
        asked: Request<v1::DenyScepRequestRequest>,
    ) -> Answer<v1::DenyScepRequestResponse> {
        let asked = asked.into_inner();
        let change = format!("deny {} {:?}", asked.transaction_id, asked.reason);
        self.0.lock().unwrap().change(change, &asked.request_id)?;
        Ok(Response::new(v1::DenyScepRequestResponse {
            request: Some(request("denied", &asked.reason)),
        }))
    }

    async fn list_issued_certificates(
        &self,
        asked: Request<v1::ListIssuedCertificatesRequest>,
    ) -> Answer<v1::ListIssuedCertificatesResponse> {
        let client = asked.into_inner().client;
        if !client.is_empty() && client != PC_1 {
            return Err(Status::invalid_argument("that is no client's id"));
        }
        Ok(Response::new(v1::ListIssuedCertificatesResponse {
            certificates: vec![issued()],
            next_page_token: String::new(),
        }))
    }

    async fn revoke_issued_certificate(
        &self,
        asked: Request<v1::RevokeIssuedCertificateRequest>,
    ) -> Answer<v1::RevokeIssuedCertificateResponse> {
        let asked = asked.into_inner();
        let change = format!("revoke {} {}", asked.serial, asked.reason);
        self.0.lock().unwrap().change(change, &asked.request_id)?;
        Ok(Response::new(v1::RevokeIssuedCertificateResponse {
            certificate: Some(issued()),
            renewals: vec![v1::IssuedCertificate {
                serial: "0A0C".to_owned(),
                renews: "0A0B".to_owned(),
                ..issued()
            }],
        }))
    }

    async fn get_scep_crl(
        &self,
        _: Request<v1::GetScepCrlRequest>,
    ) -> Answer<v1::GetScepCrlResponse> {
        Ok(Response::new(v1::GetScepCrlResponse {
            crl: vec![0x30, 2, 5, 0].into(),
        }))
    }
}
