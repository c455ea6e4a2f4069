//! A table or view that is in the catalog and cannot be used now.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use paceline_model::QueryError;

use crate::error::into_datafusion;

/// Stands in for a table whose files cannot be listed or a view that cannot be planned any more, so
/// that all others stay usable. Whoever scans it is told why.
#[derive(Debug)]
pub(crate) struct UnusableTable {
    columns: SchemaRef,
    error: QueryError,
}

impl UnusableTable {
    pub(crate) fn new(columns: SchemaRef, error: QueryError) -> Self {
        UnusableTable { columns, error }
    }

    /// Why it cannot be used.
    pub(crate) fn error(&self) -> DataFusionError {
        into_datafusion(self.error.clone())
    }
}

#[async_trait]
impl TableProvider for UnusableTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(self.error())
    }
}
