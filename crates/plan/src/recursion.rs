//! Recursive queries on their way to an executor. DataFusion encodes neither of their two operators
//! and hides what the inner one projects, so that is told by the names of its columns.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err, not_impl_err};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::work_table::WorkTableExec;

/// Whether the plan can be put together again from its parts.
pub(crate) fn check(query: &RecursiveQueryExec) -> Result<()> {
    let schema = query.schema();
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    let twice = names
        .iter()
        .enumerate()
        .find(|(n, name)| names[..*n].contains(name));
    if let Some((_, name)) = twice {
        return not_impl_err!(
            "the recursive query '{}' has two columns '{name}': give them different names",
            query.name()
        );
    }
    let mut unknown = None;
    query.recursive_term().apply(|node| {
        if let Some(rows) = node.downcast_ref::<WorkTableExec>()
            && rows.name() == query.name()
            && positions(&schema, &rows.schema()).is_none()
        {
            unknown = Some(rows.schema());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match unknown {
        None => Ok(()),
        Some(found) => not_impl_err!(
            "the recursive query '{}' reads {found:?} of itself, which has {schema:?}",
            query.name()
        ),
    }
}

/// Puts a recursive query together, whose inner scans were decoded as if they projected nothing.
pub(crate) fn assemble(
    name: String,
    schema: SchemaRef,
    static_term: Arc<dyn ExecutionPlan>,
    recursive_term: Arc<dyn ExecutionPlan>,
    distinct: bool,
) -> Result<RecursiveQueryExec> {
    let recursive_term = recursive_term
        .transform_up(|node| {
            let Some(rows) = node.downcast_ref::<WorkTableExec>() else {
                return Ok(Transformed::no(node));
            };
            if rows.name() != name {
                return Ok(Transformed::no(node));
            }
            let kept = positions(&schema, &rows.schema())
                .ok_or_else(|| internal_datafusion_err!("'{name}' has other columns"))?;
            let whole = Arc::clone(&schema);
            let rows = WorkTableExec::new(name.clone(), whole, Some(kept))?;
            Ok(Transformed::yes(Arc::new(rows) as Arc<dyn ExecutionPlan>))
        })
        .data()?;
    RecursiveQueryExec::try_new(name, schema, static_term, recursive_term, distinct)
}

fn positions(whole: &SchemaRef, part: &SchemaRef) -> Option<Vec<usize>> {
    let fields = part.fields().iter();
    fields
        .map(|field| whole.index_of(field.name()).ok())
        .collect()
}
