//! Clients that know nothing of Paceline go where a result is said to be.

use paceline_testkit::Role;

use crate::answers::agrees;
use crate::left::{kept_for, nothing_is_left};
use crate::python::{Outcome, read, run_client};
use crate::support::{Running, SLOW};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_read_at_another_scheduler_what_a_dead_one_accepted() {
    let mut running = Running::start_with(|plan| {
        plan.schedulers = 3;
        kept_for(plan, "2s");
    })
    .await;
    running.create_tpch().await;
    for (index, client) in ["adbc", "pyarrow"].into_iter().enumerate() {
        let exchange = tempfile::tempdir().unwrap();
        std::fs::write(exchange.path().join("slow.sql"), SLOW).unwrap();
        let node = running.cluster.node(Role::Scheduler, index).unwrap();
        let process = node.process().unwrap().id().unwrap();
        let arguments = vec![
            client.to_string(),
            node.announced().flight.clone(),
            exchange.path().display().to_string(),
            process.to_string(),
        ];
        // It kills the process, and goes on when nobody listens there any more.
        if let Outcome::NotInstalled = run_client(arguments).await {
            return;
        }
        running.cluster.kill(Role::Scheduler, index).await.unwrap();
        let answer = read(&exchange.path().join("slow.arrow"));
        let checked = agrees(SLOW, &answer).await;
        checked.unwrap_or_else(|problem| panic!("{client}: {problem}"));
    }
    nothing_is_left(&running).await;
}
