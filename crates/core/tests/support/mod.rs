//! Graphs and ids for tests.
#![allow(
    dead_code,
    reason = "each test binary uses its own part of what both share"
)]

use std::sync::Arc;

use paceline_core::Now;
use paceline_model::{
    ExchangeKind, ExecutorId, OutputSummary, QueryId, Stage, StageGraph, StageId, StageInput,
};

pub(crate) fn query(number: u128) -> QueryId {
    QueryId::from_slice(&number.to_be_bytes()).unwrap()
}

pub(crate) fn executor(name: &str) -> ExecutorId {
    ExecutorId::new(name)
}

pub(crate) fn millis(millis: u64) -> Now {
    Now(std::time::Duration::from_millis(millis))
}

pub(crate) fn summary(rows: u64, partition_bytes: &[u64]) -> OutputSummary {
    OutputSummary {
        rows,
        bytes: partition_bytes.iter().sum(),
        partition_bytes: partition_bytes.to_vec(),
        disk_bytes: 0,
    }
}

pub(crate) fn stage(
    id: u32,
    partitions: u32,
    exchange: ExchangeKind,
    inputs: &[(u32, bool)],
) -> Stage {
    Stage {
        id: StageId(id),
        plan: Arc::from(&b""[..]),
        partitions,
        divisible: true,
        exchange,
        inputs: inputs
            .iter()
            .map(|&(stage, whole)| StageInput {
                stage: StageId(stage),
                whole,
            })
            .collect(),
        deterministic: true,
        scan_bytes: 0,
        text: Arc::from(""),
    }
}

pub(crate) fn hash(partitions: u32) -> ExchangeKind {
    ExchangeKind::Hash { partitions }
}

pub(crate) fn graph(stages: Vec<Stage>) -> Arc<StageGraph> {
    Arc::new(StageGraph::new(stages).unwrap())
}

/// One stage with so many partitions.
pub(crate) fn scan(partitions: u32) -> Arc<StageGraph> {
    graph(vec![stage(0, partitions, ExchangeKind::Forward, &[])])
}

/// A scan, shuffled, then aggregated.
pub(crate) fn shuffle(partitions: u32) -> Arc<StageGraph> {
    graph(vec![
        stage(0, partitions, hash(partitions), &[]),
        stage(1, partitions, ExchangeKind::Forward, &[(0, false)]),
    ])
}

/// A scan, shuffled, aggregated and gathered.
pub(crate) fn chain(partitions: u32) -> Vec<Stage> {
    let mut gather = stage(2, 1, ExchangeKind::Forward, &[(1, true)]);
    gather.divisible = false;
    vec![
        stage(0, partitions, hash(partitions), &[]),
        stage(1, partitions, ExchangeKind::Forward, &[(0, false)]),
        gather,
    ]
}
