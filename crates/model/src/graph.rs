//! The stage graph: what a scheduler drives and an executor is given pieces of.

use std::sync::Arc;

use crate::StageId;

/// How a stage divides its output among the partitions of its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// Rows go to the partition that the hash of some columns names: every task adds to every
    /// partition. The columns are part of the stage's plan.
    Hash {
        /// How many partitions there are; at least 1.
        partitions: u32,
    },
    /// Partition *p* of the plan is partition *p* of the exchange: each task fills those of its own
    /// range and no others. Used where one consumer gathers everything, for broadcast build sides,
    /// and for results.
    Forward,
}

/// One input of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageInput {
    /// The stage whose exchange is read.
    pub stage: StageId,
    /// Whether every task reads every partition (a gather or a broadcast), or each task just the
    /// partitions of its own range.
    pub whole: bool,
}

/// One stage: a plan that runs as tasks without talking to another process but through exchanges.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its place in the graph.
    pub id: StageId,
    /// The encoded plan; opaque to everything but the planner's codec.
    pub plan: Arc<[u8]>,
    /// How many partitions the plan has; at least 1.
    pub partitions: u32,
    /// Whether tasks may take ranges of the partitions. If not, one task takes them all, as with
    /// operators that keep state across partitions.
    pub divisible: bool,
    /// How the output is divided.
    pub exchange: ExchangeKind,
    /// The exchanges that the plan reads, each stage at most once, all of them earlier stages.
    pub inputs: Vec<StageInput>,
    /// Whether two attempts of a task are certain to leave the same rows in the same partitions.
    /// If not, losing one output that was partly read means redoing those that read it.
    pub deterministic: bool,
    /// Bytes that the stage is estimated to read from storage; 0 if it reads exchanges alone.
    pub scan_bytes: u64,
    /// The plan as people read it: one operator a line, indented.
    pub text: Arc<str>,
}

impl Stage {
    /// Whether every task adds to every partition of the exchange.
    pub fn is_hashed(&self) -> bool {
        matches!(self.exchange, ExchangeKind::Hash { .. })
    }

    /// How many partitions the stage's exchange has.
    pub fn output_partitions(&self) -> u32 {
        match self.exchange {
            ExchangeKind::Hash { partitions } => partitions,
            ExchangeKind::Forward => self.partitions,
        }
    }
}

/// A graph that could not have come from the planner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGraph {
    /// There is no stage at all.
    #[error("a stage graph needs at least one stage")]
    Empty,
    /// Stage ids are not 0, 1, 2, …
    #[error("stage {found} stands where stage {expected} belongs")]
    Misnumbered {
        /// The id that belongs there.
        expected: StageId,
        /// The id found there.
        found: StageId,
    },
    /// A stage has no partition, or its exchange has none.
    #[error("stage {0} has no partitions")]
    NoPartitions(StageId),
    /// A stage reads itself, a later stage or one that does not exist, or one stage twice.
    #[error("stage {stage} cannot read stage {input}")]
    BadInput {
        /// The reader.
        stage: StageId,
        /// What it would read.
        input: StageId,
    },
    /// A stage's exchange is not read by exactly one stage, or the last one's is read.
    #[error("the exchange of stage {stage} has {readers} readers")]
    Readers {
        /// The stage.
        stage: StageId,
        /// How many stages read it.
        readers: usize,
    },
}

/// The stages of a query, in an order in which they can run. The last one leaves the result.
#[derive(Debug, Clone, PartialEq)]
pub struct StageGraph {
    stages: Vec<Stage>,
}

impl StageGraph {
    /// Checks and wraps the stages of a query.
    ///
    /// # Errors
    /// [`InvalidGraph`] unless ids count up from 0, every stage and exchange has a partition, and
    /// the exchange of each stage but the last is read by exactly one later stage.
    pub fn new(stages: Vec<Stage>) -> Result<Self, InvalidGraph> {
        if stages.is_empty() {
            return Err(InvalidGraph::Empty);
        }
        let mut readers = vec![0usize; stages.len()];
        for (index, stage) in stages.iter().enumerate() {
            let expected = StageId(u32::try_from(index).unwrap_or(u32::MAX));
            if stage.id != expected {
                let found = stage.id;
                return Err(InvalidGraph::Misnumbered { expected, found });
            }
            if stage.partitions == 0 || stage.output_partitions() == 0 {
                return Err(InvalidGraph::NoPartitions(stage.id));
            }
            for (nth, input) in stage.inputs.iter().enumerate() {
                let twice = stage.inputs[..nth].iter().any(|i| i.stage == input.stage);
                if twice || input.stage >= stage.id {
                    return Err(InvalidGraph::BadInput {
                        stage: stage.id,
                        input: input.stage,
                    });
                }
                readers[input.stage.0 as usize] += 1;
            }
        }
        let last = stages.len() - 1;
        for (index, &count) in readers.iter().enumerate() {
            if count != usize::from(index != last) {
                return Err(InvalidGraph::Readers {
                    stage: stages[index].id,
                    readers: count,
                });
            }
        }
        Ok(StageGraph { stages })
    }

    /// The stages in the order in which they can run.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The stage of that id, if the graph has it.
    pub fn stage(&self, id: StageId) -> Option<&Stage> {
        self.stages.get(id.0 as usize)
    }

    /// The stage whose exchange is the query's result.
    pub fn root(&self) -> &Stage {
        // `new` refuses an empty graph.
        &self.stages[self.stages.len() - 1]
    }

    /// The one stage that reads the exchange of `id`; none for the root.
    pub fn consumer(&self, id: StageId) -> Option<&Stage> {
        self.stages
            .iter()
            .find(|stage| stage.inputs.iter().any(|input| input.stage == id))
    }

    /// How many stages there are.
    #[expect(clippy::len_without_is_empty, reason = "a graph is never empty")]
    pub fn len(&self) -> usize {
        self.stages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(id: u32, inputs: &[u32]) -> Stage {
        Stage {
            id: StageId(id),
            plan: Arc::from(&b""[..]),
            partitions: 2,
            divisible: true,
            exchange: ExchangeKind::Forward,
            inputs: inputs
                .iter()
                .map(|&i| StageInput {
                    stage: StageId(i),
                    whole: true,
                })
                .collect(),
            deterministic: true,
            scan_bytes: 0,
            text: Arc::from(""),
        }
    }

    #[test]
    fn a_tree_of_stages_is_accepted() {
        let graph = StageGraph::new(vec![stage(0, &[]), stage(1, &[]), stage(2, &[0, 1])]).unwrap();
        assert_eq!(graph.root().id, StageId(2));
        assert_eq!(graph.consumer(StageId(1)).unwrap().id, StageId(2));
        assert!(graph.consumer(StageId(2)).is_none());
    }

    #[test]
    fn what_no_planner_makes_is_refused() {
        assert_eq!(StageGraph::new(vec![]), Err(InvalidGraph::Empty));
        assert!(matches!(
            StageGraph::new(vec![stage(1, &[])]),
            Err(InvalidGraph::Misnumbered { .. })
        ));
        assert!(matches!(
            StageGraph::new(vec![stage(0, &[0])]),
            Err(InvalidGraph::BadInput { .. })
        ));
        assert!(matches!(
            StageGraph::new(vec![stage(0, &[]), stage(1, &[])]),
            Err(InvalidGraph::Readers { readers: 0, .. })
        ));
        assert!(matches!(
            StageGraph::new(vec![stage(0, &[]), stage(1, &[0, 0])]),
            Err(InvalidGraph::BadInput { .. })
        ));
        let mut empty = stage(0, &[]);
        empty.partitions = 0;
        assert_eq!(
            StageGraph::new(vec![empty]),
            Err(InvalidGraph::NoPartitions(StageId(0)))
        );
    }
}
