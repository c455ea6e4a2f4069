use paceline_store::Members;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::testing::{beacon, cluster_port, serve, shared, shared_with, store};

/// As the ports of a process that was killed may be seen: a connection is made before they close.
#[tokio::test]
async fn who_dies_while_it_is_looked_at_is_dead() {
    let listens = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listens.local_addr().unwrap().to_string();
    let closing = async {
        let accepted = listens.accept().await.unwrap();
        drop(listens);
        drop(accepted);
    };
    let (dead, ()) = tokio::join!(is_dead(&address, &Ended::Broken), closing);
    assert!(dead);
    assert!(is_dead(&address, &Ended::Unanswered).await, "and stays so");
}

#[tokio::test]
async fn who_listens_lives_whatever_it_says() {
    let listens = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listens.local_addr().unwrap().to_string();
    let speaking = async {
        let (mut accepted, _) = listens.accept().await.unwrap();
        accepted.write_all(b"settings").await.unwrap();
    };
    let (dead, ()) = tokio::join!(is_dead(&address, &Ended::Broken), speaking);
    assert!(!dead);
    // It breaks off whatever is made, as a proxy does before something that is dead.
    let breaking = async {
        for _ in 0..2 {
            drop(listens.accept().await.unwrap());
        }
    };
    let (dead, ()) = tokio::join!(is_dead(&address, &Ended::Broken), breaking);
    assert!(!dead, "somebody listens");
}

#[test]
fn while_nobody_listened_there_was_no_silence() {
    let begun = Instant::now();
    let after = |millis| begun + Duration::from_millis(millis);
    let mut silence = Silence::after_a_word(begun);
    assert_eq!(
        silence.lasts(after(1_600)),
        Duration::from_millis(1_600),
        "one try"
    );
    assert_eq!(silence.lasts(after(3_000)), Duration::from_secs(3));
    // It stood still for an hour.
    assert_eq!(silence.lasts(after(3_603_000)), Duration::from_secs(5));
    silence = Silence::after_a_word(after(3_603_000));
    assert_eq!(silence.lasts(after(3_603_000)), Duration::ZERO);
}

/// Or those would hold it for one that does not tell them of the catalog.
#[tokio::test]
async fn who_has_another_id_is_known_by_it_to_those_whom_it_watches() {
    let directory = tempfile::tempdir().unwrap();
    // What was heard a moment ago does not grow old.
    let beat = Duration::from_secs(3600);
    let shared = async || shared_with(directory.path(), |options| options.beat = beat).await;
    let (one, other) = (shared().await, shared().await);
    let members = Members::new(store(directory.path()));
    let mut served = beacon(other.driver.me(), 1);
    served.addresses.cluster = serve(cluster_port(&other)).await;
    members.beat(&served).await.unwrap();
    one.membership.look().await.unwrap();
    watch_peers(&one);
    let is_known = async |id: SchedulerId| {
        members.beat(&beacon(id.clone(), 1)).await.unwrap();
        other.membership.look().await.unwrap();
        other.membership.heard(&id, std::time::Instant::now());
        let mut contacts = other.membership.contacts();
        let now = std::time::Instant::now();
        let met = contacts.wait_for(|()| !other.membership.awaits_contact(now));
        let met = tokio::time::timeout(Duration::from_secs(60), met).await;
        assert!(met.is_ok(), "{id} is not known to watch");
    };
    let former = one.driver.me();
    is_known(former.clone()).await;
    one.driver.fence(|identity| {
        identity.renew();
    });
    one.driver.newsroom.change();
    other.membership.has_left(&former);
    is_known(one.driver.me()).await;
    for scheduler in [&one, &other] {
        scheduler.stop.cancel();
    }
}

#[tokio::test]
async fn a_watch_that_ends_in_whatever_way_may_begin_again() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let peer = SchedulerId::new("peer");
    let only = Watch::begin(&shared, &peer).unwrap();
    assert!(Watch::begin(&shared, &peer).is_none());
    let panics = async move {
        let _only = only;
        panic!("as the test has it");
    };
    assert!(tokio::spawn(panics).await.is_err());
    assert!(Watch::begin(&shared, &peer).is_some());
    shared.stop.cancel();
}
