//! `convoy token`. A token's secret is printed once, at its creation, and never kept.

use convoy_proto::v1::{self, token_service_client::TokenServiceClient};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    answers,
    args::{Format, TokenCommand},
    clock,
    connect::Session,
    durations,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words,
};

/// A join token without its secret.
#[derive(Debug, Serialize)]
struct Token {
    id: String,
    group: String,
    uses: u32,
    used: u32,
    created_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    revoked: bool,
}

#[derive(Debug, Serialize)]
struct NewToken<'a> {
    token: Token,
    secret_token: &'a str,
}

impl TryFrom<v1::Token> for Token {
    type Error = Unreadable;

    fn try_from(wire: v1::Token) -> Result<Self, Unreadable> {
        Ok(Self {
            id: wire.id,
            group: wire.group,
            uses: wire.uses,
            used: wire.used,
            created_at: answers::instant(wire.created_at, "created_at")?,
            expires_at: answers::instant(wire.expires_at, "expires_at")?,
            revoked: wire.revoked,
        })
    }
}

impl Token {
    /// Whether it still admits anybody.
    fn validity(&self, now: Timestamp) -> &'static str {
        if self.revoked {
            "revoked"
        } else if self.expires_at.is_some_and(|instant| instant <= now) {
            "expired"
        } else if self.used >= self.uses {
            "used up"
        } else {
            "valid"
        }
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: TokenCommand,
) -> Result<(), Failure> {
    let mut service = TokenServiceClient::new(session.channel().await?);
    match command {
        TokenCommand::Create {
            group,
            uses,
            expires,
        } => {
            let request = v1::CreateTokenRequest {
                request_id: session.request_id.clone(),
                group,
                uses,
                lifetime: Some(durations::on_the_wire(expires)),
            };
            let answer = service
                .create_token(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let token = Token::try_from(answers::required(answer.token, "token")?)?;
            match session.format {
                Format::Json => screen.json(&NewToken {
                    token,
                    secret_token: &answer.secret_token,
                }),
                Format::Text => {
                    screen.note(&format!(
                        "Token {} admits {} to the group {}, until {}. On each host run: convoy-agent join TOKEN",
                        words::plain(&token.id),
                        words::counted(token.uses, "client"),
                        words::plain(&token.group),
                        words::instant(token.expires_at),
                    ));
                    screen.line(&answer.secret_token)
                }
            }
        }
        TokenCommand::List => {
            let tokens: Vec<Token> = answers::every_page(async |page_token| {
                let request = v1::ListTokensRequest {
                    page_size: 1_000,
                    page_token,
                };
                let answer = service.list_tokens(request).await?.into_inner();
                Ok((answer.tokens, answer.next_page_token))
            })
            .await?;
            match session.format {
                Format::Json => screen.json(&tokens),
                Format::Text => screen.line(&listed(tokens, clock::now())),
            }
        }
        TokenCommand::Revoke { id } => {
            let request = v1::RevokeTokenRequest {
                request_id: session.request_id.clone(),
                id,
            };
            let answer = service
                .revoke_token(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let token = Token::try_from(answers::required(answer.token, "token")?)?;
            match session.format {
                Format::Json => screen.json(&token),
                Format::Text => {
                    screen.note(&format!(
                        "Token {} is revoked. The {} that joined with it stay; see `convoy clients list`",
                        words::plain(&token.id),
                        words::counted(token.used, "client"),
                    ));
                    Ok(())
                }
            }
        }
    }
}

fn listed(tokens: Vec<Token>, now: Timestamp) -> String {
    output::table(
        ["ID", "GROUP", "USED", "STATE", "CREATED", "EXPIRES"],
        tokens.into_iter().map(|token| {
            let validity = token.validity(now).to_owned();
            [
                token.id,
                token.group,
                format!("{}/{}", token.used, token.uses),
                validity,
                words::instant(token.created_at),
                words::instant(token.expires_at),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_which_tokens_still_admit() {
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-08-01T11:00:00Z".parse().unwrap();
        let token = |id: &str, used, expires_at, revoked| Token {
            id: id.to_owned(),
            group: "default".to_owned(),
            uses: 2,
            used,
            created_at: Some(now),
            expires_at: Some(expires_at),
            revoked,
        };
        let text = listed(
            vec![
                token("a", 0, later, false),
                token("b", 2, later, false),
                token("c", 1, now, false),
                token("d", 1, later, true),
            ],
            now,
        );
        assert_eq!(
            text,
            "\
ID  GROUP    USED  STATE    CREATED                  EXPIRES
a   default  0/2   valid    2026-08-01 10:00:00 UTC  2026-08-01 11:00:00 UTC
b   default  2/2   used up  2026-08-01 10:00:00 UTC  2026-08-01 11:00:00 UTC
c   default  1/2   expired  2026-08-01 10:00:00 UTC  2026-08-01 10:00:00 UTC
d   default  1/2   revoked  2026-08-01 10:00:00 UTC  2026-08-01 11:00:00 UTC"
        );
    }
}
