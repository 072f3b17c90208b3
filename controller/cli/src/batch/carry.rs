//! Makes the changes of a file one by one, and stops at the first refusal. Which changes, and in which order, is not
//! decided here.

use convoy_proto::{
    scep,
    v1::{self, group_service_client::GroupServiceClient, scep_service_client::ScepServiceClient},
};
use tonic::transport::Channel;
use uuid::Uuid;

use super::steps::Step;
use crate::{
    failure::Failure,
    output::Screen,
    scep::{authority, profiles},
    words::plain,
};

/// Does every step, or says which were done and which were not.
pub(super) async fn out(
    channel: &Channel,
    screen: &mut Screen<'_>,
    steps: Vec<Step>,
) -> Result<(), Failure> {
    let names: Vec<String> = steps.iter().map(|step| plain(&step.to_string())).collect();
    for (done, step) in steps.into_iter().enumerate() {
        match carry(channel, step).await {
            Ok(warnings) => {
                for warning in warnings {
                    screen.note(&format!("warning: {}", plain(&warning)));
                }
            }
            Err(failure) => {
                let (applied, left) = names.split_at_checked(done).unwrap_or((&names, &[]));
                list(screen, "Applied", applied);
                list(screen, "Not applied", left);
                screen.note(
                    "Apply the file again when what follows is put right: it goes on where it stopped",
                );
                return Err(failure);
            }
        }
    }
    Ok(())
}

fn list(screen: &mut Screen<'_>, title: &str, names: &[String]) {
    if names.is_empty() {
        screen.note(&format!("{title}: nothing"));
        return;
    }
    screen.note(&format!("{title}:"));
    for name in names {
        screen.note(&format!("  {name}"));
    }
}

/// One call, under an id of its own. Again comes to the same: the file is compared anew. Returns warnings.
async fn carry(channel: &Channel, step: Step) -> Result<Vec<String>, Failure> {
    let request_id = Uuid::new_v4().to_string();
    match step {
        Step::CreateGroup(name) => {
            let request = v1::CreateGroupRequest { request_id, name };
            GroupServiceClient::new(channel.clone())
                .create_group(request)
                .await
                .map_err(Failure::asking)?;
        }
        Step::SetProfile(profile) => {
            profiles::set(channel, profile, request_id, Failure::asking).await?;
        }
        Step::Approve(approval) => {
            authority::set(channel, approval, request_id, Failure::asking).await?;
        }
        Step::Set {
            audience,
            patch,
            reset,
        } => {
            let request = v1::SetScepSettingsRequest {
                request_id,
                audience: Some(audience.on_the_wire()),
                patch: Some(scep::write_patch(&patch)),
                reset,
                validate_only: false,
            };
            let answer = ScepServiceClient::new(channel.clone())
                .set_scep_settings(request)
                .await
                .map_err(Failure::asking)?
                .into_inner();
            return Ok(answer.warnings);
        }
    }
    Ok(vec![])
}
