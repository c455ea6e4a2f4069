//! What stages left, by stage, task and partition.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use paceline_model::StageId;
use paceline_plan::{ExchangeSource, Which};

/// The partitions that one task left.
pub(crate) type TaskOutput = BTreeMap<u32, Vec<RecordBatch>>;

/// The exchanges of one run of one graph.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    stages: Mutex<BTreeMap<StageId, Vec<TaskOutput>>>,
}

impl Exchanges {
    pub(crate) fn add(&self, stage: StageId, tasks: Vec<TaskOutput>) {
        let known = self.stages.lock().unwrap().insert(stage, tasks);
        assert!(known.is_none(), "stage {stage} ran twice");
    }

    /// The rows in the order that [`Which`] promises.
    pub(crate) fn rows(&self, stage: StageId, which: Which) -> Option<Vec<RecordBatch>> {
        let stages = self.stages.lock().unwrap();
        let tasks = stages.get(&stage)?;
        let wanted = |partition: &u32| match which {
            Which::Whole => true,
            Which::Partition(one) => *partition == one,
        };
        let rows = tasks
            .iter()
            .flat_map(|task| task.iter().filter(|(p, _)| wanted(p)))
            .flat_map(|(_, batches)| batches.iter().cloned());
        Some(rows.collect())
    }
}

/// The exchanges as one task may see them: those that its stage's inputs name and no others.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) exchanges: Arc<Exchanges>,
    pub(crate) stages: Vec<StageId>,
}

impl ExchangeSource for Inputs {
    fn read(
        &self,
        stage: StageId,
        which: Which,
        schema: SchemaRef,
    ) -> Result<SendableRecordBatchStream> {
        if !self.stages.contains(&stage) {
            return internal_err!("the graph does not say that stage {stage} is read");
        }
        let Some(batches) = self.exchanges.rows(stage, which) else {
            return internal_err!("stage {stage} did not run yet");
        };
        for batch in &batches {
            if batch.schema().fields() != schema.fields() {
                let types = |s: &SchemaRef| {
                    let of = |f: &Arc<arrow::datatypes::Field>| {
                        (f.name().clone(), f.data_type().clone())
                    };
                    s.fields().iter().map(of).collect::<Vec<_>>()
                };
                // A batch may be less nullable than its schema, as within DataFusion.
                if types(&batch.schema()) != types(&schema) {
                    return internal_err!("stage {stage} left {:?}", batch.schema());
                }
            }
        }
        let rows = futures::stream::iter(batches).map(Ok);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
