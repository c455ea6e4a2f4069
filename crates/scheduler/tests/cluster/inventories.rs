//! What an executor holds that is too much for one message.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use paceline_proto::cluster;
use paceline_proto::cluster::from_executor::Message as Said;
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::cluster::task_state::State;
use tokio::net::TcpListener;

use crate::port::{attach, connect, hello, message};
use crate::support::Cluster;

/// A result of one row.
fn seven() -> Bytes {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

/// What an executor says on another stream that has, of all it holds, a query of nobody's and the attempt
/// that was launched; and then that this one came to its end.
fn again(launch: &cluster::Launch, address: &str) -> Vec<cluster::FromExecutor> {
    let task = &launch.tasks[0];
    let nobodys = cluster::HeldQuery {
        query: Bytes::from_static(&[9; 16]),
        ..cluster::HeldQuery::default()
    };
    let launched = cluster::HeldQuery {
        query: launch.query.clone(),
        running: vec![cluster::AttemptRef {
            stage: launch.stage,
            task: task.task,
            attempt: task.attempt,
        }],
        ..cluster::HeldQuery::default()
    };
    let first = cluster::Hello {
        inventory: Some(cluster::Inventory {
            queries: vec![nobodys],
            more: true,
        }),
        ..hello("x", address)
    };
    let second = cluster::Inventory {
        queries: vec![launched],
        more: false,
    };
    let finished = cluster::Finished {
        output: Some(cluster::OutputSummary {
            rows: 1,
            bytes: 8,
            partition_bytes: vec![8],
            disk_bytes: 0,
        }),
        inline_result: Some(seven()),
        ..cluster::Finished::default()
    };
    let state = cluster::TaskState {
        number: 1,
        query: launch.query.clone(),
        epoch: launch.epoch,
        stage: launch.stage,
        task: task.task,
        attempt: task.attempt,
        state: Some(State::Finished(finished)),
    };
    let states = cluster::TaskStates {
        states: vec![state],
        load: None,
    };
    let said = [
        Said::Hello(first),
        Said::Inventory(second),
        Said::TaskStates(states),
    ];
    said.map(message).to_vec()
}

/// Whatever an inventory does not name is lost, and made again.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_second_part_of_an_inventory_names_is_not_lost() {
    let cluster = Cluster::start_with(1, 0, |options| {
        options.no_executor_grace = Duration::from_secs(10);
    })
    .await;
    // An executor whose port answers is not held for dead.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = port.local_addr().unwrap().to_string();
    let play = async {
        let mut client = connect(&cluster).await;
        let greeting = vec![message(Said::Hello(hello("x", &address)))];
        let mut first = attach(&mut client, greeting).await;
        let launch = first.hear(|told| match told {
            Told::Launch(launch) => Some(launch),
            _ => None,
        });
        let launch = launch.await;
        let second = attach(&mut client, again(&launch, &address)).await;
        (first, second)
    };
    let (rows, _streams) = tokio::join!(cluster.sql(0, "SELECT 41 + 1 AS a"), play);
    assert_eq!(rows.unwrap()[0]["a"], 7, "what the attempt said it left");
    let queries = cluster.get(0, "/v1/queries").await;
    let stage = &queries["queries"][0]["stages"][0];
    assert_eq!(stage["tasks"], 1, "{queries}");
    assert_eq!(stage["attempts"], 1, "{queries}");
}
