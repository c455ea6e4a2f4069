//! What a finished attempt reports.

use paceline_plan::{MetricUnit, OperatorMetric, Sink};
use paceline_proto::cluster;

use super::output::Left;
use crate::metrics::Metrics;

/// Bytes that a task read from exchanges.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Read {
    pub(super) local: u64,
    pub(super) remote: u64,
}

/// A finished attempt, but for its times.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) finished: cluster::Finished,
    /// Whether the output lies in the store.
    pub(crate) holds_output: bool,
}

impl Outcome {
    pub(super) fn new(
        left: Left,
        sink: &Sink,
        operators: Vec<Vec<OperatorMetric>>,
        read: Read,
    ) -> Self {
        let spilled_bytes = operators
            .iter()
            .flatten()
            .filter(|metric| metric.name == "spilled_bytes")
            .map(|metric| metric.value)
            .sum();
        let (mut output, inline_result) = match left {
            Left::Stored(summary) => (summary, None),
            Left::Inline(summary, bytes) => (summary, Some(bytes)),
        };
        if let Sink::Hash { .. } = sink {
            // Every reader takes from every output, so nobody asks; and it is kept here, and said to
            // each new owner, for as long as the output is held.
            output.partition_bytes = Vec::new();
        }
        Outcome {
            holds_output: inline_result.is_none(),
            finished: cluster::Finished {
                output: Some(output.into()),
                operators: operators.into_iter().map(operator).collect(),
                inline_result,
                run_micros: 0,
                queued_micros: 0,
                spilled_bytes,
                read_local_bytes: read.local,
                read_remote_bytes: read.remote,
            },
        }
    }

    pub(super) fn observe(&self, metrics: &Metrics) {
        let finished = &self.finished;
        let read = |locality: &str, bytes| {
            metrics.read.with_label_values(&[locality]).inc_by(bytes);
        };
        read("local", finished.read_local_bytes);
        read("remote", finished.read_remote_bytes);
        metrics.spilled.inc_by(finished.spilled_bytes);
        if let (true, Some(output)) = (self.holds_output, &finished.output) {
            metrics.written.inc_by(output.bytes);
        }
    }
}

fn operator(metrics: Vec<OperatorMetric>) -> cluster::OperatorMetrics {
    let metrics = metrics.into_iter().map(|metric| cluster::Metric {
        name: metric.name,
        value: metric.value,
        unit: match metric.unit {
            MetricUnit::Count => cluster::Unit::Count.into(),
            MetricUnit::Bytes => cluster::Unit::Bytes.into(),
            MetricUnit::Nanoseconds => cluster::Unit::Nanoseconds.into(),
        },
    });
    cluster::OperatorMetrics {
        metrics: metrics.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use paceline_model::{
        Attempt, Epoch, OutputId, OutputSummary, QueryId, SchedulerId, StageId, TaskId,
    };
    use paceline_proto::cluster::task_state::State;
    use prost::Message;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::*;
    use crate::book::{Begin, Book, Completion, LiveAttempt};

    const QUERY: QueryId = QueryId(Uuid::from_u128(7));

    /// What an attempt reports that left an output of so many partitions.
    fn finished(sink: &Sink, partitions: usize) -> cluster::Finished {
        let summary = OutputSummary {
            rows: 1 << 20,
            bytes: 1 << 30,
            partition_bytes: vec![1 << 20; partitions],
            disk_bytes: 1 << 30,
        };
        let metric = OperatorMetric {
            name: "output_rows".to_string(),
            value: 1 << 20,
            unit: MetricUnit::Count,
        };
        let operators = vec![vec![metric]; 10];
        Outcome::new(Left::Stored(summary), sink, operators, Read::default()).finished
    }

    /// The length of `Hello`'s inventory, and of the answer to an adoption, with so many outputs of so
    /// many partitions.
    fn lengths(outputs: u32, partitions: u32) -> [usize; 2] {
        let sink = Sink::Hash {
            exprs: Vec::new(),
            partitions,
        };
        let mut book = Book::default();
        let [a, b] = ["a", "b"].map(|name| book.attach(SchedulerId::new(name)).id);
        book.admit(a, QUERY, Epoch(0)).unwrap();
        for task in 0..outputs {
            let id = OutputId {
                query: QUERY,
                stage: StageId(0),
                task: TaskId(task),
                attempt: Attempt(0),
            };
            let live = LiveAttempt::new(CancellationToken::new(), Arc::default());
            let Ok(Begin::Started(serial)) = book.begin(id, Epoch(0), live) else {
                panic!("it is new");
            };
            let state = State::Finished(finished(&sink, partitions as usize));
            let holds_output = true;
            assert!(book.complete(Completion {
                id,
                serial,
                state,
                holds_output
            }));
        }
        let hello = book.inventory().encoded_len();
        book.adopt(b, QUERY, Epoch(1), false).unwrap();
        let queries = book.adopted(b);
        [hello, cluster::Held { queries }.encoded_len()]
    }

    #[test]
    fn what_an_executor_holds_is_told_in_a_few_bytes_for_each_output() {
        for (many, few) in lengths(500, 2000).into_iter().zip(lengths(500, 1)) {
            assert_eq!(many, few, "it grows with outputs × partitions");
            assert!(many < 500 * 100, "{many} bytes, and nobody asks for more");
        }
    }

    #[test]
    fn only_readers_of_their_own_partitions_ask_for_the_size_of_each() {
        let of = |sink: &Sink| finished(sink, 3).output.unwrap().partition_bytes.len();
        let hash = Sink::Hash {
            exprs: Vec::new(),
            partitions: 3,
        };
        assert_eq!((of(&Sink::Forward), of(&hash)), (3, 0));
    }
}
