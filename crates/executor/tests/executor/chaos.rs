//! Whatever order commands, ends and losses come in: afterwards nothing is left.

use paceline_model::{OutputId, PartitionRange, QueryId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::common::{
    ENDLESS, LARGE, Launching, QUICK, Scheduler, Tables, executor_with, new_query, options, until,
};

const STEPS: u32 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_course_of_events_nothing_is_left() {
    let seed = std::env::var("PACELINE_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    println!("PACELINE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let tables = Tables::new().await;
    let mut graphs = Vec::new();
    for sql in [ENDLESS, LARGE, QUICK] {
        graphs.push(tables.plan(sql, &[2]).await);
    }
    let mut scheduler = Scheduler::start("scheduler").await;
    let mut options = options(&[scheduler.address]);
    // So that some outputs go to disk.
    options.exchange_memory = paceline_model::ByteSize::mib(8);
    let running = executor_with(options);
    let mut attached = scheduler.attached().await;
    let mut launched: Vec<OutputId> = Vec::new();
    let mut queries: Vec<QueryId> = Vec::new();
    let mut kills = 0;

    // Of what is launched in the course, all may be ended before it begins.
    let mut stage = graphs[0].root().clone();
    stage.id = paceline_model::StageId(0);
    let all = PartitionRange::new(0, stage.partitions);
    let first = Launching::new(new_query(), 0, &stage);
    let first = first.send(&attached, 0, 0, all, 1).await;
    launched.push(first);
    queries.push(first.query);
    until("an attempt has begun", || {
        running.executor.status().slots_used > 0
    })
    .await;

    for step in 0..STEPS {
        let drawn = rng.random_range(0..100);
        // One kill there is, whatever is drawn.
        let event = if step == STEPS / 2 { 99 } else { drawn };
        match event {
            0..50 => {
                let query = match queries.choose(&mut rng) {
                    Some(query) if rng.random_bool(0.3) => *query,
                    _ => new_query(),
                };
                let which = rng.random_range(0..graphs.len());
                let mut stage = graphs[which].root().clone();
                stage.id = paceline_model::StageId(which as u32);
                let all = PartitionRange::new(0, stage.partitions);
                let limit = *[0, 1 << 20].choose(&mut rng).unwrap();
                let launch = Launching::new(query, 0, &stage).inline(limit);
                let (task, slots) = (rng.random_range(0..3), rng.random_range(1..4));
                launched.push(launch.send(&attached, task, 0, all, slots).await);
                queries.push(query);
            }
            50..75 => {
                if let Some(id) = launched.choose(&mut rng) {
                    attached.cancel(0, *id).await;
                }
            }
            75..85 => {
                if let Some(id) = launched.choose(&mut rng) {
                    attached.release(0, *id).await;
                }
            }
            85..95 => {
                if let Some(query) = queries.choose(&mut rng) {
                    attached.end(0, *query).await;
                }
            }
            _ => {
                let address = scheduler.kill();
                scheduler = Scheduler::start_at("scheduler", address).await;
                attached = scheduler.attached().await;
                attached.acknowledges = rng.random_bool(0.5);
                kills += 1;
            }
        }
    }
    for query in &queries {
        attached.end(0, *query).await;
    }
    until(&format!("nothing is left, seed {seed}"), || {
        let status = running.executor.status();
        let memory = running.metric("paceline_exchange_memory_bytes", None);
        let busy = status.slots_used + status.slots_queued;
        (status.queries, status.attempts, busy) == (0, 0, 0)
            && memory == 0.0
            && running.files() == 0
    })
    .await;
    let ended = running.metric("paceline_executor_tasks_total", None);
    assert_eq!(
        ended,
        running.metric("paceline_executor_attempts_total", None)
    );
    assert!(ended > 0.0 && kills > 0, "{ended} attempts, {kills} kills");
}
