//! Random stage graphs: trees of scans, shuffles, gathers and broadcasts.

use std::sync::Arc;

use paceline_model::{ExchangeKind, Stage, StageGraph};

use crate::rng::Rng;
use crate::support::{graph, hash, stage};

pub(crate) fn random(rng: &mut Rng, repeatable_only: bool) -> Arc<StageGraph> {
    let count = 1 + rng.below(6) as u32;
    let mut stages: Vec<Stage> = Vec::new();
    // Stages that nobody reads yet.
    let mut loose: Vec<u32> = Vec::new();
    for id in 0..count {
        let last = id + 1 == count;
        let mut inputs = Vec::new();
        while !loose.is_empty() && (last || rng.one_in(2)) {
            inputs.push(loose.remove(rng.below(loose.len())));
        }
        let partitions = [1, 2, 3, 5, 8][rng.below(5)];
        let exchange = if last || rng.one_in(3) {
            ExchangeKind::Forward
        } else {
            hash([1, 2, 4][rng.below(3)])
        };
        let inputs: Vec<(u32, bool)> = inputs
            .into_iter()
            .map(|input| {
                // Partition by partition only where the numbers of partitions agree.
                let producer = &stages[input as usize];
                let alike =
                    producer.exchange == ExchangeKind::Forward && producer.partitions == partitions;
                let by_range = alike || matches!(producer.exchange, ExchangeKind::Hash { .. });
                (input, !by_range || rng.one_in(3))
            })
            .collect();
        let mut made = stage(id, partitions, exchange, &inputs);
        made.divisible = !rng.one_in(4);
        made.deterministic = repeatable_only || !rng.one_in(4);
        stages.push(made);
        loose.push(id);
    }
    graph(stages)
}
