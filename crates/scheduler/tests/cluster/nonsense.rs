//! Messages at the cluster port that no Paceline process would send: each is answered with what is wrong
//! with it, and harms nobody.

use bytes::Bytes;
use paceline_frontend::{Afresh, SessionSettings, Ticket};
use paceline_model::{CatalogVersion, QueryId, QueryStatus, SchedulerId};
use paceline_proto::cluster;
use paceline_proto::cluster::forward_request::Operation;
use paceline_proto::cluster::forward_response::Answer;
use paceline_proto::cluster::from_executor::Message as Said;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::cluster::task_state::State;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::port::{Client, attach, connect, hello, message, refused};
use crate::support::Cluster;

/// A port that nobody listens on.
const CLOSED: &str = "127.0.0.1:1";

/// The number of the last thing that a strange executor says.
const LAST: u64 = 77;

/// Sixteen bytes make a query id.
fn short() -> Bytes {
    Bytes::from_static(b"short")
}

fn is(status: &Status, code: Code, words: &str) {
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{words}: {status}");
}

/// It answers as ever, and saw nothing that must never be.
async fn goes_on(cluster: &Cluster) {
    cluster.all_attached().await;
    let rows = cluster.sql(0, "SELECT 41 + 1 AS a").await.unwrap();
    assert_eq!(rows[0]["a"], 42);
    let violations = cluster.value(0, "paceline_invariant_violations_total", "");
    assert_eq!(violations, 0.0);
}

fn saying(hello: cluster::Hello) -> Vec<cluster::FromExecutor> {
    vec![message(Said::Hello(hello))]
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_attaches_who_does_not_say_who_it_is_and_what_it_holds() {
    let cluster = Cluster::start(1, 1).await;
    let mut client = connect(&cluster).await;
    let good = || hello("x", CLOSED);
    let nothing = cluster::FromExecutor { message: None };
    let heartbeat = message(Said::Heartbeat(cluster::Heartbeat::default()));
    let unreadable = cluster::Inventory {
        queries: vec![cluster::HeldQuery {
            query: short(),
            ..cluster::HeldQuery::default()
        }],
        more: false,
    };
    let holding = |inventory| {
        saying(cluster::Hello {
            inventory: Some(inventory),
            ..good()
        })
    };
    let at = |address: &str| {
        saying(cluster::Hello {
            address: address.to_string(),
            ..good()
        })
    };
    let open = || {
        holding(cluster::Inventory {
            more: true,
            ..cluster::Inventory::default()
        })
    };
    let another = cluster::Hello {
        protocol: 99,
        ..good()
    };
    let nobody = cluster::Hello {
        executor: String::new(),
        ..good()
    };
    let unreadable_part = message(Said::Inventory(unreadable.clone()));
    let invalid = Code::InvalidArgument;
    for (said, code, words) in [
        (vec![], invalid, "Hello first"),
        (vec![nothing], invalid, "Hello first"),
        (vec![heartbeat.clone()], invalid, "Hello first"),
        (saying(another), Code::FailedPrecondition, "protocol 99"),
        (saying(nobody), invalid, "no executor"),
        (at(""), invalid, "''"),
        (at("somewhere"), invalid, "'somewhere'"),
        (at(":50052"), invalid, "':50052'"),
        (at("host:70000"), invalid, "'host:70000'"),
        (holding(unreadable), invalid, "query"),
        (open(), invalid, "breaks off"),
        ([open(), vec![heartbeat]].concat(), invalid, "breaks off"),
        ([open(), vec![unreadable_part]].concat(), invalid, "query"),
    ] {
        is(&refused(&mut client, said).await, code, words);
    }
    goes_on(&cluster).await;
}

/// Strange states: of a query that is there and of others, of stages and tasks that are not.
fn strange_states(query: QueryId) -> cluster::TaskStates {
    let finished = cluster::Finished {
        output: Some(cluster::OutputSummary {
            rows: u64::MAX,
            bytes: u64::MAX,
            partition_bytes: vec![u64::MAX; 9],
            disk_bytes: u64::MAX,
        }),
        operators: vec![cluster::OperatorMetrics::default(); 9],
        inline_result: Some(Bytes::from_static(b"no stream")),
        run_micros: u64::MAX,
        queued_micros: u64::MAX,
        ..cluster::Finished::default()
    };
    let failed = cluster::Failed {
        class: "no class".to_string(),
        message: String::new(),
        lost: vec![cluster::LostOutput::default(); 9],
    };
    let running = cluster::Running {
        rows: u64::MAX,
        bytes: u64::MAX,
    };
    let ends = [
        None,
        Some(State::Running(running)),
        Some(State::Finished(finished)),
        Some(State::Failed(failed)),
        Some(State::Cancelled(cluster::Cancelled {})),
    ];
    let known = Bytes::copy_from_slice(&query.to_bytes());
    let mut states = Vec::new();
    for query in [short(), Bytes::from_static(&[9; 16]), known] {
        for (stage, task) in [(0, 0), (0, u32::MAX), (u32::MAX, 0)] {
            states.extend(ends.iter().cloned().map(|state| cluster::TaskState {
                query: query.clone(),
                epoch: u64::from(task),
                stage,
                task,
                attempt: u32::MAX,
                number: LAST,
                state,
            }));
        }
    }
    let load = Some(strange_load());
    cluster::TaskStates { states, load }
}

fn strange_load() -> cluster::Load {
    cluster::Load {
        slots_used: u32::MAX,
        slots_queued: u32::MAX,
        memory_used_bytes: u64::MAX,
        exchange_memory_bytes: u64::MAX,
        exchange_disk_bytes: u64::MAX,
        draining: false,
    }
}

/// All that a strange executor says once it is attached.
fn strange_words(query: QueryId) -> Vec<cluster::FromExecutor> {
    let nowhere = cluster::AttemptRef {
        stage: u32::MAX,
        task: u32::MAX,
        attempt: u32::MAX,
    };
    let held = |query: Bytes, epoch| cluster::HeldQuery {
        query,
        epoch,
        finished: vec![cluster::TaskState {
            state: Some(State::Finished(cluster::Finished::default())),
            ..cluster::TaskState::default()
        }],
        running: vec![nowhere],
        owner: "\u{0}".to_string(),
    };
    let known = Bytes::copy_from_slice(&query.to_bytes());
    let unknown = Bytes::from_static(&[9; 16]);
    let names = ["", "..", "a/b", "\u{0}"].map(String::from).to_vec();
    let all = [
        Said::Hello(hello("y", "elsewhere")),
        Said::Inventory(cluster::Inventory::default()),
        Said::Held(cluster::Held {
            queries: vec![held(short(), 0)],
        }),
        Said::Held(cluster::Held {
            queries: vec![
                held(unknown, u64::MAX),
                held(known.clone(), 0),
                held(known, 9),
            ],
        }),
        Said::Streams(cluster::Streams { schedulers: names }),
        Said::Heartbeat(cluster::Heartbeat {
            count: u64::MAX,
            load: Some(strange_load()),
        }),
        Said::Heartbeat(cluster::Heartbeat::default()),
        Said::TaskStates(strange_states(query)),
    ];
    let nothing = cluster::FromExecutor { message: None };
    let strange = cluster::Hello {
        slots: u32::MAX,
        memory_bytes: u64::MAX,
        zone: "\u{0}".to_string(),
        ..hello("x", CLOSED)
    };
    [saying(strange), vec![nothing], all.map(message).to_vec()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_executor_says_of_what_it_was_never_given_changes_nothing() {
    let cluster = Cluster::start(1, 1).await;
    cluster.sql(0, "SELECT 1 AS a").await.unwrap();
    let before = cluster.get(0, "/v1/queries").await;
    let query = before["queries"][0]["query_id"].as_str().unwrap();
    let mut client = connect(&cluster).await;
    let mut attached = attach(&mut client, strange_words(query.parse().unwrap())).await;
    let heard = |told| match told {
        Told::Acknowledge(numbers) => numbers.numbers.contains(&LAST).then_some(()),
        _ => None,
    };
    attached.hear(heard).await;
    assert_eq!(cluster.get(0, "/v1/queries").await, before);
    drop(attached);
    goes_on(&cluster).await;
}

async fn forward(
    client: &mut Client,
    to: &SchedulerId,
    query: Bytes,
    operation: Option<Operation>,
) -> Result<Answer, Status> {
    let request = cluster::ForwardRequest {
        query,
        operation,
        to: to.to_string(),
    };
    let answer = client.forward(request).await?.into_inner().answer;
    Ok(answer.expect("an answer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_scheduler_asks_is_answered_with_what_is_wrong() {
    let cluster = Cluster::start(1, 1).await;
    let mut client = connect(&cluster).await;
    let me = cluster.schedulers[0].id();
    let nobody = Bytes::from_static(&[9; 16]);
    let empty = || cluster::Empty {};
    let status = || Some(Operation::Status(empty()));

    let other = SchedulerId::new("other");
    let refused = forward(&mut client, &other, nobody.clone(), status()).await;
    is(&refused.unwrap_err(), Code::Unavailable, "no more");
    let refused = forward(&mut client, &me, short(), status()).await;
    is(&refused.unwrap_err(), Code::InvalidArgument, "query");
    let refused = forward(&mut client, &me, nobody.clone(), None).await;
    is(&refused.unwrap_err(), Code::InvalidArgument, "operation");
    for operation in [
        Operation::Status(empty()),
        Operation::Cancel(empty()),
        Operation::Result(empty()),
        Operation::Ticket(empty()),
        Operation::Consumed(empty()),
    ] {
        let answer = forward(&mut client, &me, nobody.clone(), Some(operation)).await;
        let Ok(Answer::Failed(failed)) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(failed.class, "not_found", "{failed:?}");
    }
    for statement in [Bytes::new(), Bytes::from_static(b"no statement")] {
        let submit = Operation::Submit(cluster::Submit {
            statement,
            ..cluster::Submit::default()
        });
        let answer = forward(&mut client, &me, nobody.clone(), Some(submit)).await;
        let Ok(Answer::Failed(failed)) = answer else {
            panic!("{answer:?}");
        };
        assert!(failed.message.contains("ticket"), "{failed:?}");
    }

    for (to, query, code, words) in [
        (&other, nobody.clone(), Code::Unavailable, "no more"),
        (&me, short(), Code::InvalidArgument, "query"),
        (&me, nobody.clone(), Code::NotFound, "not known"),
    ] {
        let to = to.to_string();
        let refused = client.read(cluster::ReadRequest { query, to }).await;
        is(&refused.unwrap_err(), code, words);
    }
    for filter in ["", "no filter", "7"] {
        let filter = Bytes::from(filter);
        let refused = client.list(cluster::ListRequest { filter }).await;
        is(&refused.unwrap_err(), Code::InvalidArgument, "filter");
    }
    let scheduler = String::new();
    let refused = client.sealed(cluster::SealedRequest { scheduler }).await;
    is(&refused.unwrap_err(), Code::InvalidArgument, "no scheduler");
    let refused = client.catalog_changed(cluster::CatalogChangedRequest { version: u64::MAX });
    is(&refused.await.unwrap_err(), Code::Unavailable, "version");
    let from = "\u{0}".to_string();
    let watching = client.watch(cluster::WatchRequest { from }).await;
    let word = watching.unwrap().into_inner().message().await.unwrap();
    assert_eq!(word.unwrap().scheduler, me.as_str());

    // That its own journal is over it finds out by writing to it.
    let scheduler = me.to_string();
    let told = client.sealed(cluster::SealedRequest { scheduler }).await;
    told.unwrap();
    goes_on(&cluster).await;
    assert_eq!(cluster.schedulers[0].id(), me, "its journal is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_beyond_all_time_are_no_time_at_all() {
    let cluster = Cluster::start(1, 1).await;
    let mut client = connect(&cluster).await;
    let me = cluster.schedulers[0].id();
    let statement = Ticket {
        query: QueryId(Uuid::nil()),
        accepted_by: me.clone(),
        catalog: CatalogVersion::default(),
        afresh: Some(Afresh {
            sql: "SELECT 1 AS a".to_string(),
            session: SessionSettings::default(),
            parameters: None,
        }),
        made: false,
    };
    let submit = Operation::Submit(cluster::Submit {
        statement: statement.encode().unwrap(),
        origin: "no door".to_string(),
        kept_millis: Some(u64::MAX),
        timeout_millis: Some(u64::MAX),
        ..cluster::Submit::default()
    });
    let nobody = Bytes::copy_from_slice(Uuid::nil().as_bytes());
    let answer = forward(&mut client, &me, nobody, Some(submit)).await;
    let Ok(Answer::Status(json)) = answer else {
        panic!("{answer:?}");
    };
    let status: QueryStatus = serde_json::from_slice(&json).unwrap();
    let path = format!("/v1/queries/{}", status.query);
    cluster
        .until("its end", || async {
            cluster.get(0, &path).await["state"] == "finished"
        })
        .await;
    goes_on(&cluster).await;
}
