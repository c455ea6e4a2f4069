use super::*;
use crate::testing::{self, store};

const BEAT: Duration = Duration::from_secs(1);

fn beacon(name: &str, beat: u64) -> Beacon {
    testing::beacon(SchedulerId::new(name), beat)
}

fn roster(names: &[&str], beat: u64) -> Roster {
    Roster {
        beacons: names.iter().map(|name| beacon(name, beat)).collect(),
        unreadable: vec![],
    }
}

#[tokio::test]
async fn who_takes_its_beacon_away_is_missed_once() {
    for is_over in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let members = Members::new(store(directory.path()));
        let membership = Membership::new(members, beacon("me", 0), BEAT);
        let begun = Instant::now();
        membership.observe(&roster(&["me", "other"], 1), begun);
        if is_over {
            membership.gone_for_good(&SchedulerId::new("other"));
        }
        let mut missed = Vec::new();
        for beat in 2..=10 {
            let now = begun + BEAT * u32::try_from(beat).unwrap();
            membership.observe(&roster(&["me"], beat), now);
            missed.push(membership.take_vanished());
        }
        let times = missed.iter().filter(|missed| **missed).count();
        assert_eq!(times, 1, "{missed:?}");
        assert!(!missed[0], "a listing may lag behind");
    }
}

#[tokio::test]
async fn who_is_present_has_a_beacon_and_is_not_over() {
    let directory = tempfile::tempdir().unwrap();
    let members = Members::new(store(directory.path()));
    let membership = Membership::new(members, beacon("me", 0), BEAT);
    let begun = Instant::now();
    membership.observe(&roster(&["me", "other", "over"], 1), begun);
    membership.gone_for_good(&SchedulerId::new("over"));
    assert_eq!(membership.present(), [SchedulerId::new("other")].into());
    assert!(membership.stale().is_empty(), "it may not know yet");
    for look in 1..=4 {
        let now = begun + BEAT * look;
        membership.observe(&roster(&["me", "over"], 1), now);
    }
    assert!(membership.present().is_empty());
    assert_eq!(membership.stale(), [SchedulerId::new("over")]);
}

#[tokio::test]
async fn who_stays_apart_is_missed_until_it_has_beaten_under_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let shared = testing::shared(directory.path()).await;
    let membership = &shared.membership;
    let members = Members::new(store(directory.path()));
    let names = async || {
        let beacons = members.list().await.unwrap().beacons;
        let names = beacons.into_iter().map(|beacon| beacon.scheduler);
        names.collect::<Vec<_>>()
    };
    let (former, next) = (shared.driver.me(), SchedulerId::new("next"));
    membership.beat(Instant::now()).await.unwrap();
    assert!(!membership.may_be_missed(Instant::now()));
    membership.stay_apart(next.clone());
    membership.beat(Instant::now()).await.unwrap();
    assert_eq!(
        names().await,
        std::slice::from_ref(&former),
        "as all know it"
    );
    assert_eq!(membership.live()[0].scheduler, next, "as it knows itself");
    assert!(membership.is_over(&former) && membership.is_apart());
    assert!(membership.may_be_missed(Instant::now()));
    // What is begun is seen through when the scheduler stops.
    membership.join(&shared);
    assert!(membership.may_be_missed(Instant::now()), "not shown yet");
    shared.stop.cancel();
    shared.tasks.close();
    shared.tasks.wait().await;
    assert_eq!(names().await, [next]);
    assert!(!membership.may_be_missed(Instant::now()));
}

#[tokio::test]
async fn who_did_not_beat_for_two_beats_may_be_missed_until_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let members = Members::new(store(directory.path()));
    let membership = Membership::new(members, beacon("me", 0), BEAT);
    let first = Instant::now() + BEAT;
    membership.beat(first).await.unwrap();
    assert!(!membership.may_be_missed(first + BEAT));
    let late = first + BEAT * 2;
    assert!(membership.may_be_missed(late));
    membership.beat(late).await.unwrap();
    assert!(!membership.may_be_missed(late));
}
