use super::*;
use crate::testing;

#[tokio::test]
async fn what_was_left_to_others_is_waited_for_before_any_of_them_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let shared = testing::shared(directory.path()).await;
    let (me, record) = (shared.driver.me(), testing::record());
    let query = record.query;
    let stands = async || {
        let standing = standing(&shared, query, Some(&me), &Asked::default()).await;
        standing.unwrap()
    };
    assert!(matches!(stands().await, Standing::Nowhere));
    shared.driver.submit(record, None);
    shared.driver.close();
    assert!(matches!(stands().await, Standing::Coming));
}

/// As in a takeover of many queries, of which each is told of.
#[tokio::test]
async fn a_claim_is_not_held_for_an_old_one_because_much_happens_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let shared = testing::shared(directory.path()).await;
    let (me, mut record) = (shared.driver.me(), testing::record());
    let (query, epoch) = (record.query, Epoch(1));
    let claims = &shared.journaling.claims;
    claims.adopt(query, epoch, &me).await.unwrap();
    let operation = Operation::Status(paceline_proto::cluster::Empty {});
    let asking = ask(&shared, query, None, &operation);
    let happening = async {
        for _ in 0..5 * GRACE_LOOKS {
            shared.driver.newsroom.change();
            // This takes as long as it takes who asks to look.
            let stands = standing(&shared, query, None, &Asked::default()).await;
            assert!(matches!(stands, Ok(Standing::Claimed)));
        }
        record.epoch = epoch;
        shared.driver.submit(record, None);
    };
    let (found, ()) = tokio::join!(asking, happening);
    assert!(matches!(found, Ok(Found::Here)), "{found:?}");
}

/// Its claim may be this scheduler's before it knows that itself.
#[tokio::test]
async fn what_is_being_adopted_is_waited_for_however_long_that_takes() {
    let directory = tempfile::tempdir().unwrap();
    let shared = testing::shared(directory.path()).await;
    let (me, query, epoch) = (shared.driver.me(), testing::record().query, Epoch(1));
    let (claims, passing) = (&shared.journaling.claims, &shared.journaling.passing);
    claims.adopt(query, epoch, &me).await.unwrap();
    let stands = async || standing(&shared, query, None, &Asked::default()).await;
    assert!(matches!(stands().await, Ok(Standing::Claimed)));
    passing.begin(query, epoch);
    assert!(matches!(stands().await, Ok(Standing::Coming)));
}

#[test]
fn what_takes_longer_than_a_takeover_is_looked_for_less_often() {
    assert_eq!(pause_after(0), LOOK_AGAIN);
    assert_eq!(pause_after(u32::MAX), LOOK_LATER);
}
