//! Stage graphs as journals hold them.

use std::sync::Arc;

use bytes::Bytes;
use paceline_model::{ExchangeKind, Stage, StageGraph, StageId, StageInput};

use crate::{Malformed, state};

/// The written form of a graph.
pub fn graph_to_wire(graph: &StageGraph) -> state::StageGraph {
    let stages = graph.stages().iter().map(stage_to_wire).collect();
    state::StageGraph { stages }
}

/// Reads a graph.
///
/// # Errors
/// [`Malformed`] if it is no graph that a planner could have made.
pub fn graph_from_wire(graph: state::StageGraph) -> Result<StageGraph, Malformed> {
    let stages: Result<Vec<_>, _> = graph.stages.into_iter().map(stage_from_wire).collect();
    StageGraph::new(stages?).map_err(|error| Malformed {
        field: "graph",
        problem: error.to_string(),
    })
}

fn stage_to_wire(stage: &Stage) -> state::Stage {
    use state::stage::Exchange;
    state::Stage {
        id: stage.id.0,
        plan: Bytes::copy_from_slice(&stage.plan),
        partitions: stage.partitions,
        divisible: stage.divisible,
        exchange: Some(match stage.exchange {
            ExchangeKind::Hash { partitions } => Exchange::HashPartitions(partitions),
            ExchangeKind::Forward => Exchange::Forward(state::Forward {}),
        }),
        inputs: stage
            .inputs
            .iter()
            .map(|input| state::StageInput {
                stage: input.stage.0,
                whole: input.whole,
            })
            .collect(),
        deterministic: stage.deterministic,
        scan_bytes: stage.scan_bytes,
        text: stage.text.to_string(),
    }
}

fn stage_from_wire(stage: state::Stage) -> Result<Stage, Malformed> {
    use state::stage::Exchange;
    let exchange = match stage.exchange {
        Some(Exchange::HashPartitions(partitions)) => ExchangeKind::Hash { partitions },
        Some(Exchange::Forward(_)) => ExchangeKind::Forward,
        None => return Err(Malformed::missing("exchange")),
    };
    let input = |input: state::StageInput| StageInput {
        stage: StageId(input.stage),
        whole: input.whole,
    };
    Ok(Stage {
        id: StageId(stage.id),
        plan: Arc::from(&stage.plan[..]),
        partitions: stage.partitions,
        divisible: stage.divisible,
        exchange,
        inputs: stage.inputs.into_iter().map(input).collect(),
        deterministic: stage.deterministic,
        scan_bytes: stage.scan_bytes,
        text: Arc::from(stage.text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn graph() -> StageGraph {
        let scan = Stage {
            id: StageId(0),
            plan: Arc::from(&b"\x00plan\xff"[..]),
            partitions: 8,
            divisible: true,
            exchange: ExchangeKind::Hash { partitions: 3 },
            inputs: vec![],
            deterministic: false,
            scan_bytes: 1 << 40,
            text: Arc::from("Scan\n  Parquet"),
        };
        let root = Stage {
            id: StageId(1),
            partitions: 1,
            divisible: false,
            exchange: ExchangeKind::Forward,
            inputs: vec![StageInput {
                stage: StageId(0),
                whole: true,
            }],
            deterministic: true,
            scan_bytes: 0,
            ..scan.clone()
        };
        StageGraph::new(vec![scan, root]).unwrap()
    }

    #[test]
    fn a_graph_survives_being_written() {
        let bytes = graph_to_wire(&graph()).encode_to_vec();
        let read = state::StageGraph::decode(&bytes[..]).unwrap();
        assert_eq!(graph_from_wire(read), Ok(graph()));
    }

    #[test]
    fn what_no_planner_makes_is_refused() {
        let mut without = graph_to_wire(&graph());
        without.stages[0].exchange = None;
        assert_eq!(graph_from_wire(without).unwrap_err().field, "exchange");
        let mut cut = graph_to_wire(&graph());
        cut.stages.remove(0);
        assert_eq!(graph_from_wire(cut).unwrap_err().field, "graph");
    }
}
