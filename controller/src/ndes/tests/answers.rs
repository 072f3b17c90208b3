//! What NDES, or what stands in its place, answers otherwise; and what is never shown.

use super::{
    mock::{PASSWORD, USER},
    *,
};

async fn refused(mock: &Mock) -> String {
    let source = mock.source();
    let error = source.fetch(client(1), HOUR).await.expect_err("refused");
    assert_eq!(source.outstanding(), 0);
    let words = format!("{error} {error:?}");
    assert!(!words.contains(PASSWORD), "{words}");
    error.to_string()
}

async fn answered(setup: Setup) -> String {
    let mock = Mock::start(setup).await;
    let words = refused(&mock).await;
    assert_eq!(mock.requests(), 1, "it is not asked in vain again");
    words
}

#[tokio::test(start_paused = true)]
async fn without_permission_it_says_what_to_permit() {
    let _frozen = freeze();
    let words = answered(Setup::NoPermission).await;
    assert!(words.contains("has no permission to enroll"), "{words}");
    assert!(words.contains(&format!("{USER:?}")), "{words}");
    assert!(words.contains("permission Enroll"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn without_basic_authentication_it_says_what_to_enable() {
    let _frozen = freeze();
    for (offers, named) in [
        (vec!["Negotiate", "NTLM"], "Negotiate or NTLM"),
        (vec!["NTLM"], "NTLM"),
        (vec!["Negotiate, NTLM"], "Negotiate or NTLM"),
        (vec!["s3cret"], "some other"),
        (vec![], "some other"),
    ] {
        let words = answered(Setup::Status(401, offers)).await;
        let wants = format!("wants {named} authentication");
        assert!(words.contains(&wants), "{words}");
        assert!(words.contains("enable Basic Authentication"), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_told_from_a_wrong_scheme() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let wrong = Ndes {
        password: Zeroizing::new("wr0ng".to_owned()),
        ..mock.ndes()
    };
    let source = ChallengeSource::new(&wrong).expect("settings");
    let error = source.fetch(client(1), HOUR).await.expect_err("wrong");
    assert!(matches!(error, NdesError::Unauthorized { .. }), "{error}");
    let words = format!("{error} {error:?}");
    assert!(!words.contains("wr0ng"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn other_answers_say_what_to_look_at() {
    let _frozen = freeze();
    for (setup, part) in [
        (
            Setup::Status(302, vec![]),
            "HTTP status 302: ndes_url must be",
        ),
        (Setup::Status(403, vec![]), "HTTP status 403: IIS refuses"),
        (
            Setup::Status(404, vec![]),
            "HTTP status 404: ndes_url must be",
        ),
        (
            Setup::Status(500, vec![]),
            "HTTP status 500: see the event log",
        ),
        (Setup::Status(418, vec![]), "HTTP status 418: see the log"),
        (Setup::Page("It works!".to_owned()), "in English"),
        (
            Setup::Page("x".repeat(64 * 1024)),
            "longer than 65536 bytes",
        ),
        (Setup::CutOff, "broke off"),
    ] {
        let words = answered(setup).await;
        assert!(words.contains(part), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_somebody_keeps_gives_one_challenge() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Kept).await;
    let source = mock.source();
    fetch(&source, 1).await;
    let error = source.fetch(client(2), HOUR).await.expect_err("the same");
    assert!(matches!(error, NdesError::Repeated), "{error}");
    assert_eq!(source.outstanding(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_ndes_is_not_waited_for_longer_than_half_a_minute() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    mock.hold();
    let fetching = spawn_fetch(&source, 1, HOUR);
    mock.asked(1).await;
    advance(Duration::from_secs(30)).await;
    let error = done(fetching).await.expect_err("silent");
    assert!(matches!(error, NdesError::Silent(_)), "{error}");
    // The next one in line has its own try.
    mock.let_go();
    fetch(&source, 2).await;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_listens_there_is_no_connection() {
    let _frozen = freeze();
    // Bound, so that nobody else has the port, but not listening.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address");
    let source = ChallengeSource::new(&ndes(&format!("http://{address}/"))).expect("settings");
    let error = source.fetch(client(1), HOUR).await.expect_err("nothing");
    assert!(matches!(error, NdesError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

fn ndes(url: &str) -> Ndes {
    Ndes {
        url: url.to_owned(),
        user: USER.to_owned(),
        password: Zeroizing::new(PASSWORD.to_owned()),
        cache: 5,
        lifetime: HOUR,
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for good in [
        "http://ndes/certsrv/mscep_admin/",
        "http://[::1]:8080/",
        "http://ndes",
    ] {
        ChallengeSource::new(&ndes(good)).expect(good);
    }
    let bad = [
        "",
        "ndes",
        "/certsrv",
        "https://ndes/",
        "http://u:s3cret@ndes/",
        "ftp://ndes/",
    ];
    let mut bad: Vec<Ndes> = bad.into_iter().map(ndes).collect();
    bad.push(Ndes {
        user: "a:b".to_owned(),
        ..ndes("http://ndes/")
    });
    bad.push(Ndes {
        cache: 0,
        ..ndes("http://ndes/")
    });
    for bad in bad {
        let error = ChallengeSource::new(&bad).expect_err("refused");
        assert!(matches!(error, NdesError::Settings(_)), "{error}");
        let words = format!("{error} {error:?} {bad:?}");
        assert!(!words.contains("s3cret"), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_are_never_shown() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    let lease = fetch(&source, 1).await;
    let shown = format!("{:?} {source:?} {lease:?}", mock.ndes());
    for secret in [lease.challenge(), PASSWORD] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
