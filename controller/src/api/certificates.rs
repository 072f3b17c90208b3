//! `CertificateService`: server certificates. Keys go to disk here before anything is decided, and never come back out.

use convoy_fleet::{decide::Command, refusal::Refusal, state::Outcome};
use convoy_proto::v1::{
    Certificate, GetCertificateRequest, GetCertificateResponse, ImportCertificateRequest,
    ImportCertificateResponse, ImportOutcome, ListCertificatesRequest, ListCertificatesResponse,
    RetireCertificateRequest, RetireCertificateResponse,
    certificate_service_server::CertificateService,
};
use convoy_shared::id::Generation;
use tonic::{Request, Response, Status, async_trait};

use super::{
    Api, actor, named,
    page::{key, page},
    status, view,
};
use crate::{beside, certificate::ServerCertificate, clock, keys::store_server_key};

#[async_trait]
impl CertificateService for Api {
    async fn import_certificate(
        &self,
        request: Request<ImportCertificateRequest>,
    ) -> Result<Response<ImportCertificateResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("ImportCertificate", &asked.request_id, &asked)?;
        let names = self.keeper.read().names_to_carry();
        let read = ServerCertificate::read(
            asked.certificate_pem.as_bytes(),
            &asked.key_pem,
            &names,
            clock::now(),
        )
        .map_err(|bad| status::invalid_because("certificate", bad.reason(), &bad))?;
        // First the key, then the certificate: a crash in between leaves a key that nobody asks for.
        store_server_key(&self.folder, &read.certificate.spki, read.key.secret_der()).map_err(
            |error| {
                tracing::error!(error = format!("{error:#}"), "cannot store a key");
                status::failed("KEY_NOT_STORED", "nothing has changed: the key cannot be stored, and the controller's log says why")
            },
        )?;
        let fingerprint = read.certificate.fingerprint;
        let outcome = self
            .decide(Command::ImportCertificate(read.certificate), actor, named)
            .await?;
        let (generation, outcome) = match outcome {
            Some(Outcome::Certificate(generation)) => (generation, ImportOutcome::Imported),
            Some(Outcome::Chain(generation)) => (generation, ImportOutcome::ChainTaken),
            _ => {
                let fleet = self.keeper.read();
                let known = fleet.certificate_of(&fingerprint);
                let (generation, _) = known.ok_or_else(|| {
                    status::internal("the certificate that was imported is unknown")
                })?;
                (generation, ImportOutcome::NothingNew)
            }
        };
        Ok(Response::new(ImportCertificateResponse {
            certificate: Some(self.certificate(generation)?),
            outcome: outcome.into(),
        }))
    }

    async fn list_certificates(
        &self,
        request: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let fleet = self.keeper.read();
        let now = clock::now();
        let all = fleet
            .certificates()
            .map(|(generation, kept)| (key(generation.0), (generation, kept)));
        let (certificates, next_page_token) = page(
            all,
            asked.page_size,
            &asked.page_token,
            |(generation, kept)| view::certificate(&fleet, generation, kept, now),
        )?;
        Ok(Response::new(ListCertificatesResponse {
            certificates,
            next_page_token,
        }))
    }

    async fn get_certificate(
        &self,
        request: Request<GetCertificateRequest>,
    ) -> Result<Response<GetCertificateResponse>, Status> {
        actor(&request)?;
        let fleet = self.keeper.read();
        let generation = match request.get_ref().generation {
            0 => fleet
                .serving()
                .ok_or_else(|| status::refused(&Refusal::NotFounded))?,
            number => Generation(number),
        };
        let kept = fleet
            .certificate(generation)
            .ok_or_else(|| status::refused(&Refusal::NoSuchGeneration(generation)))?;
        let mut certificate = view::certificate(&fleet, generation, kept, clock::now());
        certificate.pem = view::pem(&kept.certificate.chain);
        Ok(Response::new(GetCertificateResponse {
            certificate: Some(certificate),
        }))
    }

    async fn retire_certificate(
        &self,
        request: Request<RetireCertificateRequest>,
    ) -> Result<Response<RetireCertificateResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("RetireCertificate", &asked.request_id, &asked)?;
        let generation = Generation(asked.generation);
        let command = Command::RetireCertificate {
            generation,
            force: asked.force,
        };
        self.decide(command, actor, named).await?;
        if let Some(kept) = self.keeper.read().certificate(generation) {
            beside::forget(&self.folder, &kept.certificate.fingerprint);
        }
        Ok(Response::new(RetireCertificateResponse {
            certificate: Some(self.certificate(generation)?),
        }))
    }
}

impl Api {
    fn certificate(&self, generation: Generation) -> Result<Certificate, Status> {
        let fleet = self.keeper.read();
        let kept = fleet
            .certificate(generation)
            .ok_or_else(|| status::refused(&Refusal::NoSuchGeneration(generation)))?;
        Ok(view::certificate(&fleet, generation, kept, clock::now()))
    }
}
