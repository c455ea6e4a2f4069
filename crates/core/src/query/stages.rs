//! The stages of a query together: who reads whom.

use std::ops::{Index, IndexMut};

use paceline_model::{ExchangeKind, PartitionRange, StageGraph, StageId, StageInput, TaskId};

use super::stage::StageRun;

/// The stages of a query. May be indexed with the ids of the query's own graph and with no others:
/// ids from outside go through [`Stages::get`].
#[derive(Debug)]
pub(crate) struct Stages(Vec<StageRun>);

impl Stages {
    pub(crate) fn new(graph: &StageGraph) -> Self {
        let mut stages: Vec<StageRun> = graph.stages().iter().map(StageRun::new).collect();
        // Readers come later in the graph than what they read, so each depth is known when needed.
        for stage in graph.stages().iter().rev() {
            let depth = stages[stage.id.0 as usize].depth + 1;
            for input in &stage.inputs {
                let producer = &mut stages[input.stage.0 as usize];
                producer.depth = depth;
                producer.consumer = Some(stage.id);
            }
        }
        Stages(stages)
    }

    pub(crate) fn get(&self, id: StageId) -> Option<&StageRun> {
        self.0.get(id.0 as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &StageRun> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut StageRun> {
        self.0.iter_mut()
    }
}

impl Index<StageId> for Stages {
    type Output = StageRun;
    fn index(&self, id: StageId) -> &StageRun {
        &self.0[id.0 as usize]
    }
}

impl IndexMut<StageId> for Stages {
    fn index_mut(&mut self, id: StageId) -> &mut StageRun {
        &mut self.0[id.0 as usize]
    }
}

/// The inputs of a stage. Empty for a stage the graph does not have.
pub(crate) fn inputs_of(graph: &StageGraph, stage: StageId) -> &[StageInput] {
    graph.stage(stage).map_or(&[], |stage| &stage.inputs)
}

/// The tasks of `stage` that read any of `producers`' outputs of `from`, given as ranges of the
/// producing stage's partitions; none means all of them.
pub(crate) fn readers_of(
    stage: &StageRun,
    input: StageInput,
    exchange: ExchangeKind,
    produced: Option<&[PartitionRange]>,
) -> Vec<TaskId> {
    let everyone = input.whole || matches!(exchange, ExchangeKind::Hash { .. });
    match produced {
        Some(ranges) if !everyone => stage
            .task_ids()
            .zip(&stage.tasks)
            .filter(|(_, task)| ranges.iter().any(|range| overlap(*range, task.partitions)))
            .map(|(id, _)| id)
            .collect(),
        _ => stage.task_ids().collect(),
    }
}

fn overlap(a: PartitionRange, b: PartitionRange) -> bool {
    a.first < b.end() && b.first < a.end()
}
