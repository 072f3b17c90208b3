//! `convoy addresses`: where clients reach the controller. That it is there is proved by the controller, never here.

use convoy_proto::v1::{self, address_service_client::AddressServiceClient};
use serde::Serialize;

use crate::{
    args::{AddressesCommand, Format},
    connect::Session,
    failure::Failure,
    output::{self, Screen},
    words::{counted, plain},
};

/// An address of the controller.
#[derive(Debug, Serialize)]
struct Address {
    address: String,
    ahead: bool,
    clients: Vec<String>,
    client_count: u32,
    only_way_of: Vec<String>,
    only_way_of_count: u32,
    carried: bool,
    unreachable_from: Vec<String>,
    unreachable_from_count: u32,
}

impl From<v1::Address> for Address {
    fn from(wire: v1::Address) -> Self {
        Self {
            address: wire.address,
            ahead: wire.ahead,
            clients: wire.clients,
            client_count: wire.client_count,
            only_way_of: wire.only_way_of,
            only_way_of_count: wire.only_way_of_count,
            carried: wire.carried,
            unreachable_from: wire.unreachable_from,
            unreachable_from_count: wire.unreachable_from_count,
        }
    }
}

/// All addresses, and who has come by none.
#[derive(Debug, Serialize)]
struct Shown {
    addresses: Vec<Address>,
    without: Vec<String>,
    without_count: u32,
}

/// Addresses that were set.
#[derive(Debug, Serialize)]
struct Set {
    addresses: Vec<Address>,
    tried_by: String,
    not_carried: Vec<String>,
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: AddressesCommand,
) -> Result<(), Failure> {
    let mut service = AddressServiceClient::new(session.channel().await?);
    match command {
        AddressesCommand::Show => {
            let answer = service
                .list_addresses(v1::ListAddressesRequest {})
                .await
                .map_err(Failure::asking)?
                .into_inner();
            let shown = Shown {
                addresses: read(answer.addresses),
                without: answer.without,
                without_count: answer.without_count,
            };
            match session.format {
                Format::Json => screen.json(&shown),
                Format::Text => screen.line(&text(&shown)),
            }
        }
        AddressesCommand::Set {
            addresses,
            ahead,
            force,
        } => {
            let request = v1::SetAddressesRequest {
                request_id: session.request_id.clone(),
                addresses,
                ahead,
                force,
            };
            let answer = service
                .set_addresses(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let set = Set {
                addresses: read(answer.addresses),
                tried_by: answer.tried_by,
                not_carried: answer.not_carried,
            };
            match session.format {
                Format::Json => screen.json(&set),
                Format::Text => {
                    screen.note(&told(&set));
                    Ok(())
                }
            }
        }
        AddressesCommand::Remove { address, force } => {
            let request = v1::RemoveAddressRequest {
                request_id: session.request_id.clone(),
                address,
                force,
            };
            let answer = service
                .remove_address(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let left = read(answer.addresses);
            match session.format {
                Format::Json => screen.json(&left),
                Format::Text => {
                    screen.note(&format!("Removed. Left: {}", joined(&left)));
                    Ok(())
                }
            }
        }
    }
}

fn read(wire: Vec<v1::Address>) -> Vec<Address> {
    wire.into_iter().map(Address::from).collect()
}

fn joined(addresses: &[Address]) -> String {
    let all: Vec<_> = addresses.iter().map(|it| plain(&it.address)).collect();
    all.join(", ")
}

fn told(set: &Set) -> String {
    let mut text = format!("Clients are told: {}", joined(&set.addresses));
    if !set.tried_by.is_empty() {
        text += &format!("\n{} tried the new ones first", plain(&set.tried_by));
    }
    if !set.not_carried.is_empty() {
        let names: Vec<_> = set.not_carried.iter().map(|name| plain(name)).collect();
        text += &format!(
            "\nThe certificate that is served does not carry {}: agents pin its key and connect all the same; the next certificate must carry every name",
            names.join(", ")
        );
    }
    text
}

/// So many names stand in a line.
const NAMED: usize = 5;

fn some(names: &[String], count: u32) -> String {
    let shown: Vec<_> = names.iter().take(NAMED).map(|name| plain(name)).collect();
    let more = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .saturating_sub(shown.len());
    match (shown.is_empty(), more) {
        (true, _) => "-".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn text(shown: &Shown) -> String {
    let mut text = output::table(
        [
            "ADDRESS",
            "STATE",
            "CERTIFICATE",
            "CLIENTS",
            "ONLY WAY OF",
            "UNREACHABLE FROM",
        ],
        shown.addresses.iter().map(|it| {
            [
                plain(&it.address).to_string(),
                if it.ahead { "ahead" } else { "listed" }.to_owned(),
                if it.carried { "carried" } else { "not carried" }.to_owned(),
                it.client_count.to_string(),
                some(&it.only_way_of, it.only_way_of_count),
                some(&it.unreachable_from, it.unreachable_from_count),
            ]
        }),
    );
    if shown.without_count > 0 {
        text += &format!(
            "\n{} of the roster held no session over a listed address yet: {}",
            counted(shown.without_count, "client"),
            some(&shown.without, shown.without_count)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(address: &str, ahead: bool, clients: &[&str], only: &[&str]) -> Address {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Address {
            address: address.to_owned(),
            ahead,
            clients: names(clients),
            client_count: u32::try_from(clients.len()).unwrap(),
            only_way_of: names(only),
            only_way_of_count: u32::try_from(only.len()).unwrap(),
            carried: !ahead,
            unreachable_from: if ahead { names(&["pc-1"]) } else { vec![] },
            unreachable_from_count: u32::from(ahead),
        }
    }

    #[test]
    fn a_table_says_who_needs_which_address() {
        let shown = Shown {
            addresses: vec![
                address("a.example:7443", false, &["pc-1", "pc-2"], &["pc-2"]),
                address("b.example:7443", true, &[], &[]),
            ],
            without: vec!["pc-3".to_owned()],
            without_count: 7,
        };
        assert_eq!(
            text(&shown),
            "ADDRESS         STATE   CERTIFICATE  CLIENTS  ONLY WAY OF  UNREACHABLE FROM\n\
             a.example:7443  listed  carried      2        pc-2         -\n\
             b.example:7443  ahead   not carried  0        -            pc-1\n\
             7 clients of the roster held no session over a listed address yet: pc-3 and 6 more"
        );
    }

    #[test]
    fn what_was_set_is_told_with_what_follows() {
        let mut set = Set {
            addresses: vec![address("a.example:7443", false, &[], &[])],
            tried_by: String::new(),
            not_carried: vec![],
        };
        assert_eq!(told(&set), "Clients are told: a.example:7443");
        set.tried_by = "pc-1".to_owned();
        set.not_carried = vec!["a.example".to_owned()];
        assert_eq!(
            told(&set),
            "Clients are told: a.example:7443\npc-1 tried the new ones first\nThe certificate that is served does not carry a.example: agents pin \
             its key and connect all the same; the next certificate must carry every name"
        );
    }
}
