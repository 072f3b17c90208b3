//! Handshakes that ended because the peer refused the certificate: hints, by label and address. Nobody is authenticated there, so nothing is ever decided by them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use convoy_fleet::state::Fleet;
use convoy_shared::label::Label;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

/// So many rows are kept; each takes a kilobyte at the most.
const MOST: usize = 1024;
/// Of these, from one address, or from the /64 of an IPv6 host.
const PER_ADDRESS: usize = 16;
/// A row is forgotten so long after its last handshake.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// So many anchors of a label are spelled out for people.
const SPELLED: usize = 8;
/// So many rows are named in one line.
const NAMED: usize = 3;

/// What was counted since the controller began.
#[derive(Default)]
pub struct Refusals(Mutex<Table>);

#[derive(Default)]
struct Table {
    rows: BTreeMap<Key, Row>,
    /// The order in which rows were last touched: clocks jump.
    turn: u64,
    by_kind: BTreeMap<&'static str, u64>,
}

/// Where from, and what the peer said that the connection is for.
type Key = (IpAddr, Option<Label>);

#[derive(Clone, Copy)]
struct Row {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    turn: u64,
}

/// The handshakes with one label from one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where from.
    pub address: IpAddr,
    /// What the peer said that the connection is for.
    pub label: Option<Label>,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

impl Refusals {
    /// The kinds of labels, as metrics name them.
    pub const KINDS: [&str; 4] = ["anchors", "any", "probe", "none"];

    /// One more. True if nothing was kept of this address, and there was room.
    pub fn saw(&self, address: IpAddr, label: Option<Label>, now: Timestamp) -> bool {
        let address = address.to_canonical();
        let mut table = self.lock();
        *table.by_kind.entry(kind(label.as_ref())).or_default() += 1;
        table.turn += 1;
        let turn = table.turn;
        let key = (address, label);
        if let Some(row) = table.rows.get_mut(&key) {
            row.count += 1;
            row.last = now;
            row.turn = turn;
            return false;
        }
        table.rows.retain(|_, row| is_kept(row, now));
        let is_new = table.make_room(address);
        let row = Row {
            count: 1,
            first: now,
            last: now,
            turn,
        };
        table.rows.insert(key, row);
        is_new
    }

    /// What is kept, the newest first.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<Refused> {
        let table = self.lock();
        let mut rows: Vec<_> = table
            .rows
            .iter()
            .filter(|(_, row)| is_kept(row, now))
            .collect();
        rows.sort_by_key(|(_, row)| Reverse(row.turn));
        rows.into_iter()
            .map(|((address, label), row)| Refused {
                address: *address,
                label: label.clone(),
                count: row.count,
                first: row.first,
                last: row.last,
            })
            .collect()
    }

    /// How many there were since the controller began, by the kind of their label.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 4] {
        let table = self.lock();
        Self::KINDS.map(|kind| (kind, table.by_kind.get(kind).copied().unwrap_or(0)))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Room for one more row of this address. An address that has many loses its own oldest, and when there are too many in all, then the networks that
    /// have the most do. True if nothing was kept of this address, and nothing had to go.
    fn make_room(&mut self, address: IpAddr) -> bool {
        let own = |other: &IpAddr| host(*other) == host(address);
        let oldest = |rows: &mut dyn Iterator<Item = (&Key, &Row)>| {
            rows.min_by_key(|(_, row)| row.turn)
                .map(|(key, _)| key.clone())
        };
        let count = self.rows.keys().filter(|(other, _)| own(other)).count();
        let goes = if count >= PER_ADDRESS {
            oldest(&mut self.rows.iter().filter(|((other, _), _)| own(other)))
        } else if self.rows.len() >= MOST {
            let mut networks = BTreeMap::from([(network(address), 1_usize)]);
            for (other, _) in self.rows.keys() {
                *networks.entry(network(*other)).or_default() += 1;
            }
            let of = |other: IpAddr| networks.get(&network(other)).copied();
            let most = self.rows.keys().map(|(other, _)| of(*other)).max();
            oldest(
                &mut self
                    .rows
                    .iter()
                    .filter(|((other, _), _)| Some(of(*other)) == most),
            )
        } else {
            None
        };
        if let Some(key) = &goes {
            self.rows.remove(key);
        }
        count == 0 && goes.is_none()
    }
}

fn is_kept(row: &Row, now: Timestamp) -> bool {
    now.duration_since(row.last) < KEPT
}

/// An IPv4 address, or the /64 that an IPv6 host has to itself.
fn host(address: IpAddr) -> Option<IpNet> {
    within(address, 32, 64)
}

/// What belongs to one owner as a rule.
fn network(address: IpAddr) -> Option<IpNet> {
    within(address, 24, 48)
}

fn within(address: IpAddr, v4: u8, v6: u8) -> Option<IpNet> {
    let length = if address.is_ipv4() { v4 } else { v6 };
    IpNet::new(address, length).ok().map(|net| net.trunc())
}

const fn kind(label: Option<&Label>) -> &'static str {
    match label {
        Some(Label::Trusts(_)) => "anchors",
        Some(Label::TrustsAny) => "any",
        Some(Label::Probe(_) | Label::ProbeOver(..) | Label::Decoy(_)) => "probe",
        None => "none",
    }
}

/// What a label says, for people.
#[must_use]
pub fn words(fleet: &Fleet, label: Option<&Label>) -> String {
    match label {
        None => "without a label: it may be no agent at all".to_owned(),
        Some(Label::TrustsAny) => "says that its verification is off".to_owned(),
        Some(Label::Probe(generation) | Label::ProbeOver(generation, _)) => {
            format!("probes certificate {generation}")
        }
        Some(Label::Decoy(_)) => "a decoy".to_owned(),
        Some(Label::Trusts(anchors)) => {
            let mut spelled: Vec<_> = anchors
                .iter()
                .take(SPELLED)
                .map(ToString::to_string)
                .collect();
            if anchors.len() > SPELLED {
                spelled.push(format!("{} more", anchors.len() - SPELLED));
            }
            let none = if fleet.serves(anchors) {
                ""
            } else {
                ", for which no certificate is served"
            };
            format!("trusts anchors {}{none}", spelled.join(", "))
        }
    }
}

/// All in one line, for people. Empty: there were none.
#[must_use]
pub fn hint(fleet: &Fleet, refused: &[Refused]) -> String {
    if refused.is_empty() {
        return String::new();
    }
    let count = refused
        .iter()
        .fold(0_u64, |sum, one| sum.saturating_add(one.count));
    let addresses: BTreeSet<_> = refused.iter().map(|one| one.address).collect();
    let mut named: Vec<_> = refused
        .iter()
        .take(NAMED)
        .map(|one| {
            let said = words(fleet, one.label.as_ref());
            format!("{} ({said}; {} times)", one.address, one.count)
        })
        .collect();
    if refused.len() > NAMED {
        named.push(format!(
            "and {} more (`convoy status`)",
            refused.len() - NAMED
        ));
    }
    format!(
        "handshakes in which the peer refused the certificate: {count}, addresses: {}: {}. A client that is cut off looks like that; but nobody is authenticated \
         there, and anybody can forge it.",
        addresses.len(),
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use convoy_shared::id::AnchorNumber;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn trusts(number: u64) -> Option<Label> {
        Some(Label::Trusts(vec![AnchorNumber(number)]))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn has(refusals: &Refusals, from: &str) -> bool {
        refusals
            .list(NOW)
            .iter()
            .any(|one| one.address == address(from))
    }

    #[test]
    fn each_label_of_each_address_is_counted_until_it_is_a_day_old() {
        let refusals = Refusals::default();
        let later = NOW + SignedDuration::from_hours(1);
        assert!(refusals.saw(address("192.0.2.1"), trusts(1), NOW));
        assert!(!refusals.saw(address("::ffff:192.0.2.1"), trusts(1), later));
        assert!(!refusals.saw(address("192.0.2.1"), None, NOW));
        let listed = refusals.list(later);
        assert_eq!(listed.len(), 2);
        let row = Refused {
            address: address("192.0.2.1"),
            label: trusts(1),
            count: 2,
            first: NOW,
            last: later,
        };
        assert_eq!(listed[1], row);
        assert_eq!(refusals.by_kind()[0], ("anchors", 2));
        assert_eq!(refusals.list(NOW + KEPT), [row]);
        assert_eq!(refusals.list(later + KEPT), []);
    }

    #[test]
    fn a_stranger_pushes_out_only_itself() {
        let refusals = Refusals::default();
        refusals.saw(address("192.0.2.1"), trusts(1), NOW);
        // One address, one host's IPv6 network, and then everything that a provider hands out.
        for number in 0..100_u64 {
            refusals.saw(address("198.51.100.1"), trusts(number), NOW);
        }
        assert_eq!(refusals.list(NOW).len(), 1 + PER_ADDRESS);
        for number in 0..100_u32 {
            let [.., c, d] = number.to_be_bytes();
            refusals.saw(address(&format!("2001:db8::{c:x}:{d:x}")), trusts(1), NOW);
        }
        assert_eq!(refusals.list(NOW).len(), 1 + 2 * PER_ADDRESS);
        for number in 0..2_000_u32 {
            let from = format!("2001:db8:1:{number:x}::1");
            refusals.saw(address(&from), trusts(1), NOW);
        }
        assert_eq!(refusals.list(NOW).len(), MOST);
        assert!(has(&refusals, "192.0.2.1"));
        assert!(has(&refusals, "198.51.100.1"));
        // Who comes later finds room, too, and is not a line of the log each time.
        assert!(!refusals.saw(address("203.0.113.1"), trusts(1), NOW));
        assert!(has(&refusals, "203.0.113.1"));
        assert_eq!(refusals.list(NOW).len(), MOST);
    }

    #[test]
    fn a_line_says_how_many_from_where_and_that_it_proves_nothing() {
        let (fleet, refusals) = (Fleet::default(), Refusals::default());
        assert_eq!(hint(&fleet, &refusals.list(NOW)), "");
        for number in 1..=5 {
            refusals.saw(address("192.0.2.1"), trusts(number), NOW);
        }
        let line = hint(&fleet, &refusals.list(NOW));
        for words in [
            "certificate: 5, addresses: 1: 192.0.2.1 (trusts anchors 5, for which no certificate is served; 1 times)",
            "and 2 more",
            "anybody can forge it",
        ] {
            assert!(line.contains(words), "{line}");
        }
        let many = Label::Trusts((1..=10).map(AnchorNumber).collect());
        assert!(words(&fleet, Some(&many)).contains("7, 8, 2 more, for which"));
    }
}
