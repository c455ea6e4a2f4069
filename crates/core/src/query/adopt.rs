//! Taking over a query that a former owner has brought some way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use paceline_model::{ExecutorId, StageId};

use super::Query;
use super::stages::inputs_of;
use super::task::{Output, TaskAt, first_attempt};
use crate::event::{AttemptRef, HeldQuery, KnownStage, KnownTask};
use crate::shared::Shared;

impl Query {
    /// Takes over what `known` tells of the former owner's work, as far as `held` says that it is
    /// still there. Executors that attach later bring the rest with their inventory.
    pub(crate) fn adopt(
        &mut self,
        mut known: Vec<KnownStage>,
        held: &[(ExecutorId, HeldQuery)],
        shared: &mut Shared,
    ) {
        self.start();
        // Producers first: completing a stage releases what it read.
        known.sort_by_key(|known| known.stage);
        for stage in &known {
            self.form_as_known(stage);
        }
        let there = outputs_by_holder(held);
        for stage in &known {
            self.take_over(stage, &there, shared);
        }
        self.doubt_what_cannot_be_repeated(shared);
        for (executor, held) in held {
            if shared.executors.is_attached(executor) && held.epoch <= self.epoch {
                self.take_back(executor, held, shared);
            }
        }
    }

    fn form_as_known(&mut self, known: &KnownStage) {
        if !self.fits(known) {
            return;
        }
        let ranges = known.tasks.iter().map(|task| task.partitions);
        self.tasks += known.tasks.len() as u32;
        let (next, floor) = (first_attempt(self.epoch), self.floor.max(known.floor));
        self.stages[known.stage].form(ranges, next, floor);
        self.refresh(known.stage);
    }

    /// Whether the tasks are a division of a stage not divided yet. If not, it is divided afresh.
    fn fits(&self, known: &KnownStage) -> bool {
        let Some(spec) = self.graph.stage(known.stage) else {
            return false;
        };
        let mut next = 0;
        for KnownTask { partitions, .. } in &known.tasks {
            if partitions.first != next || partitions.count == 0 {
                return false;
            }
            match partitions.first.checked_add(partitions.count) {
                Some(end) => next = end,
                None => return false,
            }
        }
        next == spec.partitions && !self.stages[known.stage].is_formed()
    }

    fn take_over(
        &mut self,
        known: &KnownStage,
        there: &BTreeMap<(&ExecutorId, AttemptRef), bool>,
        shared: &mut Shared,
    ) {
        for (task, known_task) in (0..).map(paceline_model::TaskId).zip(&known.tasks) {
            let at = TaskAt {
                stage: known.stage,
                task,
            };
            let state = self.stages.get(at.stage).and_then(|s| s.task(task));
            let (Some(_), Some(output)) = (state, &known_task.output) else {
                continue;
            };
            let what = AttemptRef {
                stage: known.stage,
                task,
                attempt: output.attempt,
            };
            let Some(&inline) = there.get(&(&output.executor, what)) else {
                continue;
            };
            if !self.may_take_back(&what)
                || !shared.executors.is_attached(&output.executor)
                || (inline && !self.is_root(known.stage))
            {
                continue;
            }
            self.involve(&output.executor, shared);
            shared.counters.outputs_taken_back += 1;
            let output = Output {
                executor: output.executor.clone(),
                attempt: output.attempt,
                summary: Arc::new(output.summary.clone()),
                inline,
            };
            self.finish(at, output, shared);
        }
    }

    /// Where a stage leaves other rows each time, neither journal nor inventory tells which of its
    /// attempts a reader has read. So what came of such a stage is taken over as a whole stage that is
    /// complete, or not at all.
    fn doubt_what_cannot_be_repeated(&mut self, shared: &mut Shared) {
        let graph = Arc::clone(&self.graph);
        let mut doubtful: BTreeSet<StageId> = BTreeSet::new();
        for spec in graph.stages() {
            let mut inputs = inputs_of(&graph, spec.id).iter();
            let doubt = inputs.any(|input| doubtful.contains(&input.stage));
            if doubt || !spec.deterministic {
                doubtful.insert(spec.id);
            }
            let stage = &self.stages[spec.id];
            if doubt && !stage.is_available() {
                for task in stage.task_ids() {
                    let stage = spec.id;
                    self.distrust(TaskAt { stage, task }, shared);
                }
            }
        }
    }
}

/// What is there, and whether it came with the answer.
fn outputs_by_holder(
    held: &[(ExecutorId, HeldQuery)],
) -> BTreeMap<(&ExecutorId, AttemptRef), bool> {
    held.iter()
        .flat_map(|(executor, held)| {
            let lies = held.finished.iter().map(|&(attempt, _)| (attempt, false));
            let came = held.inline.iter().map(|&(attempt, _)| (attempt, true));
            let outputs = lies.chain(came);
            outputs.map(move |(attempt, inline)| ((executor, attempt), inline))
        })
        .collect()
}
