//! What executors hold of queries that this scheduler does not know any more.

use paceline_model::ExecutorId;
use paceline_proto::cluster;
use paceline_proto::cluster::from_scheduler::Message;
use paceline_proto::state::Known;
use tokio::sync::mpsc;

use super::tests::driver;
use super::*;
use crate::testing::{holding_nothing, planned, record};
use crate::wire::Answer;

type Stream = mpsc::Receiver<cluster::FromScheduler>;

fn attach(driver: &Driver, executor: &str, holding: Vec<Answer>) -> Stream {
    let (outgoing, told) = mpsc::channel(100);
    let hello = cluster::Hello {
        executor: executor.to_string(),
        slots: 1,
        ..cluster::Hello::default()
    };
    let link = driver.attached(&driver.me(), hello, holding, outgoing);
    assert!(link.is_some());
    told
}

/// What an executor holds of a query for which it obeys that scheduler.
fn obeying(owner: &SchedulerId, query: QueryId) -> Answer {
    Answer {
        owner: Some(owner.clone()),
        ..holding_nothing(query, Epoch(3))
    }
}

/// The queries of which an executor was told so far that they have ended.
fn ended(told: &mut Stream) -> Vec<QueryId> {
    let mut ended = Vec::new();
    while let Ok(told) = told.try_recv() {
        if let Some(Message::EndQuery(end)) = told.message {
            ended.push(QueryId::from_slice(&end.query).unwrap());
        }
    }
    ended
}

#[tokio::test]
async fn what_is_held_of_a_query_that_is_forgotten_here_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let driver = driver(directory.path());
    let (me, other) = (driver.me(), SchedulerId::new("other"));
    let [forgotten, coming, others] = [(); 3].map(|()| record().query);
    // As long as this one does not say what it holds, the core knows nothing of the query.
    let _silent = attach(&driver, "x", vec![]);
    let graph = planned(1).plan.unwrap().graph;
    driver.adopt(coming, Epoch(3), graph, written::legacy(Known::default()));
    let all = || {
        vec![
            obeying(&me, forgotten),
            obeying(&me, coming),
            obeying(&other, others),
        ]
    };
    let mut told = attach(&driver, "y", all());
    assert_eq!(ended(&mut told), [forgotten]);
    driver.answered(&ExecutorId::new("y"), vec![obeying(&me, forgotten)]);
    assert_eq!(ended(&mut told), [forgotten], "it was asked");

    // What this scheduler has given away is for others to end.
    driver.close();
    let mut told = attach(&driver, "y", all());
    assert!(ended(&mut told).is_empty());
}
