//! A challenge password that is typed at a terminal: asked for, not shown, used once, and kept nowhere. What comes from files is proven elsewhere.

use serde_json::json;

use crate::{fleet::Fleet, scep_peer::Peer, terminal::Terminal};

const SECRET: &str = "typed-at-a-terminal";

#[test]
fn a_challenge_is_typed_and_not_shown() {
    // Given a SCEP server that wants a challenge password,
    let peer = Peer::start();
    peer.wants("desk", SECRET);
    let mut fleet = Fleet::with_agents(&["one"]);
    let pin = ["--ca-fingerprint", &peer.fingerprint()];
    fleet.scep_at(&peer.url("desk"), &pin);
    fleet.await_settings("one");
    let request = ["scep", "request", "one", "--wait", "--prompt"];

    // when the question is ended by Ctrl-C, then nothing is asked of anybody, and the terminal is as it was;
    let mut terminal = Terminal::convoy(&fleet, &request);
    assert!(terminal.echoes());
    terminal.await_words("Challenge password: ");
    assert!(!terminal.echoes());
    terminal.types("typed-at\u{3}");
    assert_eq!(terminal.end(), 1);
    terminal.await_words("nothing was asked of anybody");
    assert!(terminal.echoes());
    assert_eq!(fleet.device_requests("one"), json!([]));

    // when it is typed, then it reaches the server, and is seen nowhere.
    let mut terminal = Terminal::convoy(&fleet, &request);
    terminal.await_words("Challenge password: ");
    terminal.types(&format!("{SECRET}\n"));
    assert_eq!(terminal.end(), 0, "{}", terminal.screen());
    terminal.await_words("one is requesting a certificate");
    assert!(terminal.echoes());
    assert!(
        !terminal.screen().contains("typed-at"),
        "{}",
        terminal.screen()
    );
    let seen = peer.seen("desk");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].challenge.as_deref(), Some(SECRET));
    assert_eq!(peer.issued("desk").len(), 1);
    assert_eq!(fleet.files_with(SECRET), Vec::<String>::new());
}
