//! What comes of launches, whether they are new or repeated.

use paceline_model::SchedulerId;
use paceline_proto::query_bytes;
use uuid::Uuid;

use super::*;

const QUERY: QueryId = QueryId(Uuid::from_u128(7));

/// A launch of that task, which takes one partition and one slot.
fn launch_of(task: u32) -> cluster::Launch {
    cluster::Launch {
        query: query_bytes(QUERY),
        plan: Some(Bytes::from_static(b"a plan that is not read")),
        tasks: vec![cluster::TaskLaunch {
            task,
            partitions: 1,
            slots: 1,
            ..cluster::TaskLaunch::default()
        }],
        ..cluster::Launch::default()
    }
}

/// What an attempt does comes later: there is one thread, and the test has it.
#[tokio::test]
async fn a_launch_that_is_repeated_while_the_queue_is_full_fails_nothing() {
    let node = Node::idle();
    let link = node.book.lock().attach(SchedulerId::new("a")).id;
    let _occupied = node.slots.enqueue(1).unwrap();
    launch(&node, link, launch_of(0));
    assert_eq!(node.slots.queued(), 1, "there is no further place");
    launch(&node, link, launch_of(0));
    let told = node.book.lock().outgoing(link, false);
    assert!(told.is_empty(), "it waits, as its owner knows: {told:?}");

    launch(&node, link, launch_of(1));
    let told = node.book.lock().outgoing(link, false);
    let [state] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(state.task, 1);
    assert!(matches!(state.state, Some(State::Failed(_))), "{state:?}");
    let live = node.book.lock().live_attempts();
    assert_eq!((live, node.slots.queued()), (1, 1));
}

#[tokio::test]
async fn no_more_goes_into_a_final_state_than_a_message_carries() {
    let node = Node::idle();
    let link = node.book.lock().attach(SchedulerId::new("a")).id;
    node.book.lock().admit(link, QUERY, Epoch(0)).unwrap();
    for (allowed, expected) in [(1 << 20, 1 << 20), (u64::MAX, MOST_INLINE.0)] {
        let mut launch = launch_of(0);
        launch.inline_limit_bytes = allowed;
        let orders = orders(&node, QUERY, StageId(0), launch).unwrap();
        assert_eq!(orders.inline_limit.0, expected);
    }
}
