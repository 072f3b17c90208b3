//! `ScepAuthorityService`: the built-in SCEP server and its CA, for operators. What may be issued is decided in the fleet.

mod challenge;
mod view;

use convoy_fleet::{
    decide::Command,
    issuance::{
        Approval, CrlReason, IssuanceCommand, Permit, Profile, SanKind, Transaction, Waiting,
    },
    refusal::Refusal,
};
use convoy_proto::{
    time::read_duration,
    v1::{
        self, ApproveScepRequestRequest, ApproveScepRequestResponse, CreateScepChallengeRequest,
        CreateScepChallengeResponse, DenyScepRequestRequest, DenyScepRequestResponse,
        GetScepAuthorityRequest, GetScepAuthorityResponse, GetScepCrlRequest, GetScepCrlResponse,
        ListIssuedCertificatesRequest, ListIssuedCertificatesResponse, ListScepChallengesRequest,
        ListScepChallengesResponse, ListScepProfilesRequest, ListScepProfilesResponse,
        ListScepRequestsRequest, ListScepRequestsResponse, RevokeIssuedCertificateRequest,
        RevokeIssuedCertificateResponse, RevokeScepChallengeRequest, RevokeScepChallengeResponse,
        RollOverScepAuthorityRequest, RollOverScepAuthorityResponse, SetScepAuthorityRequest,
        SetScepAuthorityResponse, SetScepProfileRequest, SetScepProfileResponse,
        scep_authority_service_server::ScepAuthorityService,
    },
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, actor, find_client, named, page::page, status};
use crate::{clock, scep::authority::AuthorityError};

#[async_trait]
impl ScepAuthorityService for Api {
    async fn get_scep_authority(
        &self,
        request: Request<GetScepAuthorityRequest>,
    ) -> Result<Response<GetScepAuthorityResponse>, Status> {
        actor(&request)?;
        let fleet = self.keeper.read();
        let issuance = fleet.issuance();
        Ok(Response::new(GetScepAuthorityResponse {
            url: self.scep.url.clone().unwrap_or_default(),
            approval: view::approval(issuance.approval()).into(),
            authorities: issuance.authorities().iter().map(view::authority).collect(),
            issued: issuance.issued(),
            revoked: issuance.revoked(),
            waiting: issuance.waiting(),
        }))
    }

    async fn set_scep_authority(
        &self,
        request: Request<SetScepAuthorityRequest>,
    ) -> Result<Response<SetScepAuthorityResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("SetScepAuthority", &asked.request_id, &asked)?;
        let approval = match asked.approval() {
            v1::ScepApproval::Automatic => Some(Approval::Automatic),
            v1::ScepApproval::Manual => Some(Approval::Manual),
            v1::ScepApproval::Unspecified if asked.approval == 0 => None,
            v1::ScepApproval::Unspecified => {
                return Err(status::invalid("approval", &"AUTOMATIC or MANUAL"));
            }
        };
        if let Some(approval) = approval {
            let command = Command::Issuance(IssuanceCommand::SetApproval(approval));
            self.decide(command, actor, named).await?;
        }
        let fleet = self.keeper.read();
        Ok(Response::new(SetScepAuthorityResponse {
            approval: view::approval(fleet.issuance().approval()).into(),
        }))
    }

    async fn roll_over_scep_authority(
        &self,
        request: Request<RollOverScepAuthorityRequest>,
    ) -> Result<Response<RollOverScepAuthorityResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("RollOverScepAuthority", &asked.request_id, &asked)?;
        let key = view::read_key(asked.key)?;
        if asked.activate && key.is_some() {
            return Err(status::invalid(
                "key",
                &"is for a CA that is made, and `activate` makes none",
            ));
        }
        let repeated = match &named {
            Some(named) => self
                .keeper
                .read()
                .repeated(named, clock::now())
                .map_err(|refusal| status::refused(&refusal))?
                .is_some(),
            None => false,
        };
        if asked.activate {
            let command = Command::Issuance(IssuanceCommand::ActivateAuthority);
            self.decide(command, actor, named).await?;
        } else if !repeated {
            self.scep
                .make_next(key, actor, named)
                .await
                .map_err(|error| from_authority(&error))?;
        }
        let fleet = self.keeper.read();
        let issuance = fleet.issuance();
        let ca = if asked.activate {
            issuance.current()
        } else {
            issuance.next().or_else(|| issuance.current())
        };
        Ok(Response::new(RollOverScepAuthorityResponse {
            authority: ca.map(view::authority),
        }))
    }

    async fn create_scep_challenge(
        &self,
        request: Request<CreateScepChallengeRequest>,
    ) -> Result<Response<CreateScepChallengeResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        self.create_challenge(actor, asked).await.map(Response::new)
    }

    async fn list_scep_challenges(
        &self,
        request: Request<ListScepChallengesRequest>,
    ) -> Result<Response<ListScepChallengesResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let fleet = self.keeper.read();
        let all = (0_u64..)
            .zip(fleet.issuance().challenges())
            .map(|(index, held)| (format!("{index:020}"), held));
        let (challenges, next_page_token) =
            page(all, asked.page_size, &asked.page_token, |held| {
                view::challenge(&fleet, held)
            })?;
        Ok(Response::new(ListScepChallengesResponse {
            challenges,
            next_page_token,
        }))
    }

    async fn revoke_scep_challenge(
        &self,
        request: Request<RevokeScepChallengeRequest>,
    ) -> Result<Response<RevokeScepChallengeResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("RevokeScepChallenge", &asked.request_id, &asked)?;
        let id = asked
            .id
            .parse()
            .map_err(|bad| status::invalid("id", &bad))?;
        let command = Command::Issuance(IssuanceCommand::RevokeChallenge(id));
        self.decide(command, actor, named).await?;
        let fleet = self.keeper.read();
        Ok(Response::new(RevokeScepChallengeResponse {
            challenge: fleet
                .issuance()
                .challenge(id)
                .map(|held| view::challenge(&fleet, held)),
        }))
    }

    async fn list_scep_profiles(
        &self,
        request: Request<ListScepProfilesRequest>,
    ) -> Result<Response<ListScepProfilesResponse>, Status> {
        actor(&request)?;
        let profiles = self.keeper.read().issuance().profiles();
        Ok(Response::new(ListScepProfilesResponse {
            profiles: profiles.iter().map(view::profile).collect(),
        }))
    }

    async fn set_scep_profile(
        &self,
        request: Request<SetScepProfileRequest>,
    ) -> Result<Response<SetScepProfileResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("SetScepProfile", &asked.request_id, &asked)?;
        let wire = asked
            .profile
            .ok_or_else(|| status::invalid("profile", &"is required"))?;
        let profile = read_profile(wire)?;
        let name = profile.name.clone();
        let command = Command::Issuance(IssuanceCommand::SetProfile(profile));
        self.decide(command, actor, named).await?;
        let profile = self.keeper.read().issuance().profile(&name);
        Ok(Response::new(SetScepProfileResponse {
            profile: profile.as_ref().map(view::profile),
        }))
    }

    async fn list_scep_requests(
        &self,
        request: Request<ListScepRequestsRequest>,
    ) -> Result<Response<ListScepRequestsResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let fleet = self.keeper.read();
        let all = (0_u64..)
            .zip(fleet.issuance().transactions())
            .filter(|(_, (_, transaction))| {
                asked.all || matches!(transaction, Transaction::Waiting(..))
            })
            .map(|(index, transaction)| (format!("{index:020}"), transaction));
        let (requests, next_page_token) = page(
            all,
            asked.page_size,
            &asked.page_token,
            |(id, transaction)| view::request(&fleet, id, transaction),
        )?;
        Ok(Response::new(ListScepRequestsResponse {
            requests,
            next_page_token,
        }))
    }

    async fn approve_scep_request(
        &self,
        request: Request<ApproveScepRequestRequest>,
    ) -> Result<Response<ApproveScepRequestResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("ApproveScepRequest", &asked.request_id, &asked)?;
        let no_such = || status::refused(&Refusal::NoSuchScepRequest(asked.transaction_id.clone()));
        let (waiting, profile) = {
            let fleet = self.keeper.read();
            let issuance = fleet.issuance();
            match issuance.transaction(&asked.transaction_id) {
                Some(Transaction::Waiting(waiting, _)) => {
                    let profile = issuance.profile(&waiting.profile).ok_or_else(|| {
                        status::refused(&Refusal::NoSuchProfile(waiting.profile.clone()))
                    })?;
                    (waiting.as_ref().clone(), profile)
                }
                // The same approval again.
                Some(Transaction::Issued(serial)) => {
                    let certificate = issuance.certificate(serial);
                    return Ok(Response::new(ApproveScepRequestResponse {
                        certificate: certificate.map(|known| view::certificate(&fleet, known)),
                    }));
                }
                Some(Transaction::Denied(..)) | None => return Err(no_such()),
            }
        };
        let transaction = waiting.transaction.clone();
        let scep = std::sync::Arc::clone(&self.scep);
        let issued = tokio::task::spawn_blocking(move || {
            let Waiting {
                transaction,
                subject_der,
                spki_der,
                sans,
                challenge,
                client,
                ..
            } = waiting;
            let permit = Permit {
                profile,
                sans,
                challenge: Some(challenge),
                renews: None,
                client,
            };
            scep.sign_certificate(&permit, transaction, &subject_der, &spki_der, clock::now())
        })
        .await
        .map_err(|_| status::internal("the controller is stopping"))?
        .map_err(|error| from_authority(&error))?;
        let command = Command::Issuance(IssuanceCommand::Approve(issued));
        self.decide(command, actor, named).await?;
        let fleet = self.keeper.read();
        let certificate = match fleet.issuance().transaction(&transaction) {
            Some(Transaction::Issued(serial)) => fleet.issuance().certificate(serial),
            Some(_) | None => None,
        };
        Ok(Response::new(ApproveScepRequestResponse {
            certificate: certificate.map(|known| view::certificate(&fleet, known)),
        }))
    }

    async fn deny_scep_request(
        &self,
        request: Request<DenyScepRequestRequest>,
    ) -> Result<Response<DenyScepRequestResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("DenyScepRequest", &asked.request_id, &asked)?;
        if asked.reason.chars().count() > 200 || asked.reason.chars().any(char::is_control) {
            return Err(status::invalid(
                "reason",
                &"at most 200 characters, and no control characters",
            ));
        }
        let transaction = asked.transaction_id.clone();
        let command = Command::Issuance(IssuanceCommand::Deny {
            transaction: asked.transaction_id,
            reason: asked.reason,
        });
        self.decide(command, actor, named).await?;
        let fleet = self.keeper.read();
        let known = fleet.issuance().transaction(&transaction);
        Ok(Response::new(DenyScepRequestResponse {
            request: known.map(|known| view::request(&fleet, &transaction, known)),
        }))
    }

    async fn list_issued_certificates(
        &self,
        request: Request<ListIssuedCertificatesRequest>,
    ) -> Result<Response<ListIssuedCertificatesResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let fleet = self.keeper.read();
        let client = match asked.client.as_str() {
            "" => None,
            text => Some(find_client(&fleet, text)?),
        };
        let issuance = fleet.issuance();
        // Newest first: the keys ascend as the places descend.
        let newest = issuance.issued();
        let all = (0..newest)
            .rev()
            .zip(issuance.certificates().rev())
            .filter(|(_, known)| client.is_none() || known.issued.client == client)
            .map(|(place, known)| (format!("{:020}", u64::MAX - place), known));
        let (certificates, next_page_token) =
            page(all, asked.page_size, &asked.page_token, |known| {
                view::certificate(&fleet, known)
            })?;
        Ok(Response::new(ListIssuedCertificatesResponse {
            certificates,
            next_page_token,
        }))
    }

    async fn revoke_issued_certificate(
        &self,
        request: Request<RevokeIssuedCertificateRequest>,
    ) -> Result<Response<RevokeIssuedCertificateResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("RevokeIssuedCertificate", &asked.request_id, &asked)?;
        let serial = view::read_serial(&asked.serial)?;
        let reason = if asked.reason.is_empty() {
            CrlReason::Unspecified
        } else {
            let known = CrlReason::ALL
                .iter()
                .find(|(_, name, _)| name.eq_ignore_ascii_case(&asked.reason));
            known.map(|(reason, _, _)| *reason).ok_or_else(|| {
                let names: Vec<_> = CrlReason::ALL.iter().map(|(_, name, _)| *name).collect();
                status::invalid("reason", &format!("one of {}", names.join(", ")))
            })?
        };
        let command = Command::Issuance(IssuanceCommand::Revoke {
            serial: serial.clone(),
            reason,
        });
        self.decide(command, actor, named).await?;
        let fleet = self.keeper.read();
        let known = fleet.issuance().certificate(&serial);
        let renewals = fleet.issuance().renewals(&serial, clock::now());
        Ok(Response::new(RevokeIssuedCertificateResponse {
            certificate: known.map(|known| view::certificate(&fleet, known)),
            renewals: renewals
                .into_iter()
                .map(|known| view::certificate(&fleet, known))
                .collect(),
        }))
    }

    async fn get_scep_crl(
        &self,
        request: Request<GetScepCrlRequest>,
    ) -> Result<Response<GetScepCrlResponse>, Status> {
        actor(&request)?;
        let crl = self
            .scep
            .crl()
            .await
            .map_err(|error| from_authority(&error))?;
        Ok(Response::new(GetScepCrlResponse { crl: crl.into() }))
    }
}

fn read_profile(wire: v1::ScepProfile) -> Result<Profile, Status> {
    let default = Profile::default();
    let san_kinds = wire
        .subject_alt_name_kinds
        .iter()
        .map(|kind| {
            [SanKind::Dns, SanKind::Ip, SanKind::Uri]
                .into_iter()
                .find(|known| known.as_str() == kind)
                .ok_or_else(|| status::invalid("subject_alt_name_kinds", &"dns, ip or uri"))
        })
        .collect::<Result<_, _>>()?;
    Ok(Profile {
        name: wire.name,
        lifetime: match wire.lifetime {
            None => default.lifetime,
            lifetime => read_duration(lifetime, "lifetime")
                .map_err(|bad| status::invalid("lifetime", &bad))?,
        },
        extended_key_usages: wire.extended_key_usages,
        san_kinds,
        sans: wire.subject_alt_names,
    })
}

fn from_authority(error: &AuthorityError) -> Status {
    match error {
        AuthorityError::Keeper(error) => status::from_keeper(error),
        AuthorityError::NoAuthority => status::refused(&Refusal::NoScepAuthority),
        AuthorityError::Refused(refusal) => status::refused(refusal),
        error => {
            tracing::error!(%error, "the SCEP CA cannot be used");
            status::internal("the SCEP CA cannot be used; the controller's log says why")
        }
    }
}
