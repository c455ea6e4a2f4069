use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::physical_plan::collect;
use datafusion::prelude::ParquetReadOptions;

use crate::{Dataset, Order, Table, order_of};

/// One DataFusion in this process: what a cluster's answers, times and memory are measured by.
pub struct Reference {
    context: SessionContext,
}

/// What DataFusion answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// What the statement fixes about the order of its rows.
    pub order: Order,
    /// From the statement to its last row.
    pub elapsed: Duration,
}

/// DataFusion could not answer.
#[derive(Debug, thiserror::Error)]
#[error("the single DataFusion process failed at: {sql}\n{source}")]
pub struct ReferenceError {
    /// The statement.
    pub sql: String,
    /// What DataFusion says.
    pub source: Box<DataFusionError>,
}

impl Reference {
    /// A session with `partitions` partitions and DataFusion's defaults for everything else.
    pub fn new(partitions: usize) -> Self {
        let config = SessionConfig::new()
            .with_target_partitions(partitions)
            .with_information_schema(true);
        Reference {
            context: SessionContext::new_with_config(config),
        }
    }

    /// The same, knowing the tables of a data set.
    ///
    /// # Errors
    /// If a table cannot be read.
    pub async fn with_tables(dataset: &Dataset, partitions: usize) -> Result<Self, ReferenceError> {
        let reference = Reference::new(partitions);
        for table in Table::ALL {
            let location = dataset.location(table);
            let location = location.display().to_string() + "/";
            reference
                .context
                .register_parquet(table.name(), &location, ParquetReadOptions::default())
                .await
                .map_err(failed(&location))?;
        }
        Ok(reference)
    }

    /// The session itself, for tests that set it up in their own way.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Runs one statement to its end.
    ///
    /// # Errors
    /// What DataFusion says, with the statement.
    pub async fn run(&self, sql: &str) -> Result<Answer, ReferenceError> {
        let started = Instant::now();
        let frame = self.context.sql(sql).await.map_err(failed(sql))?;
        let order = order_of(frame.logical_plan());
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(failed(sql))?;
        let schema = plan.schema();
        let batches = collect(plan, task).await.map_err(failed(sql))?;
        Ok(Answer {
            schema,
            batches,
            order,
            elapsed: started.elapsed(),
        })
    }
}

fn failed(sql: &str) -> impl FnOnce(DataFusionError) -> ReferenceError {
    let sql = sql.to_string();
    move |source| ReferenceError {
        sql,
        source: Box::new(source),
    }
}
