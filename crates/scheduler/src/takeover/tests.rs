use super::*;
use crate::testing::shared;

/// What a former self of the scheduler recorded is in a journal that is over.
#[tokio::test]
async fn what_a_former_incarnation_began_is_nothing_to_the_present_one() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let former = shared.driver.me();
    shared.driver.fence(|identity| {
        identity.renew();
    });
    let mut takeover = Takeover::new(Arc::clone(&shared), shared.journaling.clone());
    let (query, epoch) = (QueryId::from_slice(&[7; 16]).unwrap(), Epoch(1));
    let recorded = |by| {
        let from = SchedulerId::new("dead");
        News::Stepped(by, Step::Adopt { from, query, epoch }, Stepped::Done)
    };
    takeover.note(recorded(former));
    assert_eq!(takeover.ownership.own().epoch(query), None);
    takeover.note(recorded(shared.driver.me()));
    assert_eq!(takeover.ownership.own().epoch(query), Some(epoch));
    shared.stop.cancel();
}
