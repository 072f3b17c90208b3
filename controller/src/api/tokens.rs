//! `TokenService`: join tokens. Their secrets are derived, handed out once, and stored nowhere.

use convoy_fleet::{decide::Command, refusal::Refusal, state::Outcome};
use convoy_proto::{
    time::read_duration,
    v1::{
        CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse,
        RevokeTokenRequest, RevokeTokenResponse, token_service_server::TokenService,
    },
};
use convoy_shared::{
    id::{GroupName, TokenId},
    token::JoinToken,
};
use jiff::SignedDuration;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, actor, named, page::page, status, view};
use crate::clock;

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);
const MOST_USES: u32 = 1_000_000;

#[async_trait]
impl TokenService for Api {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("CreateToken", &asked.request_id, &asked)?;
        let group: GroupName = asked
            .group
            .parse()
            .map_err(|bad| status::invalid("group", &bad))?;
        let uses = asked.uses.max(1);
        if uses > MOST_USES {
            return Err(status::invalid("uses", &format!("at most {MOST_USES}")));
        }
        let lifetime = match asked.lifetime {
            None => LIFETIME,
            lifetime => read_duration(lifetime, "lifetime")
                .ok()
                .filter(|lifetime| (SignedDuration::from_secs(1)..=LONGEST).contains(lifetime))
                .ok_or_else(|| {
                    status::invalid("lifetime", &"a token lives for 1 second to 366 days")
                })?,
        };
        let expires_at = clock::now()
            .checked_add(lifetime)
            .map_err(|_| status::invalid("lifetime", &"out of range"))?;
        let id = TokenId::new(uuid::Uuid::new_v4());
        let no_key = || status::internal("the token's key cannot be derived");
        let public_key = self
            .keys
            .token_secret(id)
            .and_then(|secret| secret.signing_key())
            .ok_or_else(no_key)?
            .public();
        let command = Command::CreateToken {
            token: id,
            group,
            uses,
            expires_at,
            public_key,
        };
        let id = match self.decide(command, actor, named).await? {
            Some(Outcome::Token(id)) => id,
            _ => id,
        };
        let secret = self.keys.token_secret(id).ok_or_else(no_key)?;
        let fleet = self.keeper.read();
        let root = fleet
            .founded()
            .and_then(|founded| founded.roots.last())
            .ok_or_else(|| status::refused(&Refusal::NotFounded))?;
        let joining = JoinToken {
            addresses: fleet
                .addresses()
                .map(|addresses| addresses.to_try(&[]))
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect(),
            root_digest: root.envelope.digest(),
            id,
            secret,
        };
        let token = fleet
            .token(id)
            .ok_or_else(|| status::refused(&Refusal::UnknownToken(id)))?;
        Ok(Response::new(CreateTokenResponse {
            token: Some(view::token(id, token)),
            secret_token: joining.to_secret_string().to_string(),
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let fleet = self.keeper.read();
        let mut all: Vec<_> = fleet
            .tokens()
            .map(|(id, token)| {
                let key = format!("{:020}-{id}", token.created_at.as_millisecond());
                (key, (id, token))
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let (tokens, next_page_token) = page(
            all.into_iter(),
            asked.page_size,
            &asked.page_token,
            |(id, token)| view::token(id, token),
        )?;
        Ok(Response::new(ListTokensResponse {
            tokens,
            next_page_token,
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("RevokeToken", &asked.request_id, &asked)?;
        let id: TokenId = asked
            .id
            .parse()
            .map_err(|bad| status::invalid("id", &bad))?;
        if self.keeper.read().token(id).is_none() {
            return Err(status::not_found(
                Refusal::UnknownToken(id).reason(),
                "there is no such join token; `convoy token list` shows them",
            ));
        }
        self.decide(Command::RevokeToken(id), actor, named).await?;
        let fleet = self.keeper.read();
        let token = fleet
            .token(id)
            .ok_or_else(|| status::refused(&Refusal::UnknownToken(id)))?;
        Ok(Response::new(RevokeTokenResponse {
            token: Some(view::token(id, token)),
        }))
    }
}
